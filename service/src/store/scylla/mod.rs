//! The production store: a ScyllaDB cluster, or Apache Cassandra, through CQL.
//!
//! - [`settings`]: what can be set.
//! - `session`: how it connects and how long things may take; what errors mean.
//! - [`schema`]: the tables and their versions.
//! - [`statements`]: every statement on them.
//! - `rows`, `mailbox`, `registry`: the two traits on these.
//!
//! What operators need to know: `docs/scylla.md`. Why the tables are as they are: `docs/decisions/0009-cql-tables.md`.
//!
//! Invariant I-20: a process starts and stays up whatever the cluster does. Until it has connected and found a schema
//! that it can use, every call is [`StoreError::Unavailable`] and [`Opening`] says why.

mod mailbox;
mod registry;
mod rows;
pub mod schema;
mod session;
pub mod settings;
pub mod statements;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::opening::{Progress, Refusal};
use super::settings::SchemaAtStart;
use super::{Opening, Store, StoreError};
use crate::clock::Clock;
use crate::entropy::Entropy;
use mailbox::ScyllaMailbox;
use registry::ScyllaRegistry;
pub use rows::TTL_MAX_SECONDS;
use schema::{MIGRATIONS, Parameters, SchemaError, VERSION};
use session::{Connecting, Live};
pub use session::{ScyllaSettingsError, StatementObserver};
use settings::{Keyspace, ScyllaSettings};
pub use statements::StatementName;

/// How much later than the clock a message's time can be: clocks of pods differ by less.
const MAILBOX_AHEAD: Duration = Duration::from_secs(3_600);
/// Bytes of content that every server accepts in one write with its usual settings.
pub const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What both halves share.
struct Connection {
    live: OnceLock<Live>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retention: Duration,
}

impl Connection {
    fn live(&self) -> Result<&Live, StoreError> {
        self.live.get().ok_or_else(|| StoreError::Unavailable("the store is not open yet".into()))
    }
}

/// Opens a store in the background.
pub struct Opener {
    connection: Arc<Connection>,
    connecting: Connecting,
    settings: ScyllaSettings,
    observer: Arc<dyn StatementObserver>,
    progress: Progress,
}

/// Makes a store that is not open yet. [`Opener::run`] opens it, and the receiver tells how far it is.
///
/// # Errors
/// [`ScyllaSettingsError`], if a file that the settings name cannot be used.
pub fn open(
    settings: ScyllaSettings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn StatementObserver>,
) -> Result<(Store, Opener, watch::Receiver<Opening>), ScyllaSettingsError> {
    let connecting = Connecting::prepare(&settings)?;
    let connection = Arc::new(Connection { live: OnceLock::new(), clock, entropy, retention: settings.retention });
    let (progress, progressed) = Progress::new();
    let store = Store {
        registry: Arc::new(ScyllaRegistry::new(Arc::clone(&connection))),
        mailbox: Arc::new(ScyllaMailbox { connection: Arc::clone(&connection) }),
    };
    Ok((store, Opener { connection, connecting, settings, observer, progress }, progressed))
}

/// Creates or migrates the schema, and returns in words what was done.
///
/// # Errors
/// With the reason, for the operator.
pub async fn create_schema(settings: &ScyllaSettings, clock: &dyn Clock) -> Result<Vec<String>, CreateSchemaError> {
    let connecting = Connecting::prepare(settings)?;
    let session = connecting.connect().await.map_err(|error| SchemaError::Connect(Box::new(error)))?;
    Ok(schema::migrate(&session, &Parameters::of(settings), MIGRATIONS, clock).await?)
}

/// Why a schema was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSchemaError {
    /// The settings cannot be used.
    #[error("the settings of the store cannot be used")]
    Settings(#[from] ScyllaSettingsError),
    /// The cluster did not do it.
    #[error("the schema is not what it should be")]
    Schema(#[from] SchemaError),
}

impl Opener {
    /// Connects, looks at the schema, prepares all statements; and tries again until that is done, or until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            live = self.progress.until_open(|| self.try_open()) => {
                // Nobody else sets it.
                let _ = self.connection.live.set(live);
                tracing::info!(keyspace = %self.settings.address.keyspace, "the store is open");
                self.progress.opened();
            }
            () = stop.cancelled() => {}
        }
    }

    async fn try_open(&self) -> Result<Live, Refusal> {
        let session = self.connecting.connect().await.map_err(|error| SchemaError::Connect(Box::new(error)))?;
        let keyspace = &self.settings.address.keyspace;
        let mut version = schema::version(&session, keyspace).await?;
        if self.settings.schema == SchemaAtStart::Create && version.is_none_or(|version| version < VERSION) {
            let parameters = Parameters::of(&self.settings);
            for done in schema::migrate(&session, &parameters, MIGRATIONS, &*self.connection.clock).await? {
                tracing::info!(done, "the schema was changed");
            }
            version = schema::version(&session, keyspace).await?;
        }
        // A newer one only has more in it.
        if version.is_none_or(|version| version < VERSION) {
            return Err(Refusal::unfit(lacks(keyspace, version)));
        }
        if session.get_cluster_state().get_keyspace(keyspace.as_str()).is_some_and(|keyspace| keyspace.tablet_based) {
            tracing::warn!("the keyspace is in tablets: some versions of ScyllaDB refuse conditional writes there");
        }
        let prepared = Live::prepare(session, &self.settings, Arc::clone(&self.observer)).await;
        Ok(prepared.map_err(|error| SchemaError::Prepare(Box::new(error)))?)
    }
}

/// Says what is missing of a schema that is too old, or not there.
fn lacks(keyspace: &Keyspace, version: Option<i32>) -> String {
    match version {
        None => format!("there is no schema in keyspace {keyspace}: run countersignd schema"),
        Some(version) => format!(
            "the schema in keyspace {keyspace} is at version {version}, this program needs {VERSION}: run countersignd \
             schema"
        ),
    }
}

impl From<SchemaError> for Refusal {
    fn from(error: SchemaError) -> Self {
        let why = match error {
            SchemaError::Connect(_) => "no server of the store can be reached",
            _ => "the store cannot be opened; the log says why",
        };
        Self::failed(why, error)
    }
}
