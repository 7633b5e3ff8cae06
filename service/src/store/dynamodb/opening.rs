//! How a store opens: in the background, again and again, until there are credentials and a schema.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::mailbox::DynamodbMailbox;
use super::registry::DynamodbRegistry;
use super::schema::{self, SchemaError, TableNames, VERSION};
use super::session::{Connecting, Session};
use super::settings::{DynamodbAddress, DynamodbSettings};
use crate::clock::Clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::store::settings::SchemaAtStart;
use crate::store::{Opening, Store, StoreError};

/// How long after a failed attempt to open the next one follows.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// What both halves share.
pub(super) struct Connection {
    pub(super) session: OnceLock<Session>,
    pub(super) settings: DynamodbSettings,
    pub(super) tables: TableNames,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Connection {
    /// Returns the client, once the store is open.
    pub(super) fn session(&self) -> Result<&Session, StoreError> {
        self.session.get().ok_or_else(|| StoreError::Unavailable("the store is not open yet".into()))
    }
}

/// Opens a store in the background.
pub struct Opener {
    pub(super) connection: Arc<Connection>,
    progress: watch::Sender<Opening>,
}

/// Makes a store that is not open yet. [`Opener::run`] opens it, and the receiver tells how far it is.
#[must_use]
pub fn open(
    settings: DynamodbSettings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> (Store, Opener, watch::Receiver<Opening>) {
    let tables = TableNames::of(&settings.address);
    let connection = Arc::new(Connection { session: OnceLock::new(), settings, tables, clock, entropy });
    let (progress, progressed) = watch::channel(Opening::Waiting("connecting to the store".to_owned()));
    let store = Store {
        registry: Arc::new(DynamodbRegistry::new(Arc::clone(&connection))),
        mailbox: Arc::new(DynamodbMailbox { connection: Arc::clone(&connection) }),
    };
    (store, Opener { connection, progress }, progressed)
}

/// Makes the tables that are missing, and returns in words what was done.
///
/// # Errors
/// With the reason, for the operator.
pub async fn create_schema(settings: &DynamodbSettings, clock: &dyn Clock) -> Result<Vec<String>, CreateSchemaError> {
    let connecting = Connecting::prepare(settings).await;
    connecting.credentials().await.map_err(CreateSchemaError::Credentials)?;
    let session = Session::new(connecting.client(), settings, Arc::new(SystemEntropy));
    Ok(schema::migrate(&session, &settings.address, clock).await?)
}

/// Why a schema was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSchemaError {
    /// There are no credentials.
    #[error("there are no AWS credentials that can be used")]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// DynamoDB did not do it.
    #[error("the schema is not what it should be")]
    Schema(#[from] SchemaError),
}

/// Says what is missing of a schema that is too old, or not there.
pub(super) fn lacks(address: &DynamodbAddress, version: Option<u64>) -> String {
    let DynamodbAddress { region, prefix } = address;
    match version {
        None => format!("there are no tables {prefix}_… in region {region}: run countersignd schema"),
        Some(version) => format!(
            "the tables {prefix}_… in region {region} are at version {version}, this program needs {VERSION}: run \
             countersignd schema"
        ),
    }
}

impl Opener {
    /// Looks for credentials and for the schema, and tries again until all is well or `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                match self.try_open().await {
                    Ok(session) => {
                        // Nobody else sets it.
                        let _ = self.connection.session.set(session);
                        break;
                    }
                    Err(refusal) => self.wait(refusal),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            tracing::info!(tables = %self.connection.settings.address, "the store is open");
            self.progress.send_replace(Opening::Open);
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    pub(super) async fn try_open(&self) -> Result<Session, Refusal> {
        let Connection { settings, clock, entropy, .. } = &*self.connection;
        let connecting = Connecting::prepare(settings).await;
        connecting.credentials().await.map_err(Refusal::Credentials)?;
        let session = Session::new(connecting.client(), settings, Arc::clone(entropy));
        let mut version = schema::version(&session, &settings.address).await?;
        if settings.schema == SchemaAtStart::Create && version.is_none_or(|version| version < VERSION) {
            for done in schema::migrate(&session, &settings.address, &**clock).await? {
                tracing::info!(done, "the schema was changed");
            }
            version = schema::version(&session, &settings.address).await?;
        }
        // A newer one only has more in it.
        if version.is_none_or(|version| version < VERSION) {
            return Err(Refusal::Lacks(lacks(&settings.address, version)));
        }
        Ok(session)
    }

    fn wait(&self, refusal: Refusal) {
        let (why, error): (String, Option<Box<dyn std::error::Error>>) = match refusal {
            Refusal::Lacks(why) => (why, None),
            Refusal::Credentials(error) => {
                ("no AWS credentials can be used; the log says why".to_owned(), Some(error))
            }
            Refusal::Failed(error) => {
                let region = &self.connection.settings.address.region;
                (format!("DynamoDB in {region} cannot be used; the log says why"), Some(Box::new(error)))
            }
        };
        tracing::warn!(error = error.as_deref(), why, "the store is not open yet");
        self.progress.send_replace(Opening::Waiting(why));
    }
}

/// Why the store is not open yet.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The schema is missing, or too old.
    Lacks(String),
    /// There are no credentials.
    Credentials(Box<dyn std::error::Error + Send + Sync>),
    /// DynamoDB did not answer, or refused.
    Failed(SchemaError),
}

impl From<SchemaError> for Refusal {
    fn from(error: SchemaError) -> Self {
        Self::Failed(error)
    }
}
