//! Expired rows. Reads do not see them; one pod at a time deletes them, a bounded number at once.
//!
//! A lock of the server's says which pod. It belongs to a connection of its own, which is closed after each sweep,
//! however that ends: so nobody can keep it.
//!
//! A table is walked by its primary key, from the oldest row on: so it needs no index. Messages and mailbox rows come in
//! the order of their ids' times, but for a minute or so, and the walk ends where nothing has expired. Confirmations may be
//! of ids that are older than they themselves, so their table, of small rows, is walked to its end.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::session::failed;
use super::settings::Database;
use crate::store::StoreError;

/// How often expired rows are deleted.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_mins(30);
/// Positions that one statement looks at, and the most rows that it deletes: some milliseconds of the server's time.
const AT_ONCE: u64 = 1_000;

/// The tables whose rows expire, and whether they are walked to their end.
const TABLES: [(&str, bool); 3] = [("message", false), ("mailbox", false), ("fetched", true)];

/// Deletes what is older than `oldest`, unless another pod is at it. Returns how many rows were deleted of each table.
pub(super) async fn sweep(
    connection: &mut Conn,
    database: &Database,
    oldest: [u8; 16],
) -> Result<Option<Vec<(&'static str, u64)>>, StoreError> {
    let turn = format!("SELECT GET_LOCK('countersign_sweep_{database}', 0)");
    if connection.query_first::<Option<i32>, _>(turn).await.map_err(failed)?.flatten() != Some(1) {
        return Ok(None);
    }
    let mut deleted = Vec::new();
    for (table, to_the_end) in TABLES {
        deleted.push((table, walk(connection, table, to_the_end, oldest).await.map_err(failed)?));
    }
    Ok(Some(deleted))
}

async fn walk(connection: &mut Conn, table: &str, to_the_end: bool, oldest: [u8; 16]) -> Result<u64, Error> {
    let end = format!("SELECT MAX(position) FROM {table}");
    let Some(Some(end)) = connection.query_first::<Option<u64>, _>(end).await? else { return Ok(0) };
    // Positions have gaps, where rows were deleted or refused.
    let next = format!("SELECT MIN(position) FROM {table} WHERE position BETWEEN ? AND ?");
    let delete = format!("DELETE FROM {table} WHERE position BETWEEN ? AND ? AND id < ?");
    let (mut deleted, mut from) = (0, 0);
    while let Some(Some(first)) = connection.exec_first::<Option<u64>, _, _>(&next, (from, end)).await? {
        let last = first.saturating_add(AT_ONCE - 1);
        connection.exec_drop(&delete, (first, last, oldest.to_vec())).await?;
        let of_these = connection.affected_rows();
        deleted += of_these;
        if of_these == 0 && !to_the_end {
            break;
        }
        from = last.saturating_add(1);
    }
    Ok(deleted)
}
