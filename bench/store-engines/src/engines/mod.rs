//! The engines, each behind a cargo feature so that its size can be measured alone.

mod days;
pub mod floor;
#[cfg(feature = "fjall")]
pub mod fjall;
#[cfg(feature = "lmdb")]
pub mod lmdb;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use crate::engine::Engine;
use anyhow::{Result, bail};
use std::{path::Path, sync::Arc};

/// Engines and variants, in the order of the tables.
pub const NAMES: &[&str] = &[
    "floor",
    #[cfg(feature = "fjall")]
    "fjall",
    #[cfg(feature = "fjall")]
    "fjall-kv",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "redb")]
    "redb-qr",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "lmdb")]
    "lmdb",
];

/// Opens (or creates) the store of the named engine in a folder.
pub fn open(name: &str, dir: &Path) -> Result<Arc<dyn Engine>> {
    std::fs::create_dir_all(dir)?;
    Ok(match name {
        "floor" => Arc::new(floor::Floor::open(dir)?),
        #[cfg(feature = "fjall")]
        "fjall" => Arc::new(fjall::Fjall::open(dir, false)?),
        #[cfg(feature = "fjall")]
        "fjall-kv" => Arc::new(fjall::Fjall::open(dir, true)?),
        #[cfg(feature = "redb")]
        "redb" => Arc::new(redb::Redb::open(dir, false)?),
        #[cfg(feature = "redb")]
        "redb-qr" => Arc::new(redb::Redb::open(dir, true)?),
        #[cfg(feature = "sqlite")]
        "sqlite" => Arc::new(sqlite::Sqlite::open(dir)?),
        #[cfg(feature = "lmdb")]
        "lmdb" => Arc::new(lmdb::Lmdb::open(dir)?),
        _ => bail!("no engine {name}"),
    })
}
