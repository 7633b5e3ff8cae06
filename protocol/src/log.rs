//! The organization's log (section 4): entries, and where the log is.

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Sha256Digest;
use crate::json::object;

/// One entry of the log: a statement's text and the signatures under it, as they were submitted.
///
/// It is also the body of a request that submits a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// The statement's JSON text, byte for byte what was signed.
    pub statement: String,
    /// Armored detached binary signatures.
    pub signatures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntryFields {
    statement: String,
    signatures: Vec<String>,
}

impl<'de> Deserialize<'de> for LogEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LogEntryFields { statement, signatures } = object(deserializer)?;
        Ok(Self { statement, signatures })
    }
}

/// The last entry of a log: its sequence and the hash of its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The sequence, from 0.
    pub sequence: u64,
    /// SHA-256 of the statement's bytes.
    pub hash: Sha256Digest,
}
