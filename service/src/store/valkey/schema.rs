//! The schema: which version of the layout is there, and the functions.
//!
//! There are no tables to make. What `countersignd schema` does is to say in one key which layout the store has, so that no
//! process of another layout writes into it, and to load the functions into every primary, so that a user who may not load
//! functions can run the service.

use redis::{Cmd, FromRedisValue as _, Value};

use super::cluster::Cluster;
use super::functions::LIBRARY;
use super::keys::Key;
use crate::store::StoreError;

/// The version that this program needs.
pub const VERSION: u32 = 1;

/// What is wrong with the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsuitable {
    /// There is none.
    Absent,
    /// It is older than this program needs.
    Older(u32),
    /// It is newer than this program knows.
    Newer(u32),
}

impl std::fmt::Display for Unsuitable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => formatter.write_str("there is no schema in the store: run countersignd schema"),
            Self::Older(version) => write!(
                formatter,
                "the schema of the store is at version {version}, this program needs {VERSION}: run countersignd schema"
            ),
            Self::Newer(version) => write!(
                formatter,
                "the schema of the store is at version {version}, which is newer than this program knows ({VERSION}): run a \
                 newer program"
            ),
        }
    }
}

/// Looks which version is there.
///
/// # Errors
/// If that cannot be read.
pub(super) async fn look(cluster: &Cluster) -> Result<Result<(), Unsuitable>, StoreError> {
    let mut command = Cmd::new();
    command.arg("GET").arg(Key::Schema.name());
    let version = match cluster.read(&Key::Schema, &command).await? {
        Value::Nil => return Ok(Err(Unsuitable::Absent)),
        version => u32::from_redis_value(version)
            .map_err(|_| StoreError::Corrupt("the version of the schema is no number".to_owned()))?,
    };
    Ok(match version {
        VERSION => Ok(()),
        newer if newer > VERSION => Err(Unsuitable::Newer(newer)),
        older => Err(Unsuitable::Older(older)),
    })
}

/// Makes the schema, unless there is one that is newer, and returns in words what was done. It can be run again, and by two at
/// once.
///
/// # Errors
/// [`StoreError`]; what was done stays, and running it again goes on from there.
pub(super) async fn create(cluster: &Cluster) -> Result<Result<Vec<String>, Unsuitable>, StoreError> {
    let found = look(cluster).await?;
    if let Err(newer @ Unsuitable::Newer(_)) = found {
        return Ok(Err(newer));
    }
    cluster.load_functions().await?;
    let primaries = cluster.primaries().len();
    let mut done = vec![format!("functions {}: in {primaries} primaries", LIBRARY.version)];
    if found.is_err() {
        let mut command = Cmd::new();
        command.arg("SET").arg(Key::Schema.name()).arg(VERSION);
        cluster.write(&Key::Schema, &command).await?;
        done.push(format!("version {VERSION}: the layout of all keys"));
    } else {
        done.push(format!("the schema is at version {VERSION}: nothing to do"));
    }
    Ok(Ok(done))
}

/// Returns what is done, as commands for a person.
#[must_use]
pub fn script() -> String {
    format!("FUNCTION LOAD \"{}\"\nSET {} {VERSION}\n", LIBRARY.text, Key::Schema.name())
}
