//! A cluster, or one server: who is asked, and what is repeated within a call's time.
//!
//! Every command can be repeated: it changes nothing the second time. So a call goes on until a primary has answered, the time
//! is over, or the answer would be the same for good. It follows redirections itself; after any other trouble all known
//! servers are asked how the cluster is, once for all calls.
//!
//! Only primaries are asked. Each has connections of its own, so one that hangs holds up nobody but its users.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::ConnectionLike as _;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue as _, RedisError, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::functions::LIBRARY;
use super::keys::Key;
use super::node::{Failure, Node, Outcome, Terms};
use super::topology::{Address, Topology, redirected, weight};
use crate::deadline::Deadline;
use crate::entropy::{Entropy, fraction};
use crate::store::StoreError;
use crate::valkey::info::field;
use crate::valkey::library::{is_loaded_already, is_unknown_function};

/// The pause before a command is sent again, in which a cluster may come to itself: it doubles, up to the longest.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(250);
/// How long the servers have to say how the cluster is, once one has said so; and how often they are asked at most.
const OTHERS: Duration = Duration::from_millis(250);
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// How to reach the servers, and who has what.
pub(super) struct Cluster {
    terms: Terms,
    timeout: Duration,
    state: RwLock<State>,
    trouble: Notify,
    tasks: TaskTracker,
    entropy: Arc<dyn Entropy>,
}

#[derive(Default)]
struct State {
    topology: Option<Topology>,
    nodes: BTreeMap<Address, Arc<Node>>,
    is_cluster: bool,
}

/// An answer to a write.
pub(super) struct Written {
    /// The answer.
    pub(super) value: Value,
    /// An earlier attempt may have done it already.
    pub(super) perhaps_before: bool,
}

/// Whether a command writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

/// What to do after a command failed.
enum Next {
    /// Nothing: it would fail again.
    GiveUp(StoreError),
    /// Send it to who has the slot.
    Follow,
    /// Ask another one, this once.
    Ask(Address),
    /// Load the functions first.
    Load,
    /// Pause, and perhaps look who has what.
    Pause { look: bool },
}

/// What a server says of the cluster.
struct View {
    topology: Topology,
    weight: (bool, u64),
    is_cluster: bool,
}

impl Cluster {
    pub(super) fn new(terms: Terms, timeout: Duration, entropy: Arc<dyn Entropy>) -> Self {
        let (state, trouble, tasks) = (RwLock::default(), Notify::new(), TaskTracker::new());
        Self { terms, timeout, state, trouble, tasks, entropy }
    }

    /// Looks who has what.
    pub(super) async fn look(&self) -> Result<(), RedisError> {
        let view = self.ask_all().await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let kept: BTreeSet<&Address> = view.topology.primaries().into_iter().collect();
        state.nodes.retain(|address, _| kept.contains(address));
        state.is_cluster = view.is_cluster;
        state.topology = Some(view.topology);
        Ok(())
    }

    /// Looks again whenever a command had trouble. Never ends.
    pub(super) async fn keep_looking(&self) {
        let mut failing = false;
        loop {
            self.trouble.notified().await;
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) => {
                    // Once for each time that it goes away.
                    if !failing {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the store's servers cannot be reached"
                        );
                    }
                    failing = true;
                }
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        std::mem::take(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns all primaries.
    pub(super) fn primaries(&self) -> Vec<Address> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.topology.iter().flat_map(Topology::primaries).cloned().collect()
    }

    /// Tells whether it is a cluster, and whether all slots are served.
    pub(super) fn is_cluster(&self) -> (bool, bool) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.is_cluster, state.topology.as_ref().is_some_and(Topology::is_whole))
    }

    /// Does a command that writes one key, and answers when it is where it must be.
    pub(super) async fn write(&self, key: &Key, command: &Cmd) -> Result<Written, StoreError> {
        self.within(Access::Write, key, command, false).await?.ok_or(StoreError::Timeout)
    }

    /// Does a command that reads one key.
    pub(super) async fn read(&self, key: &Key, command: &Cmd) -> Result<Value, StoreError> {
        let read = self.within(Access::Read, key, command, false).await?;
        read.map(|read| read.value).ok_or(StoreError::Timeout)
    }

    /// Does a command that reads several keys of one slot. None while that slot moves from one primary to another: then no
    /// server has all of them.
    pub(super) async fn read_several(&self, key: &Key, command: &Cmd) -> Result<Option<Value>, StoreError> {
        Ok(self.within(Access::Read, key, command, true).await?.map(|read| read.value))
    }

    /// Loads the functions into all primaries.
    pub(super) async fn load_functions(&self) -> Result<(), StoreError> {
        for address in self.primaries() {
            let node = self.node_at(&address);
            let loading = async { loaded(node.write(LIBRARY.loading(), false).await) };
            let bounded = Deadline::current().bound(self.timeout, loading).await;
            bounded.unwrap_or(Err(Failure::Closed)).map_err(|failure| StoreError::Unavailable(failure.into()))?;
        }
        Ok(())
    }

    /// Asks one server, on a connection of its own.
    pub(super) async fn ask(&self, address: &Address, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connect(address).await?;
        connection.req_packed_command(command).await.and_then(Value::extract_error)
    }

    async fn within(
        &self,
        access: Access,
        key: &Key,
        command: &Cmd,
        several: bool,
    ) -> Result<Option<Written>, StoreError> {
        let mut last = None;
        let key = key.name();
        // Boxed: a call of the store is made of several, and this one has much in it.
        let work = Box::pin(self.until_done(access, &key, command, several, &mut last));
        match Deadline::current().bound(self.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(last.map_or(StoreError::Timeout, |failure| StoreError::Unavailable(failure.into()))),
        }
    }

    async fn until_done(
        &self,
        access: Access,
        key: &str,
        command: &Cmd,
        several: bool,
        last: &mut Option<Failure>,
    ) -> Result<Option<Written>, StoreError> {
        let (mut perhaps_before, mut ask, mut pause) = (false, None, PAUSE);
        loop {
            let asking = ask.is_some();
            let node = ask.take().map_or_else(|| self.node_of(key), |address| Some(self.node_at(&address)));
            let outcome = match &node {
                None => Err(Failure::Closed),
                Some(node) if access == Access::Write => node.write(command.clone(), asking).await,
                Some(node) => node.read(command.clone(), asking).await,
            };
            let failure = match outcome {
                Ok(value) => return Ok(Some(Written { value, perhaps_before })),
                Err(failure) => failure,
            };
            perhaps_before |= !matches!(failure, Failure::Unreached(_) | Failure::Refused(_));
            if several && is_split(&failure) {
                return Ok(None);
            }
            match self.after(failure, node.as_deref(), last) {
                Next::GiveUp(error) => return Err(error),
                Next::Follow => {}
                Next::Ask(address) => ask = Some(address),
                Next::Load => {
                    if let Some(node) = &node {
                        tracing::info!(
                            version = LIBRARY.version,
                            "the functions are loaded into a server of the store"
                        );
                        if let Err(failure) = loaded(node.write(LIBRARY.loading(), false).await) {
                            *last = Some(failure);
                        }
                    }
                }
                Next::Pause { look } => {
                    if look {
                        self.trouble.notify_one();
                    }
                    // Of a random length, so that not all come back at once.
                    tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fraction(&*self.entropy))).await;
                    pause = (pause * 2).min(PAUSE_LONGEST);
                }
            }
        }
    }

    /// Decides what a failure asks for, and remembers it as the last one.
    fn after(&self, failure: Failure, node: Option<&Node>, last: &mut Option<Failure>) -> Next {
        let Failure::Refused(error) = &failure else {
            *last = Some(failure);
            return Next::Pause { look: true };
        };
        let next = match (error.kind(), error.code()) {
            (ErrorKind::Server(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)), _) => {
                let target = node.and_then(|node| redirected(error, node.address()));
                match (kind, target) {
                    (ServerErrorKind::Ask, Some((_, address))) => Next::Ask(address),
                    (_, Some((slot, address))) => self.moved(slot, address, last.is_some()),
                    (_, None) => Next::Pause { look: true },
                }
            }
            (ErrorKind::Server(ServerErrorKind::TryAgain), _) => Next::Pause { look: false },
            (
                ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly,
                ),
                _,
            )
            // Too few replicas just now; or what waited was ended, since the server has become a replica.
            | (_, Some("NOREPLICAS" | "UNBLOCKED")) => Next::Pause { look: true },
            (_, Some("OOM")) => return Next::GiveUp(StoreError::Full),
            _ if is_unknown_function(error) => Next::Load,
            _ => return Next::GiveUp(StoreError::Unavailable(failure.into())),
        };
        *last = Some(failure);
        next
    }

    /// Learns of a slot that has moved. Two servers that point at each other are asked slowly.
    fn moved(&self, slot: u16, to: Address, again: bool) -> Next {
        self.trouble.notify_one();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topology) = &mut state.topology {
            topology.moved(slot, to);
        }
        if again { Next::Pause { look: true } } else { Next::Follow }
    }

    fn node_of(&self, key: &str) -> Option<Arc<Node>> {
        let address = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let address = state.topology.as_ref()?.primary_of(key)?;
            if let Some(node) = state.nodes.get(address) {
                return Some(Arc::clone(node));
            }
            address.clone()
        };
        Some(self.node_at(&address))
    }

    fn node_at(&self, address: &Address) -> Arc<Node> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let node = state.nodes.entry(address.clone());
        Arc::clone(node.or_insert_with(|| Arc::new(Node::new(address.clone(), &self.terms, &self.tasks))))
    }

    /// Asks all servers that are known how the cluster is, and believes who serves and knows most.
    async fn ask_all(&self) -> Result<View, RedisError> {
        let seeds = &self.terms.access.url.nodes;
        let known: BTreeSet<Address> = seeds.iter().cloned().chain(self.primaries()).collect();
        let mut asked: FuturesUnordered<_> = known.iter().map(|address| Box::pin(self.view_of(address))).collect();
        let (mut best, mut failure): (Option<View>, Option<RedisError>) = (None, None);
        let mut others = pin!(tokio::time::sleep(OTHERS));
        loop {
            let next = tokio::select! {
                next = asked.next() => next,
                () = &mut others, if best.is_some() => None,
            };
            match next {
                None => break,
                Some(Ok(view)) => {
                    if best.as_ref().is_none_or(|best| best.weight < view.weight) {
                        best = Some(view);
                    }
                }
                Some(Err(error)) => failure = Some(error),
            }
        }
        let nobody = || RedisError::from((ErrorKind::Io, "no server of the store is known"));
        let view = best.ok_or_else(|| failure.unwrap_or_else(nobody))?;
        if !view.is_cluster && seeds.len() > 1 {
            let text = "several hosts are given, which names a cluster, but they are single servers";
            return Err((ErrorKind::InvalidClientConfig, text).into());
        }
        Ok(view)
    }

    async fn view_of(&self, address: &Address) -> Result<View, RedisError> {
        let mut connection = self.connect(address).await?;
        let mut ask = async |words: &[&str]| {
            let mut command = Cmd::new();
            command.arg(words);
            connection.req_packed_command(&command).await.and_then(Value::extract_error)
        };
        let info = String::from_redis_value(ask(&["INFO", "cluster"]).await?)?;
        if field(&info, "cluster_enabled") != Some("1") {
            return Ok(View { topology: Topology::single(address.clone()), weight: (true, 0), is_cluster: false });
        }
        let weight = weight(&String::from_redis_value(ask(&["CLUSTER", "INFO"]).await?)?);
        let slots = ask(&["CLUSTER", "SLOTS"]).await?;
        let unreadable = || RedisError::from((ErrorKind::Parse, "the slots of the cluster cannot be read"));
        let topology = Topology::of_slots(&slots, address).ok_or_else(unreadable)?;
        Ok(View { topology, weight, is_cluster: true })
    }

    async fn connect(&self, address: &Address) -> Result<redis::aio::MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.terms.access.connect_timeout));
        self.terms.access.connect(&address.0, address.1, config).await
    }
}

/// Reads the answer to the loading of the functions: others do it too, and that is fine.
fn loaded(outcome: Outcome) -> Result<(), Failure> {
    match outcome {
        Err(Failure::Refused(error)) if is_loaded_already(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Tells whether a slot is on its way, and some of a command's keys are here and some there.
fn is_split(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(error) if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain))
}
