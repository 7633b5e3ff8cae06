//! What may vanish: sessions, nonces, hints for listings, and wake-ups.
//!
//! Owns: the trait with its contract, and one file for each implementation. Refuses to know: HTTP, `OpenPGP`, messages.
//!
//! If all of it vanishes, clients ask for new session keys, hints are derived again, and nothing is lost. Where it
//! cannot be reached a request is refused, never waved through.

#[cfg(test)]
pub mod conformance;
pub mod local;

use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::{UnixMicros, UnixMillis};

/// Why the ephemeral store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralError {
    /// It cannot be reached.
    #[error("the ephemeral store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer in time.
    #[error("the ephemeral store did not answer in time")]
    Timeout,
}

/// Tells two sessions of one client apart; random, and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub [u8; 16]);

/// A client's session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which session of the client it is.
    pub id: SessionId,
    /// The key that its requests are signed with.
    pub key: SessionKey,
    /// When it ends.
    pub expires: UnixMicros,
    /// The sequence from which the user's sessions counted when it began: a later one in the user's record ends it.
    pub since: u64,
}

/// What a listing need not read again. Losing it costs reads, never messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListingHints {
    /// Last known good: all messages at or before it are fetched by the client.
    pub last_known_good: Option<UnixMillis>,
    /// When a listing last read from the beginning of retention and found nothing behind last known good.
    pub reconciled: Option<UnixMillis>,
}

impl ListingHints {
    /// Takes the later of each hint: every one of them is safe by itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            last_known_good: self.last_known_good.max(other.last_known_good),
            reconciled: self.reconciled.max(other.reconciled),
        }
    }
}

/// The outcome of admitting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The nonce was the greatest so far, and now is the last one.
    Admitted(ListingHints),
    /// A nonce as great or greater was admitted before; nothing was changed.
    NonceReused,
    /// The client has no such session any more; nothing was changed.
    SessionUnknown,
}

/// Waits for something to arrive for one user. Level-triggered: what was awakened between its creation and the wait
/// is not missed. What is awakened elsewhere may be missed now and then, so callers also poll slowly.
#[async_trait]
pub trait WakeUp: Send {
    /// Returns when something may have arrived since creation or the last return.
    async fn awakened(&mut self);
}

/// Sessions, nonces, hints and wake-ups.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Begins a session, which replaces the client's earlier one at once. The client's nonce memory and hints stay.
    async fn begin_session(&self, client: &ClientAddress, session: Session) -> Result<(), EphemeralError>;

    /// Returns the client's session, unless it ended before `now`.
    async fn session(&self, client: &ClientAddress, now: UnixMicros) -> Result<Option<Session>, EphemeralError>;

    /// Admits a request whose signature was verified: in one atomic step, checks that `session` still is the client's,
    /// and that `nonce` is strictly greater than every one admitted before, and remembers it.
    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
    ) -> Result<Admission, EphemeralError>;

    /// The same compare-and-advance in the memory of password requests, which is apart. Tells whether the nonce was
    /// admitted. `now` and `memory` tell when it may be forgotten.
    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
        memory: Duration,
    ) -> Result<bool, EphemeralError>;

    /// Ends the client's session, if it has one.
    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError>;

    /// Ends the sessions of all clients of a user.
    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError>;

    /// Moves the client's hints forward; none ever moves back. Without a session there is nothing to remember.
    async fn advance_hints(&self, client: &ClientAddress, hints: ListingHints) -> Result<(), EphemeralError>;

    /// Begins to wait for what arrives for a user.
    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError>;

    /// Wakes whoever waits for one of these users. A hint: nobody relies on it.
    async fn wake(&self, organization: OrganizationId, users: &[UserId]);

    /// Forgets what has ended before `now`, and tells how many clients are still remembered.
    async fn sweep(&self, now: UnixMicros) -> usize;
}
