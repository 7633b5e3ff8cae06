//! The library of server-side functions: its code, and calling it.
//!
//! The library's name holds a hash of its code, so that pods of two versions can run side by side. It is loaded when a
//! server says that it does not know a function: at first use, and after a restart or a failover that lost it. A call
//! that found no function changed nothing, so it is made again.

use redis::{Cmd, RedisError, Value};

use super::keys::Key;
use super::link::Link;
use crate::valkey::library::{Code, is_loaded_already, is_unknown_function};

/// The functions of `functions.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Admit,
    Look,
    Password,
    Begin,
    EndAll,
    Remember,
    Arrive,
}

impl Function {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] =
        [Self::Admit, Self::Look, Self::Password, Self::Begin, Self::EndAll, Self::Remember, Self::Arrive];

    const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Look => "look",
            Self::Password => "password",
            Self::Begin => "begin",
            Self::EndAll => "end_all",
            Self::Remember => "remember",
            Self::Arrive => "arrive",
        }
    }
}

/// The library, of one version.
#[derive(Debug)]
pub(super) struct Library(Code);

/// A call of a function: keys of one user, and arguments.
pub(super) struct Call<'a> {
    pub(super) function: Function,
    pub(super) keys: &'a [Key],
    pub(super) arguments: &'a [&'a [u8]],
}

impl Library {
    /// Makes the library of this version of the service.
    pub(super) fn new() -> Self {
        Self(Code::of(include_str!("functions.lua")))
    }

    /// Calls a function, in one trip; in three where the server does not know it. While a slot moves, who answers is not
    /// who has the slot: then all servers are told.
    pub(super) async fn call(&self, link: &Link, call: &Call<'_>) -> Result<Value, RedisError> {
        let mut command = Cmd::with_capacity(3 + call.keys.len() + call.arguments.len(), 256);
        command.arg("FCALL").arg(format!("countersign_{}_{}", self.0.version, call.function.name()));
        command.arg(call.keys.len());
        for key in call.keys {
            command.arg(key.to_string());
        }
        for argument in call.arguments {
            command.arg(*argument);
        }
        match link.send(&command).await {
            Err(error) if is_unknown_function(&error) => {
                tracing::info!(version = self.0.version, "the functions are loaded into Valkey");
                self.load(link, call.keys).await?;
            }
            outcome => return outcome,
        }
        match link.send(&command).await {
            Err(error) if is_unknown_function(&error) => {
                // Some have it already, and say so.
                let _ = link.send_to_primaries(&self.0.loading()).await;
                link.send(&command).await
            }
            outcome => outcome,
        }
    }

    /// Loads the library into the server that has a key. Others load it too at the same time: that is fine.
    async fn load(&self, link: &Link, keys: &[Key]) -> Result<(), RedisError> {
        match link.send_to_primary_of(keys.first(), &self.0.loading()).await {
            Err(error) if is_loaded_already(&error) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_registered_under_the_name_that_is_called() {
        let library = Library::new();

        for function in Function::ALL {
            let registration =
                format!("redis.register_function('countersign_{}_{}',", library.0.version, function.name());
            assert_eq!(library.0.text.matches(&registration).count(), 1, "{function:?}");
        }
        assert_eq!(library.0.text.matches("redis.register_function(").count(), Function::ALL.len());
        assert!(!library.0.text.contains("@VERSION@"));
    }
}
