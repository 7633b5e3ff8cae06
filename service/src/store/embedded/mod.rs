//! The embedded store: one process, one directory, durable before it answers.
//!
//! - `registry.redb`: organizations, users, client places.
//! - `journal-<number>`: messages and confirmations, synced in groups before they are answered.
//! - `day-<number>.redb`: the same, merged in the background, one file a day; retention deletes whole files.
//! - `lock`: held while a process uses the directory.
//!
//! Why redb, and why a journal before it: `docs/decisions/0003-embedded-store.md`.

mod journal;
mod mailbox;
mod pending;
mod record;
mod registry;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{KEPT_LONGER, Store, StoreError};
use crate::clock::Clock;
pub use journal::JournalError;
pub use mailbox::OpenError;
use mailbox::Threads;
use registry::RegistryThread;
use tables::{Day, Tables};

/// How often expired days are looked for, and little-used journals merged.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);

/// The numbers that the store works with.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedSettings {
    /// How long messages are kept. A day's file is deleted when all of the day is older.
    pub retention: Duration,
}

/// Drops expired days, and closes the store.
pub struct Sweeper {
    tables: Arc<Tables>,
    oldest: Arc<dyn Fn() -> Day + Send + Sync>,
    threads: Threads,
    registry_thread: RegistryThread,
    lock: File,
}

/// Opens the store in a directory, which is created where it is missing.
///
/// # Errors
/// [`OpenError`] says why the directory cannot be used.
pub fn open(
    directory: &Path,
    settings: EmbeddedSettings,
    clock: Arc<dyn Clock>,
) -> Result<(Store, Sweeper), OpenError> {
    std::fs::create_dir_all(directory).map_err(OpenError::Directory)?;
    let lock = File::create(directory.join("lock")).map_err(OpenError::Directory)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse,
        TryLockError::Error(error) => OpenError::Directory(error),
    })?;
    let (registry, registry_thread) = registry::open(&directory.join("registry.redb"))?;
    let oldest: Arc<dyn Fn() -> Day + Send + Sync> =
        Arc::new(move || Day::of(clock.now_millis().minus(settings.retention + KEPT_LONGER)));
    let (mailbox, tables, threads) = mailbox::open(directory, Arc::clone(&oldest))?;
    // The names of new files must outlive a loss of power too.
    journal::sync_directory(directory)?;
    let store = Store { registry: Arc::new(registry), mailbox: Arc::new(mailbox) };
    Ok((store, Sweeper { tables, oldest, threads, registry_thread, lock }))
}

/// How a directory is found by who does not open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is there yet.
    Absent,
    /// A store that no process uses.
    Free,
    /// A store that a process uses.
    InUse,
}

/// Looks whether a store is in a directory, and in use. Changes nothing.
///
/// # Errors
/// The system's, where the store is there and this user may not write to it.
pub fn examine(directory: &Path) -> std::io::Result<State> {
    let lock = match File::options().write(true).open(directory.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Absent),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => Ok(State::Free),
        Err(TryLockError::WouldBlock) => Ok(State::InUse),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Sweeper {
    /// Sweeps now and then, until `stop`; then merges what is pending and closes the store.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            self.sweep().await;
            tokio::select! {
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                () = stop.cancelled() => break,
            }
        }
        let closed = tokio::task::spawn_blocking(move || self.close());
        if closed.await.is_err() {
            tracing::error!("the store was not closed in order; its journal is replayed at the next start");
        }
    }

    /// Has merged what is pending, and deletes the files of expired days.
    async fn sweep(&self) {
        self.threads.merge().await;
        let (tables, oldest) = (Arc::clone(&self.tables), (self.oldest)());
        match tokio::task::spawn_blocking(move || tables.drop_before(oldest)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(days)) => tracing::info!(days, "expired days were deleted"),
            Ok(Err(error)) => failed(&error),
            Err(_) => tracing::error!("the sweep broke"),
        }
    }

    /// Merges what is pending and closes the store. Writes are refused from now on.
    pub fn close(self) {
        self.threads.close();
        self.registry_thread.close();
        drop(self.lock);
    }
}

fn failed(error: &StoreError) {
    tracing::error!(error = error as &dyn std::error::Error, "expired days cannot be deleted");
}
