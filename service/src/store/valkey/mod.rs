//! The store in Valkey: everything in the memory of a cluster, and in append-only files on the disks of a primary and a replica
//! before it is answered.
//!
//! - [`settings`]: what can be set.
//! - `keys`: every key, its slot, and when it expires.
//! - `functions`: the steps that must be atomic, which servers do (`functions.lua`).
//! - `topology`: which primary has which slot.
//! - `node`: connections to one primary, and waiting for disks.
//! - `cluster`: who is asked, what is repeated, what errors mean.
//! - [`schema`]: which layout is there.
//! - `server`: what the servers' own settings must be.
//! - `rows`, `mailbox`, `registry`: the two traits on these.
//!
//! What operators need to know: `docs/valkey-store.md`. Why it is as it is: `docs/decisions/0017-valkey-store.md`.
//!
//! Invariants:
//! - I-20: a process starts and stays up whatever the servers do. Until it has found a schema that it can use, and servers that
//!   lose nothing, every call is [`StoreError::Unavailable`] and [`Opening`] says why.
//! - Every write has one key, and puts it where the durability says before it is answered, also where it changes nothing.
//! - Every key of messages expires, and nothing else does.

mod cluster;
mod functions;
mod keys;
mod mailbox;
mod node;
mod registry;
mod rows;
pub mod schema;
mod server;
pub mod settings;
#[cfg(test)]
mod tests;
mod topology;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::opening::{Progress, Refusal};
use super::settings::SchemaAtStart;
use super::{Opening, Store, StoreError};
use crate::causes::in_words;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::valkey::Access;
use crate::valkey::access::UnreadableFile;
use cluster::Cluster;
use mailbox::ValkeyMailbox;
use node::Terms;
use registry::ValkeyRegistry;
use schema::Unsuitable;
use server::Primary;
use settings::ValkeyStoreSettings;

/// How long the end waits for connections to close.
const CLOSING: Duration = Duration::from_secs(5);
/// How many trips fit into a call's time: so that one that a hanging server does not answer leaves time for its successor.
const TRIPS_IN_A_CALL: u32 = 3;

/// What both halves share.
struct Connection {
    open: OnceLock<()>,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retention: Duration,
}

impl Connection {
    fn cluster(&self) -> Result<&Cluster, StoreError> {
        let open = self.open.get().map(|()| &self.cluster);
        open.ok_or_else(|| StoreError::Unavailable("the store is not open yet".into()))
    }
}

/// Opens a store in the background, and keeps it connected.
pub struct Opener {
    connection: Arc<Connection>,
    settings: ValkeyStoreSettings,
    progress: Progress,
}

fn prepare(settings: &ValkeyStoreSettings, entropy: Arc<dyn Entropy>) -> Result<Cluster, UnreadableFile> {
    let (password, authority) = (settings.password.as_deref(), settings.authority.as_deref());
    let access = Access::read(settings.url.clone(), password, authority, settings.connect_timeout)?;
    let terms = Terms {
        access,
        patience: settings.timeout / TRIPS_IN_A_CALL,
        confirmed_within: settings.timeout,
        disks: settings.durability.disks(),
        writers: settings.connections.get(),
    };
    Ok(Cluster::new(terms, settings.timeout, entropy))
}

/// Makes a store that is not open yet. [`Opener::run`] opens it, and the receiver tells how far it is.
///
/// # Errors
/// [`UnreadableFile`], if a file that the settings name cannot be read.
pub fn open(
    settings: ValkeyStoreSettings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Store, Opener, watch::Receiver<Opening>), UnreadableFile> {
    let cluster = prepare(&settings, Arc::clone(&entropy))?;
    let retention = settings.retention;
    let connection = Arc::new(Connection { open: OnceLock::new(), cluster, clock, entropy, retention });
    let (progress, progressed) = Progress::new();
    let store = Store {
        registry: Arc::new(ValkeyRegistry { connection: Arc::clone(&connection) }),
        mailbox: Arc::new(ValkeyMailbox { connection: Arc::clone(&connection) }),
    };
    Ok((store, Opener { connection, settings, progress }, progressed))
}

/// Why a schema was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSchemaError {
    /// The settings cannot be used.
    #[error("the settings of the store cannot be used")]
    Settings(#[from] UnreadableFile),
    /// No server can be reached.
    #[error("no server of the store can be reached")]
    Connect(#[from] RedisError),
    /// A server did not do it.
    #[error("a server of the store did not do it")]
    Store(#[from] StoreError),
    /// There is a newer one.
    #[error("{0}")]
    Newer(String),
}

/// Makes the schema, and returns in words what was done.
///
/// # Errors
/// With the reason, for the operator.
pub async fn create_schema(
    settings: &ValkeyStoreSettings,
    entropy: Arc<dyn Entropy>,
) -> Result<Vec<String>, CreateSchemaError> {
    let cluster = prepare(settings, entropy)?;
    cluster.look().await?;
    let created = schema::create(&cluster).await;
    cluster.close().await;
    created?.map_err(|newer| CreateSchemaError::Newer(newer.to_string()))
}

/// Looks at servers and schema, and says what is well or what is wrong. Changes nothing.
pub async fn examine(settings: &ValkeyStoreSettings, entropy: Arc<dyn Entropy>) -> Vec<Result<String, String>> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        Err(format!("the store {} cannot be used: {}", settings.url, in_words(error)))
    };
    let cluster = match prepare(settings, entropy) {
        Ok(cluster) => cluster,
        Err(error) => return vec![unusable(&error)],
    };
    if let Err(error) = cluster.look().await {
        return vec![unusable(&error)];
    }
    let (is_cluster, whole) = cluster.is_cluster();
    let mut findings = vec![match (is_cluster, whole) {
        (false, _) => Ok(format!("the store {} answers: one server", settings.url)),
        (true, true) => Ok(format!("the store {} answers: a cluster that serves all slots", settings.url)),
        (true, false) => Err(format!("the store {} is a cluster that does not serve all slots", settings.url)),
    }];
    findings.push(match schema::look(&cluster).await {
        Ok(Ok(())) => Ok("the store's schema is the one that this program needs".to_owned()),
        Ok(Err(unsuitable)) => Err(unsuitable.to_string()),
        Err(error) => unusable(&error),
    });
    for address in cluster.primaries() {
        match Primary::ask(&cluster, &address).await {
            Ok(primary) => {
                findings.push(match primary.loses(settings.durability, is_cluster) {
                    None => Ok(format!("{} and keeps what it confirms: {}", primary.version(), settings.durability)),
                    Some(why) => Err(why),
                });
                findings.extend(primary.checks());
            }
            Err(error) => findings.push(unusable(&error)),
        }
    }
    cluster.close().await;
    findings
}

impl Opener {
    /// Connects and looks at servers and schema, and tries again until all is well; then keeps connected, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cluster = &self.connection.cluster;
        let work = async {
            self.progress.until_open(|| self.try_open()).await;
            // Nobody else sets it.
            let _ = self.connection.open.set(());
            tracing::info!(durability = %self.settings.durability, "the store is open");
            self.progress.opened();
            cluster.keep_looking().await;
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
        // It is the end: what does not close by then is closed with the process.
        let _ = tokio::time::timeout(CLOSING, cluster.close()).await;
    }

    async fn try_open(&self) -> Result<(), Refusal> {
        let (cluster, settings) = (&self.connection.cluster, &self.settings);
        cluster.look().await?;
        let (is_cluster, whole) = cluster.is_cluster();
        if !whole {
            return Err(Refusal::unfit("the cluster of the store does not serve all slots".to_owned()));
        }
        for address in cluster.primaries() {
            let primary = Primary::ask(cluster, &address).await?;
            if let Some(why) = primary.loses(settings.durability, is_cluster) {
                return Err(Refusal::unfit(why));
            }
            for problem in primary.checks().into_iter().filter_map(Result::err) {
                tracing::warn!(problem, "the store is used all the same");
            }
        }
        match schema::look(cluster).await? {
            Ok(()) => Ok(()),
            Err(Unsuitable::Absent | Unsuitable::Older(_)) if settings.schema == SchemaAtStart::Create => {
                for done in schema::create(cluster).await?? {
                    tracing::info!(done, "the schema was made");
                }
                Ok(())
            }
            Err(unsuitable) => Err(unsuitable.into()),
        }
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        Self::failed("the servers of the store cannot be reached", error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::failed("the store cannot be opened; the log says why", error)
    }
}

impl From<Unsuitable> for Refusal {
    fn from(unsuitable: Unsuitable) -> Self {
        Self::unfit(unsuitable.to_string())
    }
}
