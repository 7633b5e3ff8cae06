//! A library of server-side functions, whose name holds a hash of its code: so that two versions can be side by side.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use sha2::{Digest as _, Sha256};

/// Stands in a library's text for its version.
const PLACE: &str = "@VERSION@";

/// The code of a library, and which version it is.
#[derive(Debug)]
pub struct Code {
    /// Eight hexadecimal digits.
    pub version: String,
    /// What is loaded.
    pub text: String,
}

impl Code {
    /// Makes the code of a text in which `@VERSION@` stands where the version is to be.
    ///
    /// # Panics
    /// Never: a digest is long enough.
    #[must_use]
    pub fn of(template: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(template).into();
        let version = hex::encode(digest.first_chunk::<4>().expect("a digest has 32 bytes"));
        Self { text: template.replace(PLACE, &version), version }
    }

    /// Returns the command that loads it.
    #[must_use]
    pub fn loading(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("FUNCTION").arg("LOAD").arg(&self.text);
        command
    }
}

/// Tells whether a library could not be loaded because it is there already.
#[must_use]
pub fn is_loaded_already(error: &RedisError) -> bool {
    error.to_string().contains("already exists")
}

/// Tells whether a server does not know a function, and so has done nothing.
#[must_use]
pub fn is_unknown_function(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.to_string().contains("Function not found")
}
