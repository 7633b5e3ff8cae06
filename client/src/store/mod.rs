//! What this client keeps: one `SQLite` file for each profile, which only its owner can read.
//!
//! Owns: every table, and what changes together. Refuses to know: the server, GnuPG, and what is believed; others decide
//! that before they store it.
//!
//! Invariants: what a method stored is on the disk when it returns (`synchronous=FULL`), and all of it or nothing. Several
//! processes may use a store at once: a person watches in one terminal and sends in another.

mod evidence;
mod log;
mod messages;
mod receipts;
mod sending;
mod session;
mod settings;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_protocol::time::UnixMicros;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use evidence::{Evidence, EvidenceKind, NewEvidence};
pub use messages::{
    ConversationSummary, Incoming, MessageNumber, MessageState, Receiving, Recipient, SealedPart, StoredMessage,
};
pub(crate) use messages::{name_of_ciphertext, rfc3339};
pub use receipts::{Acknowledgement, ReceiptState, StoredReceipt};
pub use sending::{NewPart, Outgoing, QueuedPart};
pub use session::StoredSession;
pub use settings::{Membership, Preferences};

const SCHEMA: &str = include_str!("schema.sql");
const VERSION: i64 = 1;

/// The store of one profile.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `SQLite` says so.
    #[error("the profile's store cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be made.
    #[error("the profile's store cannot be created")]
    File(#[source] std::io::Error),
    /// It was written by a later version.
    #[error("the profile's store is of version {0}, and this program knows version {VERSION}: update it")]
    Later(i64),
    /// What is in it cannot be read.
    #[error("the profile's store holds a {0} that cannot be read")]
    Corrupt(&'static str),
}

impl Store {
    /// Opens a store, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        // SQLite gives its other files the mode of this one.
        let made = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        made.map_err(StoreError::File)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::with(Connection::open_with_flags(path, flags)?)
    }

    /// Makes a store in memory: for tests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(mut connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(Duration::from_secs(30))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is gone from the file.
        connection.pragma_update(None, "secure_delete", true)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            later => return Err(StoreError::Later(later)),
        }
        transaction.commit()?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Returns a number that changes when another process changed the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn changes_elsewhere(&self) -> Result<i64, StoreError> {
        Ok(self.connection().pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave half a change: a transaction that is not committed is rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transaction<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

/// `SQLite` counts in signed numbers; times and sizes stay far below where that matters.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn micros(number: i64) -> UnixMicros {
    UnixMicros(unsigned(number))
}
