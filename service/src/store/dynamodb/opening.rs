//! How a store opens: in the background, again and again, until there are credentials and a schema.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::mailbox::DynamodbMailbox;
use super::registry::DynamodbRegistry;
use super::schema::{self, SchemaError, TableNames, VERSION};
use super::session::{Connecting, Session};
use super::settings::{DynamodbAddress, DynamodbSettings};
use crate::clock::Clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::store::opening::{Progress, Refusal};
use crate::store::settings::SchemaAtStart;
use crate::store::{Opening, Store, StoreError};

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
    progress: Progress,
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
    let (progress, progressed) = Progress::new();
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
        tokio::select! {
            session = self.progress.until_open(|| self.try_open()) => {
                // Nobody else sets it.
                let _ = self.connection.session.set(session);
                tracing::info!(tables = %self.connection.settings.address, "the store is open");
                self.progress.opened();
            }
            () = stop.cancelled() => {}
        }
    }

    pub(super) async fn try_open(&self) -> Result<Session, Refusal> {
        let Connection { settings, clock, entropy, .. } = &*self.connection;
        let connecting = Connecting::prepare(settings).await;
        let credentials = connecting.credentials().await;
        credentials.map_err(|error| Refusal::failed("no AWS credentials can be used; the log says why", error))?;
        let session = Session::new(connecting.client(), settings, Arc::clone(entropy));
        let region = &settings.address.region;
        let failed = |error: SchemaError| {
            Refusal::failed(format!("DynamoDB in {region} cannot be used; the log says why"), error)
        };
        let mut version = schema::version(&session, &settings.address).await.map_err(failed)?;
        if settings.schema == SchemaAtStart::Create && version.is_none_or(|version| version < VERSION) {
            for done in schema::migrate(&session, &settings.address, &**clock).await.map_err(failed)? {
                tracing::info!(done, "the schema was changed");
            }
            version = schema::version(&session, &settings.address).await.map_err(failed)?;
        }
        // A newer one only has more in it.
        if version.is_none_or(|version| version < VERSION) {
            return Err(Refusal::unfit(lacks(&settings.address, version)));
        }
        Ok(session)
    }
}
