//! The ephemeral store of many processes: Valkey, as a single server or a cluster.
//!
//! Owns: what is kept where, and the server-side functions that make each step atomic and one trip. Refuses to know:
//! what is new for a client, and when a session may begin.
//!
//! Invariants:
//! - All keys of a user share a slot, and every key expires. Nothing here must last: no persistence is needed.
//! - A cached session decides nothing. The function that admits a request checks that it still is the client's.
//! - Every call may be repeated, by the client library, without doing more than once: an attempt at a nonce is told
//!   from a replay by a random number, and an arrival may be in the sequence twice.
//! - Only primaries are asked.

mod check;
mod codec;
mod functions;
mod keys;
mod link;
#[cfg(test)]
mod tests;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;
use futures_util::future::join_all;
use moka::future::Cache;
use redis::{Cmd, ErrorKind, FromRedisValue as _, RedisError, ServerErrorKind, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

pub use check::{Finding, check};
use codec::{
    Unexpected, decode_item, decode_mark, decode_place, decode_session, decode_state, encode_item, encode_mark,
    encode_session,
};
use functions::{Call, Function, Library};
use keys::Key;
pub use link::CommandObserver;
use link::Link;
use wake::WakeUps;

use super::{
    ARRIVALS_MAX, Admission, Arrival, Arrivals, Ephemeral, EphemeralError, Learned, ListingState, Memory, Needs,
    Recency, Session, SessionId, WakeUp,
};
use crate::entropy::Entropy;
use crate::valkey::Access;

/// How long a session is kept in this process's memory after it was used last.
const CACHED_FOR: Duration = Duration::from_secs(600);

/// How to reach Valkey, and how long to remember.
#[derive(Clone)]
pub struct ValkeySettings {
    /// Where it is, and who we are there.
    pub access: Access,
    /// How long an answer may take, with everything that the client library repeats.
    pub response_timeout: Duration,
    /// How long what may vanish is remembered.
    pub memory: Memory,
    /// How many sessions this process keeps in its memory.
    pub cached_sessions: u64,
}

/// What many processes remember of their clients.
pub struct ValkeyEphemeral {
    link: Link,
    library: Library,
    wake_ups: Arc<WakeUps>,
    sessions: Cache<ClientAddress, Session>,
    entropy: Arc<dyn Entropy>,
    memory: Memory,
}

/// Why a session is not in the cache after it was looked for.
enum Miss {
    Absent,
    Failed(EphemeralError),
}

impl ValkeyEphemeral {
    /// Connects. Where Valkey cannot be reached now, goes on all the same: requests are refused until it can be. `tasks`
    /// is where connections are kept up until `stop`.
    pub async fn open(
        settings: ValkeySettings,
        entropy: Arc<dyn Entropy>,
        observer: Arc<dyn CommandObserver>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let wake_ups = Arc::new(WakeUps::default());
        let memory = settings.memory;
        let sessions = Cache::builder().max_capacity(settings.cached_sessions).time_to_idle(CACHED_FOR).build();
        let link = Link::new(settings, Arc::clone(&wake_ups) as _, observer);
        if let Err(error) = link.connect().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Valkey cannot be reached yet");
            link.reconnect();
        }
        tasks.spawn(link.clone().keep_connected(stop.clone()));
        tasks.spawn(Arc::clone(&wake_ups).keep_subscribed(link.clone(), stop.clone()));
        Self { link, library: Library::new(), wake_ups, sessions, entropy, memory }
    }

    async fn call(&self, function: Function, keys: &[Key], arguments: &[&[u8]]) -> Result<Value, EphemeralError> {
        Ok(self.library.call(&self.link, &Call { function, keys, arguments }).await?)
    }

    /// Calls a function that looks at a user's arrivals. While a slot moves from one node to another, a call with two
    /// keys is refused if one of them is not there, and a user without arrivals has but one: then it is called without
    /// the arrivals, which are unknown until the slot has moved.
    async fn call_listing(
        &self,
        function: Function,
        client: &ClientAddress,
        arguments: &[&[u8]],
    ) -> Result<Value, EphemeralError> {
        let keys = [Key::Clients(client.organization, client.user), Key::Arrivals(client.organization, client.user)];
        match self.library.call(&self.link, &Call { function, keys: &keys, arguments }).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain) => {
                self.call(function, &keys[..1], arguments).await
            }
            outcome => Ok(outcome?),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    async fn read_session(&self, client: &ClientAddress) -> Result<Option<Session>, EphemeralError> {
        let mut command = Cmd::new();
        command.arg("HGET").arg(Key::Clients(client.organization, client.user).to_string());
        command.arg(&field(b's', client)[..]);
        match self.link.send(&command).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(decode_session(&Zeroizing::new(bytes))?)),
            _ => Err(Unexpected("something else than a session").into()),
        }
    }
}

#[async_trait]
impl Ephemeral for ValkeyEphemeral {
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        let kept = milliseconds(session.expires.distance(now) + self.memory.nonces);
        let (now, nonces) = (now.0.to_string(), self.memory.nonces.as_micros().to_string());
        let arguments: [&[u8]; 5] =
            [client.client.as_bytes(), &encode_session(&session), kept.as_bytes(), now.as_bytes(), nonces.as_bytes()];
        self.call(Function::Begin, &[Key::Clients(client.organization, client.user)], &arguments).await?;
        self.sessions.insert(*client, session).await;
        Ok(())
    }

    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        recency: Recency,
    ) -> Result<Option<Session>, EphemeralError> {
        if recency == Recency::Now {
            self.sessions.invalidate(client).await;
        }
        let load = async { self.read_session(client).await.map_err(Miss::Failed)?.ok_or(Miss::Absent) };
        match self.sessions.try_get_with(*client, load).await {
            Ok(session) => Ok(Some(session).filter(|session| session.expires > now)),
            Err(miss) => match &*miss {
                Miss::Absent => Ok(None),
                Miss::Failed(EphemeralError::Timeout) => Err(EphemeralError::Timeout),
                Miss::Failed(EphemeralError::Unavailable(source)) => {
                    Err(EphemeralError::Unavailable(source.to_string().into()))
                }
            },
        }
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError> {
        let nonce = nonce.time().0.to_string();
        let attempt: [u8; 8] = self.random();
        let admitting: [&[u8]; 4] = [client.client.as_bytes(), &session.0, nonce.as_bytes(), &attempt];
        let answer = match needs {
            Needs::Nothing => {
                let clients = Key::Clients(client.organization, client.user);
                self.call(Function::Admit, &[clients], &admitting).await?
            }
            Needs::ListingState => {
                let sequence = self.sequence_arguments();
                let arguments: Vec<&[u8]> = admitting.into_iter().chain(sequence.iter().map(|a| &**a)).collect();
                self.call_listing(Function::Admit, client, &arguments).await?
            }
        };
        match answer {
            Value::Int(0) => {
                self.sessions.invalidate(client).await;
                Ok(Admission::SessionUnknown)
            }
            Value::Int(-1) => Ok(Admission::NonceReused),
            Value::Int(1) => Ok(Admission::Admitted(ListingState::default())),
            listing => Ok(Admission::Admitted(listing_state(listing)?)),
        }
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        _now: UnixMicros,
    ) -> Result<bool, EphemeralError> {
        let (nonce, attempt) = (nonce.time().0.to_string(), self.random::<8>());
        let memory = milliseconds(self.memory.nonces);
        let arguments: [&[u8]; 4] = [client.client.as_bytes(), nonce.as_bytes(), &attempt, memory.as_bytes()];
        let clients = Key::Clients(client.organization, client.user);
        Ok(self.call(Function::Password, &[clients], &arguments).await? == Value::Int(1))
    }

    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError> {
        let mut command = Cmd::new();
        command.arg("HDEL").arg(Key::Clients(client.organization, client.user).to_string());
        command.arg(&field(b's', client)[..]);
        self.link.send(&command).await?;
        self.sessions.invalidate(client).await;
        Ok(())
    }

    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError> {
        self.call(Function::EndAll, &[Key::Clients(organization, user)], &[]).await?;
        Ok(())
    }

    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError> {
        let looking: [&[u8]; 2] = [client.client.as_bytes(), &session.0];
        let sequence = self.sequence_arguments();
        let arguments: Vec<&[u8]> = looking.into_iter().chain(sequence.iter().map(|a| &**a)).collect();
        match self.call_listing(Function::Look, client, &arguments).await? {
            Value::Int(0) => Ok(None),
            listing => Ok(Some(listing_state(listing)?)),
        }
    }

    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError> {
        let Learned { hints, mark } = learned;
        let times = [hints.last_known_good, hints.reconciled, hints.merged];
        let times = times.map(|time| time.map_or(0, |time| time.0).to_string());
        let marks = mark.map(|moved| [moved.from, moved.to].map(|mark| mark.map(|mark| encode_mark(&mark))));
        let mut arguments: Vec<&[u8]> = vec![client.client.as_bytes()];
        arguments.extend(times.iter().map(String::as_bytes));
        arguments.extend(marks.iter().flatten().map(|mark| mark.as_ref().map_or(&[][..], |mark| mark)));
        self.call(Function::Remember, &[Key::Clients(client.organization, client.user)], &arguments).await?;
        Ok(())
    }

    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        _now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        let (row, sequence) = (encode_item(item), self.sequence_arguments());
        let appends = recipients.iter().map(|recipient| {
            let (row, sequence) = (&row, &sequence);
            async move {
                let [memory, most, epoch] = sequence;
                let channel = Key::WakeUps(organization, *recipient).to_string();
                let arguments: [&[u8]; 5] = [row, memory, most, epoch, channel.as_bytes()];
                let keys = [Key::Clients(organization, *recipient), Key::Arrivals(organization, *recipient)];
                self.call(Function::Arrive, &keys, &arguments).await
            }
        });
        // All of them, though one fails: each is one recipient's.
        join_all(appends).await.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        Ok(self.wake_ups.wait_on(Key::WakeUps(organization, user).to_string(), &self.link).await)
    }

    async fn sweep(&self, _now: UnixMicros) -> usize {
        self.wake_ups.forget_unneeded(&self.link).await;
        self.sessions.run_pending_tasks().await;
        usize::try_from(self.sessions.entry_count()).unwrap_or(usize::MAX)
    }
}

impl ValkeyEphemeral {
    /// What functions that look at a sequence of arrivals are told: how long and how many to remember, and the epoch of
    /// a new one.
    fn sequence_arguments(&self) -> [Vec<u8>; 3] {
        let memory = milliseconds(self.memory.arrivals).into_bytes();
        [memory, ARRIVALS_MAX.to_string().into_bytes(), self.random::<8>().to_vec()]
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// The name of a client's field in its user's hash.
fn field(kind: u8, client: &ClientAddress) -> [u8; 17] {
    let mut name = [kind; 17];
    name[1..].copy_from_slice(client.client.as_bytes());
    name
}

/// Reads what `listing` of the functions returns.
fn listing_state(answer: Value) -> Result<ListingState, EphemeralError> {
    type Answer = (i64, Vec<u8>, Vec<u8>, i64, Vec<Vec<u8>>);
    let (_, state, end, reliable, after) = Answer::from_redis_value(answer)?;
    let (hints, mark) = decode_state(&state)?;
    if end.is_empty() {
        return Ok(ListingState { hints, arrivals: None });
    }
    let after = after
        .chunks_exact(2)
        .map(|entry| Ok(Arrival { place: decode_place(&entry[0])?, item: decode_item(&entry[1])? }));
    let after = after.collect::<Result<Vec<_>, Unexpected>>()?;
    let arrivals = Arrivals { end: decode_mark(&end)?, mark: (reliable == 1).then_some(mark), after };
    Ok(ListingState { hints, arrivals: Some(arrivals) })
}

impl From<RedisError> for EphemeralError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unavailable(error.into()) }
    }
}

impl From<redis::ParsingError> for EphemeralError {
    fn from(error: redis::ParsingError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<Unexpected> for EphemeralError {
    fn from(error: Unexpected) -> Self {
        Self::Unavailable(error.into())
    }
}
