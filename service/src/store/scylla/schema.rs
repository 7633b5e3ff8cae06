//! The tables, their versions, and how they come to be.
//!
//! Owns: the CQL that makes keyspace and tables, and the order of migrations. Refuses to know: who runs it and when.
//!
//! Every step can be repeated, and only adds. All steps go to one node, the one whose host id is least, which does one
//! after the other: so two that migrate at once do not create a table twice. After each step all nodes must agree.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::cluster::NodeRef;
use scylla::errors::{DbError, ExecutionError, IntoRowsResultError, PrepareError, RequestAttemptError, RowsError};
use scylla::errors::{DeserializationError, NewSessionError, SchemaAgreementError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::settings::{Keyspace, Replication, ScyllaSettings, Tablets};
use crate::clock::Clock;
use crate::store::KEPT_LONGER;

/// The version that this program needs.
pub const VERSION: i32 = match MIGRATIONS.last() {
    Some(migration) => migration.version,
    None => 0,
};

/// What the versions are of: other parts of the service could keep their own in the same table.
const COMPONENT: &str = "store";
/// How long a change of the schema may take on the server.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long hints and stragglers may take, and so how long the markers of what has expired stay. Longer than the time
/// for which nodes keep hints for one that is down (3 h), since hints older than this are not delivered.
const GC_GRACE_SECONDS: u32 = 12 * 3_600;
/// About how many windows compaction keeps for a table: servers warn beyond 50.
const WINDOWS: u64 = 20;

/// One version of the schema: what it adds to the one before.
pub struct Migration {
    /// The version that there is afterwards.
    pub version: i32,
    /// What it is for, in a few words.
    pub what: &'static str,
    /// What it adds.
    pub steps: fn(&Parameters) -> Vec<Step>,
}

/// An addition to the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A table: its name, and its columns, key and options.
    Table(&'static str, String),
    /// A column of a table that is there: table, column, type.
    Column(&'static str, &'static str, &'static str),
}

/// What the text of a schema depends on.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The keyspace.
    pub keyspace: Keyspace,
    /// How many replicas.
    pub replication: Replication,
    /// Whether tablets are avoided.
    pub tablets: Tablets,
    /// How long messages are kept.
    pub retention: Duration,
}

/// Why a schema cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No node can be reached.
    #[error("no CQL server can be reached")]
    Connect(#[source] Box<NewSessionError>),
    /// No node is up.
    #[error("no node is connected")]
    NoNode,
    /// A statement failed.
    #[error("a statement failed: {statement}")]
    Statement {
        /// The statement.
        statement: String,
        /// Why.
        #[source]
        source: Box<ExecutionError>,
    },
    /// A statement cannot be prepared.
    #[error("a statement cannot be prepared")]
    Prepare(#[source] Box<PrepareError>),
    /// Nodes do not agree on the schema.
    #[error("the nodes do not agree on the schema; look for one that is down or cut off, then run this again")]
    Agreement(#[source] Box<SchemaAgreementError>),
    /// An answer cannot be understood.
    #[error("an answer about the schema cannot be understood")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// All versions, oldest first. Only additions: a pod of the version before must go on working.
pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, what: "all tables", steps: tables }];

fn tables(parameters: &Parameters) -> Vec<Step> {
    let lasting = "compaction = {'class': 'LeveledCompactionStrategy'}";
    let passing = format!("{} AND gc_grace_seconds = {GC_GRACE_SECONDS}", expiry(parameters.retention));
    vec![
        Step::Table(
            "organization_log",
            format!(
                "organization blob, segment bigint, sequence bigint, statement text, signatures frozen<list<text>>, \
                 writer blob, PRIMARY KEY ((organization, segment), sequence)) WITH {lasting}"
            ),
        ),
        Step::Table(
            "user_record",
            format!(
                "organization blob, bucket tinyint, user blob, certificate text, fingerprint blob, \
                 administrator boolean, active boolean, client_limit int, changed bigint, sessions_since bigint, \
                 PRIMARY KEY ((organization, bucket), user)) WITH {lasting}"
            ),
        ),
        Step::Table(
            "client_place",
            format!(
                "organization blob, user blob, place int, client blob, since bigint, \
                 PRIMARY KEY ((organization, user), place)) WITH {lasting}"
            ),
        ),
        Step::Table(
            "message",
            format!(
                "organization blob, id blob, kind tinyint, sender blob, recipients blob, acknowledges blob, content blob, \
                 PRIMARY KEY ((organization, id))) WITH {passing}"
            ),
        ),
        Step::Table(
            "mailbox",
            format!(
                "organization blob, user blob, day int, id blob, kind tinyint, sender blob, acknowledges blob, size int, \
                 PRIMARY KEY ((organization, user, day), id)) WITH {passing}"
            ),
        ),
        Step::Table(
            "fetched",
            format!(
                "organization blob, user blob, client blob, day int, id blob, \
                 PRIMARY KEY ((organization, user, client, day), id)) WITH {passing}"
            ),
        ),
    ]
}

/// Options of a table whose rows expire: windows of whole days, or of hours where retention is short.
fn expiry(retention: Duration) -> String {
    let lifetime = retention + KEPT_LONGER;
    let hours = lifetime.as_secs().div_ceil(3_600);
    let (size, unit) = if hours >= 10 * 24 {
        (hours.div_ceil(24).div_ceil(WINDOWS), "DAYS")
    } else {
        (hours.div_ceil(WINDOWS).max(1), "HOURS")
    };
    format!(
        "compaction = {{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{unit}', \
         'compaction_window_size': {size}}} AND default_time_to_live = {}",
        lifetime.as_secs()
    )
}

impl Parameters {
    /// Takes them from the settings.
    #[must_use]
    pub fn of(settings: &ScyllaSettings) -> Self {
        Self {
            keyspace: settings.address.keyspace.clone(),
            replication: settings.replication.clone(),
            tablets: settings.tablets,
            retention: settings.retention,
        }
    }

    fn create_keyspace(&self, avoid_tablets: bool) -> String {
        let replicas = match &self.replication {
            Replication::Everywhere(factor) => format!("'replication_factor': {factor}"),
            Replication::ByDatacenter(datacenters) => {
                let each: Vec<String> =
                    datacenters.iter().map(|(name, factor)| format!("'{name}': {factor}")).collect();
                each.join(", ")
            }
        };
        let tablets = if avoid_tablets { " AND tablets = {'enabled': false}" } else { "" };
        let keyspace = &self.keyspace;
        format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} \
             WITH replication = {{'class': 'NetworkTopologyStrategy', {replicas}}}{tablets}"
        )
    }

    fn create_versions(&self) -> String {
        let keyspace = &self.keyspace;
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_version \
             (component text, version int, applied timestamp, PRIMARY KEY (component, version))"
        )
    }

    fn step(&self, step: &Step) -> String {
        let keyspace = &self.keyspace;
        match step {
            Step::Table(name, rest) => format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({rest}"),
            Step::Column(table, column, kind) => format!("ALTER TABLE {keyspace}.{table} ADD {column} {kind}"),
        }
    }

    /// Returns all that makes an empty cluster ready, as CQL for a person or for cqlsh.
    #[must_use]
    pub fn script(&self) -> String {
        let steps = MIGRATIONS.iter().flat_map(|migration| (migration.steps)(self));
        let records = MIGRATIONS.iter().map(|migration| {
            format!(
                "INSERT INTO {}.schema_version (component, version, applied) \
                 VALUES ('{COMPONENT}', {}, toTimestamp(now()))",
                self.keyspace, migration.version
            )
        });
        let before = [self.create_keyspace(false), self.create_versions()];
        let note = match self.tablets {
            Tablets::Avoid => "-- On ScyllaDB the keyspace is made with: AND tablets = {'enabled': false}\n",
            Tablets::Allow => "",
        };
        let all: Vec<String> = before
            .into_iter()
            .chain(steps.map(|step| self.step(&step)))
            .chain(records)
            .map(|cql| cql + ";\n")
            .collect();
        note.to_owned() + &all.concat()
    }
}

/// Reads which version the schema has; none if there is none.
///
/// # Errors
/// [`SchemaError`].
pub(super) async fn version(session: &Session, keyspace: &Keyspace) -> Result<Option<i32>, SchemaError> {
    const TABLE: &str = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    if read::<(String,)>(session, TABLE, (keyspace.as_str(), "schema_version")).await?.is_empty() {
        return Ok(None);
    }
    let versions = format!("SELECT version FROM {keyspace}.schema_version WHERE component = ?");
    Ok(read::<(i32,)>(session, &versions, (COMPONENT,)).await?.into_iter().map(|(version,)| version).max())
}

/// Makes the schema what `migrations` say, and returns in words what was done.
///
/// # Errors
/// [`SchemaError`]; what was done stays, and running it again goes on from there.
pub(super) async fn migrate(
    session: &Session,
    parameters: &Parameters,
    migrations: &[Migration],
    clock: &dyn Clock,
) -> Result<Vec<String>, SchemaError> {
    let one = one_node(session)?;
    let mut done = Vec::new();
    create_keyspace(session, parameters, &one).await?;
    one.change(session, &parameters.create_versions()).await?;
    let held = version(session, &parameters.keyspace).await?.unwrap_or(0);
    for migration in migrations.iter().filter(|migration| migration.version > held) {
        for step in (migration.steps)(parameters) {
            if let Step::Column(table, column, _) = step
                && has_column(session, &parameters.keyspace, table, column).await?
            {
                continue;
            }
            one.change(session, &parameters.step(&step)).await?;
        }
        let record = format!(
            "INSERT INTO {}.schema_version (component, version, applied) VALUES (?, ?, ?)",
            parameters.keyspace
        );
        let now = CqlTimestamp(i64::try_from(clock.now_millis().0).unwrap_or(i64::MAX));
        let record = prepare(session, &record).await?;
        let written = session.execute_unpaged(&record, (COMPONENT, migration.version, now)).await;
        written.map_err(|source| failed(record.get_statement(), source))?;
        done.push(format!("version {}: {}", migration.version, migration.what));
    }
    let newest = migrations.last().map_or(0, |migration| migration.version);
    if done.is_empty() {
        done.push(format!("the schema is at version {held}; this program needs {newest}: nothing to do"));
    }
    Ok(done)
}

/// The one node that all changes go to.
struct OneNode {
    host: Uuid,
    scylla: bool,
}

fn one_node(session: &Session) -> Result<OneNode, SchemaError> {
    let state = session.get_cluster_state();
    let connected = state.get_nodes_info().iter().filter(|node: &NodeRef<'_>| node.is_connected());
    let least = connected.min_by_key(|node| node.host_id).ok_or(SchemaError::NoNode)?;
    Ok(OneNode { host: least.host_id, scylla: least.sharder().is_some() })
}

impl OneNode {
    /// Changes the schema, and waits until all nodes agree on it.
    async fn change(&self, session: &Session, cql: &str) -> Result<(), SchemaError> {
        let mut statement = Statement::new(cql);
        let target = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(self.host), None);
        statement.set_load_balancing_policy(Some(target));
        statement.set_request_timeout(Some(STEP_TIMEOUT));
        // Creating what is there is no change, and adding a column is looked for first.
        statement.set_is_idempotent(true);
        session.query_unpaged(statement, ()).await.map_err(|source| failed(cql, source))?;
        session.await_schema_agreement().await.map_err(|source| SchemaError::Agreement(Box::new(source)))?;
        Ok(())
    }
}

async fn create_keyspace(session: &Session, parameters: &Parameters, one: &OneNode) -> Result<(), SchemaError> {
    let avoid = one.scylla && parameters.tablets == Tablets::Avoid;
    let created = one.change(session, &parameters.create_keyspace(avoid)).await;
    match created {
        // A version from before there were tablets.
        Err(SchemaError::Statement { source, .. }) if avoid && is_refused(&source) => {
            one.change(session, &parameters.create_keyspace(false)).await
        }
        other => other,
    }
}

fn is_refused(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::SyntaxError | DbError::Invalid | DbError::ConfigError,
            _
        ))
    )
}

async fn has_column(session: &Session, keyspace: &Keyspace, table: &str, column: &str) -> Result<bool, SchemaError> {
    const COLUMN: &str = "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
    Ok(!read::<(String,)>(session, COLUMN, (keyspace.as_str(), table, column)).await?.is_empty())
}

async fn prepare(session: &Session, cql: &str) -> Result<PreparedStatement, SchemaError> {
    let mut statement = Statement::new(cql).with_page_size(100);
    statement.set_consistency(Consistency::Quorum);
    statement.set_is_idempotent(true);
    statement.set_request_timeout(Some(STEP_TIMEOUT));
    session.prepare(statement).await.map_err(|source| SchemaError::Prepare(Box::new(source)))
}

async fn read<R>(session: &Session, cql: &str, values: impl SerializeRow) -> Result<Vec<R>, SchemaError>
where
    R: for<'frame> scylla::deserialize::row::DeserializeRow<'frame, 'frame>,
{
    let statement = prepare(session, cql).await?;
    let result = session.execute_unpaged(&statement, values).await.map_err(|source| failed(cql, source))?;
    let rows = result.into_rows_result().map_err(|error: IntoRowsResultError| answer(error))?;
    let rows = rows.rows::<R>().map_err(|error: RowsError| answer(error))?;
    rows.collect::<Result<Vec<R>, _>>().map_err(|error: DeserializationError| answer(error))
}

fn answer(error: impl std::error::Error + Send + Sync + 'static) -> SchemaError {
    SchemaError::Answer(Box::new(error))
}

fn failed(cql: &str, source: ExecutionError) -> SchemaError {
    SchemaError::Statement { statement: cql.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(replication: &str) -> Parameters {
        Parameters {
            keyspace: "k".parse().unwrap(),
            replication: replication.parse().unwrap(),
            tablets: Tablets::Avoid,
            retention: Duration::from_secs(14 * 86_400),
        }
    }

    #[test]
    fn versions_rise_by_one_and_only_add() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.version).unwrap(), index + 1);
        }
        let script = parameters("3").script();
        for line in script.lines().filter(|line| !line.starts_with("--")) {
            assert!(line.starts_with("CREATE ") || line.starts_with("ALTER TABLE ") || line.starts_with("INSERT "));
            assert!(!line.contains("DROP") && !line.contains("INDEX") && !line.contains("MATERIALIZED"), "{line}");
            assert!(line.ends_with(';'));
        }
        assert_eq!(script.matches("CREATE TABLE IF NOT EXISTS").count(), 7);
    }

    #[test]
    fn a_keyspace_has_its_replicas_and_avoids_tablets_where_told() {
        let east_west = parameters("east:3,west:2");
        let created = east_west.create_keyspace(true);

        assert!(created.contains("{'class': 'NetworkTopologyStrategy', 'east': 3, 'west': 2}"), "{created}");
        assert!(created.ends_with("AND tablets = {'enabled': false}"), "{created}");
        assert!(parameters("3").create_keyspace(false).ends_with("'replication_factor': 3}"));
    }

    #[test]
    fn windows_are_some_twenty_whatever_the_retention() {
        for (days, expected) in
            [(14, "'DAYS', 'compaction_window_size': 1}"), (30, "'DAYS', 'compaction_window_size': 2}")]
        {
            let options = expiry(Duration::from_secs(days * 86_400));
            assert!(options.contains(expected), "{options}");
        }
        let options = expiry(Duration::from_secs(3 * 86_400));
        assert!(options.contains("'HOURS', 'compaction_window_size': 5}"), "{options}");
        assert!(options.ends_with(&format!("default_time_to_live = {}", 4 * 86_400)), "{options}");
    }
}
