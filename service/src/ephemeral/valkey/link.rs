//! The connections to Valkey: to one server, or to every node of a cluster.
//!
//! Owns: what is connected, and when to connect anew. Refuses to know: what is sent.
//!
//! One layer repeats, and it is the client library, within the response time and only a few times: it follows a slot
//! that has moved, and repeats what a broken connection left unanswered. So every call must bear a repeat. Nothing is
//! repeated here; beyond the response time the caller is told, and its client comes back.
//!
//! The library does not see a node that hangs: its connection stays open, and answers nothing. So a call that found no
//! answer in time makes this link connect anew, from the configured hosts on, with the cluster as it is then. Until the
//! new connections stand, the old ones serve.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo, Slot, SlotAddr,
};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, RedisError, TlsMode, Value};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ValkeySettings;
use super::keys::Key;
use crate::clock::Stopwatch;

/// How often the client library follows a redirection or repeats what a broken connection left unanswered, within the
/// response time, and how long it pauses in between, in milliseconds.
const REPEATS: u32 = 4;
const PAUSE_MIN: u64 = 10;
const PAUSE_MAX: u64 = 100;
/// How long this link pauses between one attempt to connect and the next: twice as long each time that it did not help, so
/// that a Valkey that is merely slow is not kept busy with new connections.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(500);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Told of each command that was sent to Valkey, or could not be.
pub trait CommandObserver: Send + Sync {
    /// A command was answered, or given up, after some time.
    fn ended(&self, _succeeded: bool, _duration: Duration) {}
}

/// Nobody who listens.
pub(super) struct Unobserved;

impl CommandObserver for Unobserved {}

/// What comes without being asked for.
pub(super) trait Pushes: Send + Sync + 'static {
    /// The server pushed something, or the library noticed a lost connection.
    fn pushed(&self, push: &PushInfo);
    /// All connections are new, and nothing is subscribed to.
    fn connected(&self);
}

/// The connections, replaced when they no longer serve.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    settings: ValkeySettings,
    pushes: Arc<dyn Pushes>,
    observer: Arc<dyn CommandObserver>,
    current: RwLock<Option<Connection>>,
    /// Counts connections, so that what an old one did is not held against the new one.
    generation: AtomicU64,
    broken: Notify,
}

/// A command on its way.
#[derive(Clone, Copy)]
struct Sending {
    /// Of the connection that it was sent on.
    generation: u64,
    stopwatch: Stopwatch,
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

// === impl Connection ===

impl Connection {
    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }

    /// Tells whether after such an error only new connections help.
    fn is_broken_by(&self, error: &RedisError) -> bool {
        match self {
            Self::Single(_) => error.is_io_error(),
            Self::Cluster(_) => error.is_timeout() || error.kind() == ErrorKind::ClusterConnectionNotFound,
        }
    }
}

// === impl Link ===

impl Link {
    /// Makes a link that is not connected: [`Self::keep_connected`] does that.
    pub(super) fn new(settings: ValkeySettings, pushes: Arc<dyn Pushes>, observer: Arc<dyn CommandObserver>) -> Self {
        Self(Arc::new(Shared {
            settings,
            pushes,
            observer,
            current: RwLock::new(None),
            generation: AtomicU64::new(0),
            broken: Notify::new(),
        }))
    }

    /// Connects once, and returns why it cannot.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        let generation = self.0.generation.load(Ordering::Acquire) + 1;
        let connection = self.new_connection(generation).await?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        self.0.generation.store(generation, Ordering::Release);
        self.0.pushes.connected();
        Ok(())
    }

    /// Connects whenever that is needed, until it is told to stop.
    pub(super) async fn keep_connected(self, stop: CancellationToken) {
        let mut failing = false;
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            let served = Stopwatch::start();
            tokio::select! {
                () = self.0.broken.notified() => {}
                () = stop.cancelled() => return,
            }
            let helped = served.elapsed() > RECONNECT_PAUSE_MAX;
            pause = if helped { RECONNECT_PAUSE_MIN } else { (pause * 2).min(RECONNECT_PAUSE_MAX) };
            match self.connect().await {
                Ok(()) => {
                    tracing::info!("connected to Valkey anew");
                    failing = false;
                }
                Err(error) => {
                    // Once for each time that it goes away.
                    if !failing {
                        tracing::warn!(error = &error as &dyn std::error::Error, "Valkey cannot be reached");
                    }
                    failing = true;
                    self.0.broken.notify_one();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Has the connections replaced.
    pub(super) fn reconnect(&self) {
        self.0.broken.notify_one();
    }

    /// Sends a command to the primary that has its key.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let (mut connection, sending) = self.begin()?;
        let outcome = connection.send(command).await;
        self.look_at(&connection, sending, &outcome);
        outcome
    }

    /// Sends a command to the primary that has a key, whatever is in the command.
    pub(super) async fn send_to_primary_of(&self, key: Option<&Key>, command: &Cmd) -> Result<Value, RedisError> {
        let (mut connection, sending) = self.begin()?;
        let outcome = match (&mut connection, key) {
            (Connection::Cluster(cluster), Some(key)) => {
                let route = Route::with_slot(Slot::for_key(key.to_string()), SlotAddr::Master);
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                cluster.route_command(command.clone(), routing).await.and_then(Value::extract_error)
            }
            (connection, _) => connection.send(command).await,
        };
        self.look_at(&connection, sending, &outcome);
        outcome
    }

    /// Sends a command to all primaries.
    pub(super) async fn send_to_primaries(&self, command: &Cmd) -> Result<Value, RedisError> {
        let (mut connection, sending) = self.begin()?;
        let outcome = match &mut connection {
            Connection::Cluster(cluster) => {
                let all = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
                cluster.route_command(command.clone(), RoutingInfo::MultiNode(all)).await
            }
            single @ Connection::Single(_) => single.send(command).await,
        };
        self.look_at(&connection, sending, &outcome);
        outcome
    }

    /// Sends a command to a node of a cluster, by its address; a single server is its only node.
    pub(super) async fn send_to_node(&self, host: &str, port: u16, command: &Cmd) -> Result<Value, RedisError> {
        let (mut connection, sending) = self.begin()?;
        let outcome = match &mut connection {
            Connection::Cluster(cluster) => {
                let address = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
                let routing = RoutingInfo::SingleNode(address);
                cluster.route_command(command.clone(), routing).await.and_then(Value::extract_error)
            }
            single @ Connection::Single(_) => single.send(command).await,
        };
        self.look_at(&connection, sending, &outcome);
        outcome
    }

    /// Subscribes to a sharded channel, or ends that.
    pub(super) async fn subscribe(&self, channel: &str, on: bool) -> Result<(), RedisError> {
        let (mut connection, sending) = self.begin()?;
        let outcome = match (&mut connection, on) {
            (Connection::Cluster(cluster), true) => cluster.ssubscribe(channel).await,
            (Connection::Cluster(cluster), false) => cluster.sunsubscribe(channel).await,
            (single @ Connection::Single(_), on) => {
                let mut command = Cmd::new();
                command.arg(if on { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" }).arg(channel);
                single.send(&command).await.map(drop)
            }
        };
        self.look_at(&connection, sending, &outcome);
        outcome
    }

    /// Tells whether the link is to a cluster; none if it is not connected.
    pub(super) fn is_cluster(&self) -> Option<bool> {
        self.current().ok().map(|(connection, _)| matches!(connection, Connection::Cluster(_)))
    }

    /// Begins to send a command.
    fn begin(&self) -> Result<(Connection, Sending), RedisError> {
        let stopwatch = Stopwatch::start();
        let (connection, generation) =
            self.current().inspect_err(|_| self.0.observer.ended(false, stopwatch.elapsed()))?;
        Ok((connection, Sending { generation, stopwatch }))
    }

    fn current(&self) -> Result<(Connection, u64), RedisError> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(connection) = current else {
            self.reconnect();
            return Err((ErrorKind::Io, "Valkey has not been reached yet").into());
        };
        Ok((connection, self.0.generation.load(Ordering::Acquire)))
    }

    fn look_at<T>(&self, connection: &Connection, sending: Sending, outcome: &Result<T, RedisError>) {
        let Sending { generation, stopwatch } = sending;
        self.0.observer.ended(outcome.is_ok(), stopwatch.elapsed());
        if let Err(error) = outcome
            && connection.is_broken_by(error)
            && generation == self.0.generation.load(Ordering::Acquire)
        {
            self.reconnect();
        }
    }

    async fn new_connection(&self, generation: u64) -> Result<Connection, RedisError> {
        let settings = &self.0.settings;
        let deadline = settings.access.connect_timeout * 2 + settings.response_timeout * 2;
        let connecting = async {
            if self.answers_as_cluster().await? {
                Ok(Connection::Cluster(self.connect_to_cluster().await?))
            } else if let [(host, port)] = &*settings.access.url.nodes {
                Ok(Connection::Single(self.connect_to_server(host, *port, Some(generation)).await?))
            } else {
                let text = "several hosts are given, which names a cluster, but they are single servers";
                Err((ErrorKind::InvalidClientConfig, text).into())
            }
        };
        let expired = || RedisError::from((ErrorKind::Io, "Valkey was not connected to in time"));
        tokio::time::timeout(deadline, connecting).await.map_err(|_| expired())?
    }

    /// Asks the first host that answers whether it is of a cluster.
    async fn answers_as_cluster(&self) -> Result<bool, RedisError> {
        let nodes = &self.0.settings.access.url.nodes;
        let asked = nodes.iter().map(|(host, port)| {
            Box::pin(async move {
                let mut connection = self.connect_to_server(host, *port, None).await?;
                let mut info = Cmd::new();
                info.arg("INFO").arg("cluster");
                let text: String = info.query_async(&mut connection).await?;
                Ok(text.contains("cluster_enabled:1"))
            })
        });
        futures_util::future::select_ok(asked).await.map(|(answer, _)| answer)
    }

    async fn connect_to_server(
        &self,
        host: &str,
        port: u16,
        generation: Option<u64>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let settings = &self.0.settings;
        let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(settings.response_timeout));
        if let Some(generation) = generation {
            let link = Arc::downgrade(&self.0);
            config = config.set_push_sender(move |push: PushInfo| {
                let Some(shared) = link.upgrade() else { return Err(redis::aio::SendError) };
                shared.pushes.pushed(&push);
                // The library connects a lost node of a cluster by itself, but not a single server.
                let is_current = generation == shared.generation.load(Ordering::Acquire);
                if push.kind == redis::PushKind::Disconnection && is_current {
                    shared.broken.notify_one();
                }
                Ok(())
            });
        }
        settings.access.connect(host, port, config).await
    }

    async fn connect_to_cluster(&self) -> Result<ClusterConnection, RedisError> {
        let settings = &self.0.settings;
        let nodes = settings.access.url.nodes.iter().map(|(host, port)| settings.access.connection_info(host, *port));
        let pushes = Arc::clone(&self.0.pushes);
        let mut builder = ClusterClientBuilder::new(nodes.collect::<Result<Vec<_>, _>>()?)
            .connection_timeout(settings.access.connect_timeout)
            .response_timeout(settings.response_timeout)
            .overall_response_timeout(Some(settings.response_timeout))
            .retries(REPEATS)
            .min_retry_wait(PAUSE_MIN)
            .max_retry_wait(PAUSE_MAX)
            .use_protocol(ProtocolVersion::RESP3)
            .push_sender(move |push: PushInfo| {
                pushes.pushed(&push);
                Ok::<(), redis::aio::SendError>(())
            });
        if let Some(user) = &settings.access.url.user {
            builder = builder.username(user);
        }
        if let Some(password) = &settings.access.password {
            builder = builder.password(password.as_str());
        }
        if let Some(certificates) = settings.access.certificates() {
            builder = builder.tls(TlsMode::Secure).certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }
}
