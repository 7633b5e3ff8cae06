//! The library of server-side functions: its code, and the commands that call it.

use std::sync::LazyLock;

use redis::Cmd;

use super::keys::Key;
use crate::valkey::library::Code;

/// The library of this version of the service.
pub(super) static LIBRARY: LazyLock<Code> = LazyLock::new(|| Code::of(include_str!("functions.lua")));

/// The functions of `functions.lua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Append,
    Touch,
    Confirm,
    Log,
    PutUser,
    Claim,
    Free,
    Add,
    Page,
}

impl Function {
    const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Touch => "touch",
            Self::Confirm => "confirm",
            Self::Log => "log",
            Self::PutUser => "put_user",
            Self::Claim => "claim",
            Self::Free => "free",
            Self::Add => "add",
            Self::Page => "page",
        }
    }

    const fn only_reads(self) -> bool {
        matches!(self, Self::Log | Self::Page)
    }

    /// Returns the command that calls it with keys and arguments.
    pub(super) fn call(self, keys: &[Key], arguments: &[&[u8]]) -> Cmd {
        let bytes = arguments.iter().map(|argument| argument.len() + 16).sum::<usize>() + 256;
        let mut command = Cmd::with_capacity(3 + keys.len() + arguments.len(), bytes);
        command.arg(if self.only_reads() { "FCALL_RO" } else { "FCALL" });
        command.arg(format!("countersign_store_{}_{}", LIBRARY.version, self.name()));
        command.arg(keys.len());
        for key in keys {
            command.arg(key.name());
        }
        for argument in arguments {
            command.arg(*argument);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Function; 9] = [
        Function::Append,
        Function::Touch,
        Function::Confirm,
        Function::Log,
        Function::PutUser,
        Function::Claim,
        Function::Free,
        Function::Add,
        Function::Page,
    ];

    #[test]
    fn every_function_is_registered_under_the_name_that_is_called() {
        for function in ALL {
            let name = format!("'countersign_store_{}_{}', ", LIBRARY.version, function.name());
            let line = LIBRARY.text.lines().find(|line| line.contains(&name)).unwrap();
            assert!(line.starts_with("redis.register_function"), "{line}");
            assert_eq!(line.contains("no-writes"), function.only_reads(), "{line}");
        }
        assert_eq!(LIBRARY.text.matches("\nredis.register_function").count(), ALL.len());
        assert!(!LIBRARY.text.contains("@VERSION@"));
    }
}
