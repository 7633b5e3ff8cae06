//! The ephemeral store of one process: maps in memory, in shards.
//!
//! Invariant: what one method reads and writes, it reads and writes under one lock, so each is atomic.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;
use tokio::sync::watch;

use super::{
    ARRIVALS_MAX, Admission, Arrival, ArrivalMark, Arrivals, Ephemeral, EphemeralError, Learned, ListingHints,
    ListingState, Memory, Needs, Recency, Session, SessionId, WakeUp,
};

/// Enough that two cores rarely meet at one lock.
const SHARDS: usize = 64;

type UserKey = (OrganizationId, UserId);

/// What one process remembers of its clients.
#[derive(Debug)]
pub struct LocalEphemeral {
    memory: Memory,
    hasher: RandomState,
    epochs: AtomicU64,
    shards: Vec<Mutex<HashMap<UserKey, UserState>>>,
}

#[derive(Clone, Debug, Default)]
struct UserState {
    clients: HashMap<ClientId, ClientState>,
    /// Present from the first listing on.
    arrivals: Option<Sequence>,
    /// Present while somebody waits.
    waiting: Option<watch::Sender<()>>,
}

#[derive(Clone, Debug, Default)]
struct ClientState {
    session: Option<Session>,
    last_nonce: Option<Nonce>,
    last_password_nonce: Option<Nonce>,
    password_memory_until: UnixMicros,
    hints: ListingHints,
    mark: Option<ArrivalMark>,
}

/// A user's arrivals. Places count up from 1, without gaps.
#[derive(Clone, Debug)]
struct Sequence {
    epoch: u64,
    /// The place of the first entry, or of the next one where there is none.
    first: u128,
    entries: VecDeque<(UnixMicros, Item)>,
}

// === impl Sequence ===

impl Sequence {
    fn new(epoch: u64) -> Self {
        Self { epoch, first: 1, entries: VecDeque::new() }
    }

    fn append(&mut self, item: Item, now: UnixMicros) {
        if self.entries.len() >= ARRIVALS_MAX {
            self.drop_first();
        }
        self.entries.push_back((now, item));
    }

    fn drop_older_than(&mut self, oldest: UnixMicros) {
        while self.entries.front().is_some_and(|(time, _)| *time < oldest) {
            self.drop_first();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    fn drop_first(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Tells whether all that arrived after a mark is here.
    fn reaches(&self, mark: &ArrivalMark) -> bool {
        mark.epoch == self.epoch && mark.place + 1 >= self.first
    }

    fn seen_from(&self, mark: Option<ArrivalMark>) -> Arrivals {
        let mark = mark.filter(|mark| self.reaches(mark));
        let places = (self.first..).zip(&self.entries);
        let after = places.skip_while(|(place, _)| mark.is_some_and(|mark| *place <= mark.place));
        Arrivals {
            end: ArrivalMark { epoch: self.epoch, place: self.first + self.entries.len() as u128 - 1 },
            mark,
            after: after.map(|(place, (_, item))| Arrival { place, item: *item }).collect(),
        }
    }
}

// === impl UserState ===

impl UserState {
    fn in_session(&mut self, client: ClientId, session: SessionId) -> Option<&mut ClientState> {
        let state = self.clients.get_mut(&client)?;
        state.session.as_ref().is_some_and(|held| held.id == session).then_some(state)
    }

    fn listing_state(&mut self, client: ClientId, epoch: impl FnOnce() -> u64) -> ListingState {
        let (hints, mark) = self.clients.get(&client).map(|state| (state.hints, state.mark)).unwrap_or_default();
        let sequence = self.arrivals.get_or_insert_with(|| Sequence::new(epoch()));
        ListingState { hints, arrivals: Some(sequence.seen_from(mark)) }
    }
}

// === impl LocalEphemeral ===

impl Default for LocalEphemeral {
    fn default() -> Self {
        Self::new(Memory::with_limits(&Limits::default()))
    }
}

impl LocalEphemeral {
    /// Makes an empty one.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { memory, hasher: RandomState::new(), epochs: AtomicU64::new(0), shards }
    }

    /// Returns a copy of all that is remembered now: what a replica that lags behind has.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        let copy = |shard: &Mutex<HashMap<UserKey, UserState>>| {
            Mutex::new(shard.lock().unwrap_or_else(PoisonError::into_inner).clone())
        };
        Self {
            memory: self.memory,
            hasher: self.hasher.clone(),
            epochs: AtomicU64::new(self.epochs.load(Ordering::Relaxed)),
            shards: self.shards.iter().map(copy).collect(),
        }
    }

    /// Returns the hints that a client's next listing would begin with.
    #[cfg(test)]
    pub(crate) fn hints(&self, client: &ClientAddress) -> ListingHints {
        self.with_known_client(client, |state| state.hints).unwrap_or_default()
    }

    fn shard(&self, key: &UserKey) -> MutexGuard<'_, HashMap<UserKey, UserState>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_client<T>(&self, client: &ClientAddress, act: impl FnOnce(&mut ClientState) -> T) -> T {
        let key = (client.organization, client.user);
        act(self.shard(&key).entry(key).or_default().clients.entry(client.client).or_default())
    }

    fn with_known_client<T>(&self, client: &ClientAddress, act: impl FnOnce(&mut ClientState) -> T) -> Option<T> {
        let key = (client.organization, client.user);
        self.shard(&key).get_mut(&key)?.clients.get_mut(&client.client).map(act)
    }

    fn new_epoch(&self) -> u64 {
        self.hasher.hash_one(self.epochs.fetch_add(1, Ordering::Relaxed))
    }
}

#[async_trait]
impl Ephemeral for LocalEphemeral {
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        _now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        self.with_client(client, |state| state.session = Some(session));
        Ok(())
    }

    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        _recency: Recency,
    ) -> Result<Option<Session>, EphemeralError> {
        let session = self.with_known_client(client, |state| state.session.clone()).flatten();
        Ok(session.filter(|session| session.expires > now))
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError> {
        let key = (client.organization, client.user);
        let mut shard = self.shard(&key);
        let Some(user) = shard.get_mut(&key) else { return Ok(Admission::SessionUnknown) };
        let Some(state) = user.in_session(client.client, session) else { return Ok(Admission::SessionUnknown) };
        if state.last_nonce.is_some_and(|last| nonce <= last) {
            return Ok(Admission::NonceReused);
        }
        state.last_nonce = Some(nonce);
        Ok(Admission::Admitted(match needs {
            Needs::Nothing => ListingState::default(),
            Needs::ListingState => user.listing_state(client.client, || self.new_epoch()),
        }))
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<bool, EphemeralError> {
        Ok(self.with_client(client, |state| {
            if state.last_password_nonce.is_some_and(|last| nonce <= last) {
                return false;
            }
            state.last_password_nonce = Some(nonce);
            state.password_memory_until = now.plus(self.memory.nonces);
            true
        }))
    }

    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError> {
        self.with_known_client(client, |state| state.session = None);
        Ok(())
    }

    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError> {
        let key = (organization, user);
        if let Some(state) = self.shard(&key).get_mut(&key) {
            for client in state.clients.values_mut() {
                client.session = None;
            }
        }
        Ok(())
    }

    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError> {
        let key = (client.organization, client.user);
        let mut shard = self.shard(&key);
        let Some(user) = shard.get_mut(&key) else { return Ok(None) };
        if user.in_session(client.client, session).is_none() {
            return Ok(None);
        }
        Ok(Some(user.listing_state(client.client, || self.new_epoch())))
    }

    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError> {
        let key = (client.organization, client.user);
        let mut shard = self.shard(&key);
        let Some(user) = shard.get_mut(&key) else { return Ok(()) };
        let Some(state) = user.clients.get_mut(&client.client) else { return Ok(()) };
        state.hints = state.hints.max(learned.hints);
        if let Some(moved) = learned.mark {
            let held = state.mark.filter(|mark| user.arrivals.as_ref().is_some_and(|held| held.reaches(mark)));
            if moved.to.is_none() || moved.from == held {
                state.mark = moved.to;
            }
        }
        Ok(())
    }

    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        for recipient in recipients {
            let key = (organization, *recipient);
            let mut shard = self.shard(&key);
            let Some(user) = shard.get_mut(&key) else { continue };
            if let Some(sequence) = &mut user.arrivals {
                sequence.drop_older_than(now.minus(self.memory.arrivals));
                sequence.append(*item, now);
            }
            // Whoever has stopped waiting leaves no sender behind.
            if user.waiting.as_ref().is_some_and(|sender| sender.send(()).is_err()) {
                user.waiting = None;
            }
        }
        Ok(())
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        let key = (organization, user);
        let mut shard = self.shard(&key);
        let sender = shard.entry(key).or_default().waiting.get_or_insert_with(|| watch::Sender::new(()));
        Ok(Box::new(LocalWakeUp(sender.subscribe())))
    }

    async fn sweep(&self, now: UnixMicros) -> usize {
        let mut remembered = 0;
        let oldest_arrival = now.minus(self.memory.arrivals);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, user| {
                if user.waiting.as_ref().is_some_and(|sender| sender.receiver_count() == 0) {
                    user.waiting = None;
                }
                user.clients.retain(|_, client| {
                    let session = client.session.as_ref().is_some_and(|session| session.expires > now);
                    let nonce = client.last_nonce.is_some_and(|last| last.time().plus(self.memory.nonces) > now);
                    session || nonce || client.password_memory_until > now
                });
                remembered += user.clients.len();
                if user.clients.is_empty() {
                    user.arrivals = None;
                } else if let Some(sequence) = &mut user.arrivals {
                    sequence.drop_older_than(oldest_arrival);
                }
                !user.clients.is_empty() || user.waiting.is_some()
            });
        }
        remembered
    }
}

struct LocalWakeUp(watch::Receiver<()>);

#[async_trait]
impl WakeUp for LocalWakeUp {
    async fn awakened(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is replaced only when nobody listens to it; should it be gone all the same, the caller's
            // slow poll takes over.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use countersign_protocol::body::ItemKind;
    use countersign_protocol::digest::Sha256Digest;
    use countersign_protocol::message_id::MessageId;
    use countersign_protocol::session_key::SessionKey;

    use super::super::{Ephemeral, conformance};
    use super::*;

    #[expect(clippy::unused_async, reason = "other implementations' fixtures wait for a server")]
    async fn fixture() -> (Arc<dyn Ephemeral>, ()) {
        (Arc::new(LocalEphemeral::default()), ())
    }

    conformance::ephemeral_suite!(fixture);

    #[tokio::test]
    async fn what_is_over_takes_no_memory() {
        let memory = Memory { nonces: Duration::from_secs(60), arrivals: Duration::from_secs(300) };
        let ephemeral = LocalEphemeral::new(memory);
        let (now, lifetime) = (UnixMicros(1_795_400_000_000_000), Duration::from_secs(3_600));
        let client = ClientAddress {
            organization: OrganizationId::from_bytes([1; 16]),
            user: UserId::from_bytes([2; 16]),
            client: ClientId::from_bytes([3; 16]),
        };
        let session = Session {
            id: SessionId([4; 16]),
            key: SessionKey::from_bytes([5; 32]),
            expires: now.plus(lifetime),
            since: 0,
        };
        ephemeral.begin_session(&client, session, now).await.unwrap();
        let waiter = ephemeral.wake_up(client.organization, client.user).await.unwrap();
        let look = async || ephemeral.listing_state(&client, SessionId([4; 16])).await.unwrap().unwrap();
        assert!(look().await.arrivals.is_some());
        let digest = Sha256Digest::of(b"hello");
        let id = MessageId::of_message(&client.organization, &client.user, now.to_millis(), &[], &digest);
        let item = Item { id, kind: ItemKind::Message, from: client.user, of: None, size: 5 };
        ephemeral.arrived(client.organization, &[client.user], &item, now).await.unwrap();

        assert_eq!(ephemeral.sweep(now.plus(memory.arrivals)).await, 1);
        assert_eq!(look().await.arrivals.unwrap().after.len(), 1);
        assert_eq!(ephemeral.sweep(now.plus(memory.arrivals + Duration::from_micros(1))).await, 1);
        assert_eq!(look().await.arrivals.unwrap().after.len(), 0);
        assert_eq!(ephemeral.sweep(now.plus(lifetime)).await, 0);
        drop(waiter);
        ephemeral.sweep(now.plus(lifetime)).await;
        let held: usize = ephemeral.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(held, 0);
    }
}
