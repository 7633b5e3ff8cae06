//! What can go wrong, as those who call the library see it.

use crate::gnupg::GnupgError;
use crate::log::PinnedLogError;
use crate::profile::ProfileError;
use crate::store::{NewEvidence, StoreError};

use crate::connection::{ServerError, TransportError};

/// A server that did what it must not do. Nothing was taken over from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number of the evidence that is kept.
    pub evidence: i64,
    /// What it did.
    pub what: NewEvidence,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what.summary)
    }
}

impl std::error::Error for Refused {}

/// Any failure of this library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pinned log cannot be read.
    #[error(transparent)]
    Log(#[from] PinnedLogError),
    /// GnuPG could not.
    #[error(transparent)]
    Gnupg(#[from] GnupgError),
    /// The server does not answer, or refuses.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server is not to be believed.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// What was asked for cannot be done like this.
    #[error("{0}")]
    Usage(String),
    /// Something that was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// Nothing could be encrypted.
    #[error("cannot encrypt to {to}")]
    Encryption {
        /// To whom.
        to: String,
        /// Why.
        #[source]
        source: countersign_protocol::openpgp::EncryptionFault,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Server(ServerError::Unreachable(error))
    }
}

/// The result of this library's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
