//! What a server's settings must be, so that what was answered is there for good: for the start and for `doctor`.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, from_row_opt};

use super::session::failed;
use super::settings::MariadbSettings;
use crate::store::StoreError;

/// Bytes that a write has besides its content: its other columns and the packet's own.
const AROUND_A_CONTENT: u64 = 64 * 1024;

/// A server's settings, as far as they matter here.
pub(super) struct Server {
    version: String,
    flushed_at_commit: u64,
    doublewrite: u64,
    binary_log: u64,
    binary_log_synced: u64,
    packet: u64,
    connections: u64,
    isolation: String,
    mode: String,
}

impl Server {
    /// Asks the server, as a connection of ours sees it.
    pub(super) async fn ask(connection: &mut Conn) -> Result<Self, StoreError> {
        // Newer versions write the second in words, and have another name for the isolation level: some have both.
        const QUESTION: &str = "SELECT CAST(VERSION() AS CHAR), @@innodb_flush_log_at_trx_commit, \
            CONCAT(@@innodb_doublewrite) IN ('1', 'ON'), @@log_bin, @@sync_binlog, @@max_allowed_packet, \
            @@max_connections, @@sql_mode, (SELECT MIN(variable_value) FROM information_schema.session_variables \
            WHERE variable_name IN ('TX_ISOLATION', 'TRANSACTION_ISOLATION'))";
        type Answer = (String, u64, u64, u64, u64, u64, u64, String, String);
        let row = connection.query_first::<Row, _>(QUESTION).await.map_err(failed)?;
        let answer = row.and_then(|row| from_row_opt::<Answer>(row).ok());
        let answer = answer.ok_or_else(|| StoreError::Corrupt("the server's settings cannot be read".to_owned()))?;
        let (version, flushed_at_commit, doublewrite, binary_log, binary_log_synced, ..) = answer.clone();
        let (.., packet, connections, mode, isolation) = answer;
        Ok(Self {
            version,
            flushed_at_commit,
            doublewrite,
            binary_log,
            binary_log_synced,
            packet,
            connections,
            isolation,
            mode,
        })
    }

    /// Returns the server's version, as it tells it.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Says why what is answered could be lost with the server's power; nothing, if it could not.
    pub(super) fn loses(&self) -> Option<String> {
        if self.flushed_at_commit != 1 {
            let found = self.flushed_at_commit;
            return Some(format!(
                "the server's innodb_flush_log_at_trx_commit is {found}: it confirms what it has not written to disk. \
                 Set it to 1"
            ));
        }
        if self.binary_log != 0 && self.binary_log_synced != 1 {
            let found = self.binary_log_synced;
            return Some(format!(
                "the server has a binary log and its sync_binlog is {found}: what it has confirmed it may roll back after a \
                 loss of power. Set it to 1"
            ));
        }
        if self.doublewrite == 0 {
            return Some(
                "the server's innodb_doublewrite is off: a loss of power can leave half a page. Set it to ON"
                    .to_owned(),
            );
        }
        None
    }

    /// Returns all checks but those of durability: what is well, or what is wrong.
    pub(super) fn checks(&self, settings: &MariadbSettings) -> Vec<Result<String, String>> {
        let content = settings.content_bytes as u64 + AROUND_A_CONTENT;
        let (packet, connections, pool) = (self.packet, self.connections, settings.connections as u64);
        let (isolation, mode) = (&self.isolation, &self.mode);
        vec![
            if packet >= content {
                Ok(format!("max_allowed_packet is {packet}: the largest content fits"))
            } else {
                Err(format!("max_allowed_packet is {packet}, and the largest content needs {content}: raise it"))
            },
            // One is the administrator's.
            if pool < connections {
                let pods = (connections - 1) / pool.max(1);
                Ok(format!("max_connections is {connections}: enough for {pods} pods with {pool} each"))
            } else {
                Err(format!(
                    "max_connections is {connections}, and one pod alone may use {pool} (mariadb_connections): raise it"
                ))
            },
            if isolation == "READ-COMMITTED" && mode.contains("STRICT_ALL_TABLES") {
                Ok(format!("connections are at {isolation}, and in strict mode"))
            } else {
                Err(format!("connections are at {isolation} in mode {mode}: something between undoes what is set"))
            },
        ]
    }
}
