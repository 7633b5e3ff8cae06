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
use settings::ScyllaSettings;
pub use statements::StatementName;

/// How long after a failed attempt to connect the next one follows.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
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
    progress: watch::Sender<Opening>,
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
    let (progress, progressed) = watch::channel(Opening::Waiting("connecting to the store".to_owned()));
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
        let opening = async {
            loop {
                match self.try_open().await {
                    Ok(live) => {
                        // Nobody else sets it.
                        let _ = self.connection.live.set(live);
                        return;
                    }
                    Err(refusal) => self.wait(refusal),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        tokio::select! {
            () = opening => {
                tracing::info!(keyspace = %self.settings.address.keyspace, "the store is open");
                self.progress.send_replace(Opening::Open);
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
        match version {
            None => return Err(Refusal::NoSchema),
            Some(version) if version < VERSION => return Err(Refusal::OldSchema(version)),
            // A newer one only has more in it.
            Some(_) => {}
        }
        if session.get_cluster_state().get_keyspace(keyspace.as_str()).is_some_and(|keyspace| keyspace.tablet_based) {
            tracing::warn!("the keyspace is in tablets: some versions of ScyllaDB refuse conditional writes there");
        }
        let prepared = Live::prepare(session, &self.settings, Arc::clone(&self.observer)).await;
        Ok(prepared.map_err(|error| SchemaError::Prepare(Box::new(error)))?)
    }

    fn wait(&self, refusal: Refusal) {
        let keyspace = &self.settings.address.keyspace;
        let (why, source) = match refusal {
            Refusal::NoSchema => {
                (format!("there is no schema in keyspace {keyspace}: run countersignd schema"), None)
            }
            Refusal::OldSchema(version) => (
                format!(
                    "the schema in keyspace {keyspace} is at version {version}, this program needs {VERSION}: run \
                     countersignd schema"
                ),
                None,
            ),
            Refusal::Failed(error @ SchemaError::Connect(_)) => {
                ("no server of the store can be reached".to_owned(), Some(error))
            }
            Refusal::Failed(error) => ("the store cannot be opened; the log says why".to_owned(), Some(error)),
        };
        let error = source.as_ref().map(|error| error as &dyn std::error::Error);
        tracing::warn!(error, why, "the store is not open yet");
        self.progress.send_replace(Opening::Waiting(why));
    }
}

/// Why the store is not open yet.
enum Refusal {
    NoSchema,
    OldSchema(i32),
    Failed(SchemaError),
}

impl From<SchemaError> for Refusal {
    fn from(error: SchemaError) -> Self {
        Self::Failed(error)
    }
}
