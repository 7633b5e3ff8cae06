//! The tables, their keys and indices, their versions, and how they come to be.
//!
//! Owns: the SQL that makes database and tables, and the order of migrations. Refuses to know: who runs it and when.
//!
//! Every step can be repeated, and versions only add. Two that migrate at once take turns, by a lock of the server.
//!
//! As in the design that this store is the baseline of, every table has an auto-increment as its primary key. Keys that
//! answers depend on belong to the tables; indices for look-ups alone can be dropped and made again (`indices`).

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Value};

use super::session::failed;
use super::settings::{Database, Indices};
use crate::clock::Clock;
use crate::store::StoreError;

/// The version that this program needs.
pub const VERSION: i32 = match MIGRATIONS.last() {
    Some(migration) => migration.version,
    None => 0,
};

/// What the versions are of: other parts of the service could keep their own in the same table.
const COMPONENT: &str = "store";
/// How long one waits for another that migrates, in seconds.
const TURN_SECONDS: u32 = 600;
/// `ER_DBACCESS_DENIED_ERROR`: we may not create databases, which does not matter if it is there.
const DENIED: u16 = 1044;
/// `ER_BAD_DB_ERROR`: there is no such database.
const NO_DATABASE: u16 = 1049;
/// `ER_NO_SUCH_TABLE`.
const NO_TABLE: u16 = 1146;

/// One version of the schema: what it adds to the one before.
pub(super) struct Migration {
    /// The version that there is afterwards.
    pub(super) version: i32,
    /// What it is for, in a few words.
    pub(super) what: &'static str,
    /// What it adds: statements that can be repeated.
    pub(super) steps: &'static [&'static str],
}

/// An index that serves look-ups alone.
struct Index {
    table: &'static str,
    name: &'static str,
    columns: &'static str,
}

/// Why a schema cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The server cannot be reached.
    #[error("no server can be reached")]
    Connect(#[source] StoreError),
    /// A statement failed.
    #[error("a statement failed: {statement}")]
    Statement {
        /// The statement.
        statement: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Another one migrates.
    #[error("another one has been changing the schema for ten minutes; run this again when it has ended")]
    Busy,
}

/// All versions, oldest first. Only additions: a pod of the version before must go on working.
pub(super) const MIGRATIONS: &[Migration] = &[Migration { version: 1, what: "all tables", steps: TABLES }];

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version (component VARBINARY(32) NOT NULL, \
     version INT NOT NULL, applied BIGINT UNSIGNED NOT NULL, PRIMARY KEY (component, version)) ENGINE = InnoDB";

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS organization_log (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, sequence BIGINT UNSIGNED NOT NULL, statement MEDIUMBLOB NOT NULL, \
     signatures MEDIUMBLOB NOT NULL, writer BINARY(16) NOT NULL, \
     UNIQUE KEY one_entry_at_a_sequence (organization, sequence)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS user_record (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, user BINARY(16) NOT NULL, certificate MEDIUMBLOB NOT NULL, \
     fingerprint VARBINARY(64) NOT NULL, administrator BOOLEAN NOT NULL, active BOOLEAN NOT NULL, \
     client_limit INT UNSIGNED NOT NULL, sessions_since BIGINT UNSIGNED NOT NULL, changed BIGINT UNSIGNED NOT NULL, \
     UNIQUE KEY one_record_of_a_user (organization, user)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS client_place (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, user BINARY(16) NOT NULL, place INT UNSIGNED NOT NULL, \
     client BINARY(16) NOT NULL, since BIGINT UNSIGNED NOT NULL, \
     UNIQUE KEY one_client_at_a_place (organization, user, place), \
     UNIQUE KEY one_place_of_a_client (organization, user, client)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS message (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, id BINARY(16) NOT NULL, kind TINYINT UNSIGNED NOT NULL, \
     sender BINARY(16) NOT NULL, recipients MEDIUMBLOB NOT NULL, acknowledges BINARY(16) NULL, \
     content MEDIUMBLOB NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS mailbox (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, user BINARY(16) NOT NULL, id BINARY(16) NOT NULL, \
     kind TINYINT UNSIGNED NOT NULL, sender BINARY(16) NOT NULL, acknowledges BINARY(16) NULL, \
     size BIGINT UNSIGNED NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS fetched (position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     organization BINARY(16) NOT NULL, user BINARY(16) NOT NULL, client BINARY(16) NOT NULL, \
     id BINARY(16) NOT NULL) ENGINE = InnoDB",
];

/// All indices. They are unique: a repeated write is refused instead of adding a second row.
const INDICES: [Index; 3] = [
    Index { table: "message", name: "by_id", columns: "organization, id" },
    Index { table: "mailbox", name: "by_user", columns: "organization, user, id" },
    Index { table: "fetched", name: "by_client", columns: "organization, user, client, id" },
];

impl Index {
    /// `IGNORE` drops rows that are equal to others, which repeated writes have left while there was no index.
    fn add(&self) -> String {
        format!("ALTER IGNORE TABLE {} ADD UNIQUE KEY {} ({})", self.table, self.name, self.columns)
    }

    fn drop(&self) -> String {
        format!("ALTER TABLE {} DROP KEY {}", self.table, self.name)
    }
}

/// Returns all that makes an empty server ready, as SQL for a person or for a client.
#[must_use]
pub fn script(database: &Database, wanted: Indices) -> String {
    let steps = MIGRATIONS.iter().flat_map(|migration| migration.steps.iter().map(ToString::to_string));
    let records = MIGRATIONS.iter().map(|migration| {
        format!(
            "INSERT INTO schema_version (component, version, applied) \
             VALUES ('{COMPONENT}', {}, UNIX_TIMESTAMP() * 1000)",
            migration.version
        )
    });
    let indices = INDICES.iter().filter(|_| wanted == Indices::Kept).map(Index::add);
    let before =
        [format!("CREATE DATABASE IF NOT EXISTS {database}"), format!("USE {database}"), VERSIONS.to_owned()];
    let all = before.into_iter().chain(steps).chain(indices).chain(records);
    all.map(|sql| sql + ";\n").collect()
}

/// Reads which version the schema has; none if there is none. The connection is in no database.
///
/// # Errors
/// [`SchemaError`].
pub(super) async fn version(connection: &mut Conn, database: &Database) -> Result<Option<i32>, SchemaError> {
    let statement = format!("SELECT MAX(version) FROM {database}.schema_version WHERE component = '{COMPONENT}'");
    match connection.query_first::<Option<i32>, _>(&statement).await {
        Ok(version) => Ok(version.flatten()),
        Err(Error::Server(error)) if [NO_DATABASE, NO_TABLE].contains(&error.code) => Ok(None),
        Err(error) => Err(refused(&statement, error)),
    }
}

/// Makes the schema what [`MIGRATIONS`] say, with or without indices, and returns in words what was done.
///
/// # Errors
/// [`SchemaError`]; what was done stays, and running it again goes on from there.
pub(super) async fn migrate(
    connection: &mut Conn,
    database: &Database,
    wanted: Indices,
    migrations: &[Migration],
    clock: &dyn Clock,
) -> Result<Vec<String>, SchemaError> {
    match run(connection, &format!("CREATE DATABASE IF NOT EXISTS {database}")).await {
        Err(SchemaError::Statement { source: StoreError::Unavailable(cause), .. }) if is_denied(&*cause) => {}
        other => other?,
    }
    run(connection, &format!("USE {database}")).await?;
    // Making an index of a large table takes longer than a call may.
    run(connection, "SET SESSION max_statement_time = 0, SESSION lock_wait_timeout = 600").await?;
    // It ends with the connection, if not before.
    let turn = format!("SELECT GET_LOCK('countersign_schema_{database}', {TURN_SECONDS})");
    let mine = connection.query_first::<Option<i32>, _>(&turn).await.map_err(|error| refused(&turn, error))?;
    if mine.flatten() != Some(1) {
        return Err(SchemaError::Busy);
    }
    run(connection, VERSIONS).await?;
    let held = version(connection, database).await?.unwrap_or(0);
    let mut done = Vec::new();
    for migration in migrations.iter().filter(|migration| migration.version > held) {
        for step in migration.steps {
            run(connection, step).await?;
        }
        let record = "INSERT INTO schema_version (component, version, applied) VALUES (?, ?, ?)";
        let values: Vec<Value> = vec![COMPONENT.into(), migration.version.into(), clock.now_millis().0.into()];
        connection.exec_drop(record, values).await.map_err(|error| refused(record, error))?;
        done.push(format!("version {}: {}", migration.version, migration.what));
    }
    for index in &INDICES {
        let there = has(connection, database, index).await?;
        match wanted {
            Indices::Kept if !there => {
                run(connection, &index.add()).await?;
                done.push(format!("index {} of {} was made", index.name, index.table));
            }
            Indices::Left if there => {
                run(connection, &index.drop()).await?;
                done.push(format!("index {} of {} was dropped", index.name, index.table));
            }
            Indices::Kept | Indices::Left => {}
        }
    }
    if done.is_empty() {
        let newest = migrations.last().map_or(0, |migration| migration.version);
        done.push(format!("the schema is at version {held}; this program needs {newest}: nothing to do"));
    }
    run(connection, &format!("DO RELEASE_LOCK('countersign_schema_{database}')")).await?;
    Ok(done)
}

/// Tells whether all indices are there, or none; nothing if some are.
pub(super) async fn indices(connection: &mut Conn, database: &Database) -> Result<Option<Indices>, SchemaError> {
    let mut there = Vec::new();
    for index in &INDICES {
        there.push(has(connection, database, index).await?);
    }
    Ok(match (there.contains(&true), there.contains(&false)) {
        (true, false) => Some(Indices::Kept),
        (false, true) => Some(Indices::Left),
        _ => None,
    })
}

async fn has(connection: &mut Conn, database: &Database, index: &Index) -> Result<bool, SchemaError> {
    let statement = format!(
        "SELECT COUNT(*) FROM information_schema.statistics \
         WHERE table_schema = '{database}' AND table_name = '{}' AND index_name = '{}'",
        index.table, index.name
    );
    let count = connection.query_first::<u64, _>(&statement).await.map_err(|error| refused(&statement, error))?;
    Ok(count.unwrap_or(0) > 0)
}

async fn run(connection: &mut Conn, statement: &str) -> Result<(), SchemaError> {
    connection.query_drop(statement).await.map_err(|error| refused(statement, error))
}

fn refused(statement: &str, error: Error) -> SchemaError {
    SchemaError::Statement { statement: statement.to_owned(), source: failed(error) }
}

fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Server(error)) if error.code == DENIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_and_only_add() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.version).unwrap(), index + 1);
            for step in migration.steps {
                assert!(
                    step.starts_with("CREATE TABLE IF NOT EXISTS ") && step.ends_with("ENGINE = InnoDB"),
                    "{step}"
                );
            }
        }
    }

    #[test]
    fn without_indices_tables_of_messages_have_an_auto_increment_and_no_other_key() {
        let database = "countersign".parse().unwrap();
        for table in
            TABLES.iter().filter(|table| INDICES.iter().any(|index| table.contains(&format!(" {} (", index.table))))
        {
            assert!(table.contains("AUTO_INCREMENT PRIMARY KEY") && table.matches("KEY").count() == 1, "{table}");
        }
        assert_eq!(script(&database, Indices::Kept).matches("ADD UNIQUE KEY").count(), 3);
        assert!(!script(&database, Indices::Left).contains("ALTER"));
        assert_eq!(script(&database, Indices::Left).matches("CREATE TABLE IF NOT EXISTS").count(), 7);
    }
}
