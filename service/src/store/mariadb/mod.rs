//! The baseline store: one MariaDB server. What other stores are measured against, and correct as they are.
//!
//! - [`settings`]: what can be set.
//! - `session`: how it connects, how long things may take, what is repeated; what errors mean.
//! - `server`: what the server's own settings must be.
//! - [`schema`]: the tables, their indices and their versions.
//! - `statements`: every statement on them.
//! - `rows`, `mailbox`, `registry`: the two traits on these.
//! - `retention`: how expired rows are deleted.
//!
//! What operators need to know: `docs/mariadb.md`. Why it is as it is: `docs/decisions/0016-mariadb.md`.
//!
//! Invariant I-20: a process starts and stays up whatever the server does. Until it has connected, found a schema that
//! it can use, and a server that loses nothing, every call is [`StoreError::Unavailable`] and [`Opening`] says why.

mod mailbox;
mod registry;
mod retention;
mod rows;
pub mod schema;
mod server;
mod session;
pub mod settings;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::opening::{Progress, Refusal};
use super::settings::SchemaAtStart;
use super::{KEPT_LONGER, Opening, Store, StoreError};
use crate::causes::in_words;
use crate::clock::Clock;
use crate::entropy::Entropy;
use mailbox::MariadbMailbox;
use registry::MariadbRegistry;
use schema::{MIGRATIONS, SchemaError, VERSION};
use server::Server;
pub use session::MariadbSettingsError;
use session::{Connecting, Live};
use settings::{Indices, MariadbSettings};

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

    /// Returns the first id that has not expired, if there is one with these bytes.
    fn oldest(&self) -> [u8; 16] {
        rows::first_of(self.clock.now_millis().minus(self.retention).minus(KEPT_LONGER))
    }
}

/// Opens a store in the background, and deletes what expires.
pub struct Opener {
    connection: Arc<Connection>,
    connecting: Connecting,
    settings: MariadbSettings,
    progress: Progress,
}

/// Makes a store that is not open yet. [`Opener::run`] opens it, and the receiver tells how far it is.
///
/// # Errors
/// [`MariadbSettingsError`], if a file that the settings name cannot be used.
pub fn open(
    settings: MariadbSettings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Store, Opener, watch::Receiver<Opening>), MariadbSettingsError> {
    let connecting = Connecting::prepare(&settings)?;
    let connection = Arc::new(Connection { live: OnceLock::new(), clock, entropy, retention: settings.retention });
    let (progress, progressed) = Progress::new();
    let store = Store {
        registry: Arc::new(MariadbRegistry { connection: Arc::clone(&connection) }),
        mailbox: Arc::new(MariadbMailbox { connection: Arc::clone(&connection) }),
    };
    Ok((store, Opener { connection, connecting, settings, progress }, progressed))
}

/// Creates or migrates the schema, makes or drops the indices as the address says, and returns in words what was done.
///
/// # Errors
/// With the reason, for the operator.
pub async fn create_schema(settings: &MariadbSettings, clock: &dyn Clock) -> Result<Vec<String>, CreateSchemaError> {
    let connecting = Connecting::prepare(settings)?;
    let mut connection = connecting.connect().await.map_err(SchemaError::Connect)?;
    let address = &settings.address;
    Ok(schema::migrate(&mut connection, &address.database, address.indices, MIGRATIONS, clock).await?)
}

/// Why a schema was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSchemaError {
    /// The settings cannot be used.
    #[error("the settings of the store cannot be used")]
    Settings(#[from] MariadbSettingsError),
    /// The server did not do it.
    #[error("the schema is not what it should be")]
    Schema(#[from] SchemaError),
}

/// Looks at server and schema, and says what is well or what is wrong. Changes nothing.
pub async fn examine(settings: &MariadbSettings) -> Vec<Result<String, String>> {
    let address = &settings.address;
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        vec![Err(format!("the store mariadb://{address} cannot be used: {}", in_words(error)))]
    };
    let connecting = match Connecting::prepare(settings) {
        Ok(connecting) => connecting,
        Err(error) => return unusable(&error),
    };
    let asked = async {
        let mut connection = connecting.connect().await?;
        Ok::<_, StoreError>((Server::ask(&mut connection).await?, connection))
    };
    let (server, mut connection) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return unusable(&error),
    };
    let mut findings = vec![Ok(format!("the store mariadb://{address} answers: MariaDB {}", server.version()))];
    findings.push(match schema::version(&mut connection, &address.database).await {
        Ok(Some(version)) if version >= VERSION => Ok("the store's schema is new enough".to_owned()),
        Ok(version) => Err(lacks(settings, version)),
        Err(error) => return unusable(&error),
    });
    findings.push(match schema::indices(&mut connection, &address.database).await {
        Ok(there) => indices_in_words(settings, there),
        Err(error) => return unusable(&error),
    });
    findings.push(match server.loses() {
        None => Ok("the server has on disk what it confirms".to_owned()),
        Some(why) => Err(why),
    });
    findings.extend(server.checks(settings));
    findings
}

fn indices_in_words(settings: &MariadbSettings, there: Option<Indices>) -> Result<String, String> {
    let found = match there {
        Some(Indices::Kept) => "has its indices",
        Some(Indices::Left) => "has no indices",
        None => "has some of its indices",
    };
    if there == Some(settings.address.indices) {
        Ok(format!("the store {found}, as its address says"))
    } else {
        Err(format!("the store {found}, and its address says otherwise: run countersignd schema"))
    }
}

/// Says what is missing of a schema that is too old, or not there.
fn lacks(settings: &MariadbSettings, version: Option<i32>) -> String {
    let database = &settings.address.database;
    match version {
        None => format!("there is no schema in database {database}: run countersignd schema"),
        Some(version) => format!(
            "the schema in database {database} is at version {version}, this program needs {VERSION}: run countersignd \
             schema"
        ),
    }
}

impl Opener {
    /// Connects and looks at server and schema, and tries again until all is well; then deletes what has expired, now and
    /// then; until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let live = self.progress.until_open(|| self.try_open()).await;
            // Nobody else sets it.
            let _ = self.connection.live.set(live);
            tracing::info!(database = %self.settings.address.database, "the store is open");
            self.progress.opened();
            loop {
                self.see_indices().await;
                self.sweep().await;
                tokio::time::sleep(retention::SWEEP_INTERVAL).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
        if let Some(live) = self.connection.live.get() {
            live.close().await;
        }
    }

    async fn try_open(&self) -> Result<Live, Refusal> {
        let database = &self.settings.address.database;
        let mut connection = self.connecting.connect().await.map_err(SchemaError::Connect)?;
        let server = Server::ask(&mut connection).await.map_err(SchemaError::Connect)?;
        if let Some(why) = server.loses() {
            return Err(Refusal::unfit(why));
        }
        let mut version = schema::version(&mut connection, database).await?;
        if self.settings.schema == SchemaAtStart::Create && version.is_none_or(|version| version < VERSION) {
            let (wanted, clock) = (self.settings.address.indices, &*self.connection.clock);
            for done in schema::migrate(&mut connection, database, wanted, MIGRATIONS, clock).await? {
                tracing::info!(done, "the schema was changed");
            }
            version = schema::version(&mut connection, database).await?;
        }
        // A newer one only has more in it.
        if version.is_none_or(|version| version < VERSION) {
            return Err(Refusal::unfit(lacks(&self.settings, version)));
        }
        let indices = schema::indices(&mut connection, database).await?;
        let in_words = indices_in_words(&self.settings, indices);
        for problem in server.checks(&self.settings).into_iter().chain([in_words]).filter_map(Result::err) {
            tracing::warn!(problem, "the store is used all the same");
        }
        let pool = self.connecting.pool(database.as_str());
        let live = Live::new(pool, &self.settings, Arc::clone(&self.connection.entropy));
        live.see_indices(indices == Some(Indices::Kept));
        Ok(live)
    }

    /// Looks whether the indices are there: somebody may have made them again.
    async fn see_indices(&self) {
        let look = async {
            let mut connection = self.connecting.connect().await.map_err(SchemaError::Connect)?;
            let there = schema::indices(&mut connection, &self.settings.address.database).await;
            let _ = connection.disconnect().await;
            there
        };
        match (look.await, self.connection.live.get()) {
            (Ok(there), Some(live)) => live.see_indices(there == Some(Indices::Kept)),
            // Statements go on as they were.
            (Err(error), _) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "it cannot be seen whether the store has its indices"
                );
            }
            (Ok(_), None) => {}
        }
    }

    async fn sweep(&self) {
        let database = &self.settings.address.database;
        let sweep = async {
            let mut connection = self.connecting.connect_to(database.as_str()).await?;
            let swept = retention::sweep(&mut connection, database, self.connection.oldest()).await;
            // It would be closed in any case; this tells the server why.
            let _ = connection.disconnect().await;
            swept
        };
        match sweep.await {
            Ok(None) => tracing::debug!("another pod deletes what has expired"),
            Ok(Some(deleted)) => {
                for (table, rows) in deleted.into_iter().filter(|(_, rows)| *rows > 0) {
                    tracing::info!(table, rows, "expired rows were deleted");
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expired rows cannot be deleted");
            }
        }
    }
}

impl From<SchemaError> for Refusal {
    fn from(error: SchemaError) -> Self {
        let why = match error {
            SchemaError::Connect(_) => "the server of the store cannot be reached",
            _ => "the store cannot be opened; the log says why",
        };
        Self::failed(why, error)
    }
}
