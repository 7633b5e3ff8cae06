//! The ephemeral store of one process: maps in memory, in shards.
//!
//! Invariant: what one method reads and writes, it reads and writes under one lock, so each is atomic.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;
use tokio::sync::watch;

use super::{Admission, Ephemeral, EphemeralError, ListingHints, Session, SessionId, WakeUp};

/// Enough that two cores rarely meet at one lock.
const SHARDS: usize = 64;

type UserKey = (OrganizationId, UserId);

/// What one process remembers of its clients.
#[derive(Debug)]
pub struct LocalEphemeral {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<UserKey, UserState>>>,
}

#[derive(Debug, Default)]
struct UserState {
    clients: HashMap<ClientId, ClientState>,
    /// Present while somebody waits.
    arrivals: Option<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct ClientState {
    session: Option<Session>,
    last_nonce: Option<Nonce>,
    last_password_nonce: Option<Nonce>,
    password_memory_until: UnixMicros,
    hints: ListingHints,
}

impl Default for LocalEphemeral {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl LocalEphemeral {
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
}

#[async_trait]
impl Ephemeral for LocalEphemeral {
    async fn begin_session(&self, client: &ClientAddress, session: Session) -> Result<(), EphemeralError> {
        self.with_client(client, |state| state.session = Some(session));
        Ok(())
    }

    async fn session(&self, client: &ClientAddress, now: UnixMicros) -> Result<Option<Session>, EphemeralError> {
        let session = self.with_known_client(client, |state| state.session.clone()).flatten();
        Ok(session.filter(|session| session.expires > now))
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
    ) -> Result<Admission, EphemeralError> {
        let admission = self.with_known_client(client, |state| match &state.session {
            Some(held) if held.id == session => {
                if state.last_nonce.is_some_and(|last| nonce <= last) {
                    return Admission::NonceReused;
                }
                state.last_nonce = Some(nonce);
                Admission::Admitted(state.hints)
            }
            _ => Admission::SessionUnknown,
        });
        Ok(admission.unwrap_or(Admission::SessionUnknown))
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
        memory: Duration,
    ) -> Result<bool, EphemeralError> {
        Ok(self.with_client(client, |state| {
            if state.last_password_nonce.is_some_and(|last| nonce <= last) {
                return false;
            }
            state.last_password_nonce = Some(nonce);
            state.password_memory_until = now.plus(memory);
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

    async fn advance_hints(&self, client: &ClientAddress, hints: ListingHints) -> Result<(), EphemeralError> {
        self.with_known_client(client, |state| state.hints = state.hints.max(hints));
        Ok(())
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        let key = (organization, user);
        let mut shard = self.shard(&key);
        let sender = shard.entry(key).or_default().arrivals.get_or_insert_with(|| watch::Sender::new(()));
        Ok(Box::new(LocalWakeUp(sender.subscribe())))
    }

    async fn wake(&self, organization: OrganizationId, users: &[UserId]) {
        for user in users {
            let key = (organization, *user);
            let mut shard = self.shard(&key);
            let Some(state) = shard.get_mut(&key) else { continue };
            // Whoever has stopped waiting leaves no sender behind.
            if state.arrivals.as_ref().is_some_and(|sender| sender.send(()).is_err()) {
                state.arrivals = None;
            }
        }
    }

    async fn sweep(&self, now: UnixMicros) -> usize {
        let mut remembered = 0;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, user| {
                if user.arrivals.as_ref().is_some_and(|sender| sender.receiver_count() == 0) {
                    user.arrivals = None;
                }
                user.clients.retain(|_, client| {
                    let session = client.session.as_ref().is_some_and(|session| session.expires > now);
                    session || client.password_memory_until > now
                });
                remembered += user.clients.len();
                !user.clients.is_empty() || user.arrivals.is_some()
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

    use super::super::{Ephemeral, conformance};

    #[expect(clippy::unused_async, reason = "other implementations' fixtures wait for a server")]
    async fn fixture() -> (Arc<dyn Ephemeral>, ()) {
        (Arc::new(super::LocalEphemeral::default()), ())
    }

    conformance::ephemeral_suite!(fixture);
}
