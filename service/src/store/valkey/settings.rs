//! What can be set of the store.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::settings::{Durability, SchemaAtStart};
use crate::valkey::ValkeyUrl;

/// How to reach a store in Valkey, and what its answers mean.
#[derive(Clone, Debug)]
pub struct ValkeyStoreSettings {
    /// Where it is: a cluster, or one server.
    pub url: ValkeyUrl,
    /// The file with the password of its user.
    pub password: Option<PathBuf>,
    /// The PEM file with the authority that signed its certificate; none for those that the system trusts.
    pub authority: Option<PathBuf>,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// How long a call may take, with everything that is repeated for it.
    pub timeout: Duration,
    /// Where a write is before it is answered.
    pub durability: Durability,
    /// How many connections to each primary carry writes. While one waits for a disk, the others go on.
    pub connections: NonZeroUsize,
    /// What a starting process does about the schema.
    pub schema: SchemaAtStart,
    /// How long messages are kept.
    pub retention: Duration,
}

impl Durability {
    /// Returns on how many disks a write must be, of the primary itself (at most one) and of replicas; nothing where its memory
    /// is enough.
    #[must_use]
    pub const fn disks(self) -> Option<Disks> {
        match self {
            Self::Replicated => Some(Disks { own: 1, replicas: 1 }),
            Self::Local => Some(Disks { own: 1, replicas: 0 }),
            Self::Memory => None,
        }
    }
}

/// On how many disks a write is, or must be: what `WAITAOF` asks for and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disks {
    /// The primary's own: 0 or 1.
    pub own: i64,
    /// Those of its replicas.
    pub replicas: i64,
}
