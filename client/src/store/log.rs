//! The organization's log, as this client verified it.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::log::{Head, LogEntry};
use rusqlite::params;

use super::{Store, StoreError, signed};

impl Store {
    /// Returns all pinned entries, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log(&self) -> Result<Vec<LogEntry>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT statement, signatures FROM log_entry ORDER BY sequence")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut entries = Vec::new();
        for row in rows {
            let (statement, signatures) = row?;
            let signatures = serde_json::from_str(&signatures).map_err(|_| StoreError::Corrupt("log entry"))?;
            entries.push(LogEntry { statement, signatures });
        }
        Ok(entries)
    }

    /// Pins entries that follow the pinned ones. Another process may have pinned them meanwhile; it judged them by the
    /// same rule. False if it pinned others, which then stay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pin(&self, entries: &[(Head, LogEntry)]) -> Result<bool, StoreError> {
        self.transaction(|transaction| {
            let sql = "INSERT INTO log_entry (sequence, hash, statement, signatures) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (sequence) DO NOTHING";
            for (head, entry) in entries {
                let signatures =
                    serde_json::to_string(&entry.signatures).map_err(|_| StoreError::Corrupt("log entry"))?;
                let hash = head.hash.as_bytes();
                transaction.execute(sql, params![signed(head.sequence), hash, entry.statement, signatures])?;
                let pinned: [u8; 32] = transaction.query_row(
                    "SELECT hash FROM log_entry WHERE sequence = ?1",
                    [signed(head.sequence)],
                    |row| row.get(0),
                )?;
                if Sha256Digest::from_bytes(pinned) != head.hash {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Returns how many entries are pinned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_length(&self) -> Result<u64, StoreError> {
        let count: i64 = self.connection().query_row("SELECT count(*) FROM log_entry", [], |row| row.get(0))?;
        Ok(super::unsigned(count))
    }
}
