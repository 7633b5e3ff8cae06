//! What can be set of more than one backend.
//!
//! Refuses to know: the backends, and their drivers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Makes an enum whose values are written as one word each.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident, $expected:literal: $($(#[doc = $value_doc:literal])* $value:ident = $word:literal,)*) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub enum $name {
            $($(#[doc = $value_doc])* $value,)*
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$value),)*
                    _ => Err($expected),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self {
                    $(Self::$value => $word,)*
                })
            }
        }
    };
}
pub(super) use words;

words! {
    /// What a starting process does about the schema.
    SchemaAtStart, "the schema at start is checked or created: check or create":
    /// It waits until `countersignd schema` was run.
    Check = "check",
    /// It creates or migrates it itself: for small set-ups.
    Create = "create",
}

words! {
    /// Where a write to a valkey:// store is before it is answered.
    Durability, "the durability of a valkey:// store is replicated, local or memory":
    /// In the append-only files, on disk, of the primary and of a replica.
    Replicated = "replicated",
    /// In the append-only file of the primary, on disk.
    Local = "local",
    /// In the memory of the primary.
    Memory = "memory",
}

/// Bytes of content that a server of a valkey:// store takes in one write without holding up others for long.
pub const VALKEY_CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// PEM files of a TLS client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClientFiles {
    /// Whom to believe.
    pub ca: PathBuf,
    /// An own certificate and its key, where the server asks for one.
    pub own: Option<(PathBuf, PathBuf)>,
}
