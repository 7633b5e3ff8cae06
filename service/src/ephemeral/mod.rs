//! What may vanish: sessions, nonces, hints for listings, arrivals, and wake-ups.
//!
//! Owns: the trait with its contract, the conformance suite, and one implementation for one process and one for many.
//! Refuses to know: HTTP, `OpenPGP`, what is in a message, what is new for a client.
//!
//! If all of it vanishes, clients ask for new session keys, hints are derived again, and nothing is lost. Where it
//! cannot be reached a request is refused, never waved through.
//!
//! What holds for every method:
//! - An `Err` means *unknown*: what was asked for may have happened, or may happen yet.
//! - What one client's or one user's call reads and writes, it reads and writes in one atomic step.

#[cfg(test)]
pub mod conformance;
pub mod local;
pub mod valkey;

use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::limits::Limits;
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
    /// When the client's last full merge began.
    pub merged: Option<UnixMillis>,
}

impl ListingHints {
    /// Takes the later of each hint: every one of them is safe by itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            last_known_good: self.last_known_good.max(other.last_known_good),
            reconciled: self.reconciled.max(other.reconciled),
            merged: self.merged.max(other.merged),
        }
    }
}

/// A place in the order in which messages arrived for a user. Places of different epochs have nothing to do with each
/// other: an epoch ends when arrivals were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalMark {
    /// Tells one sequence of arrivals from another; random, and no secret.
    pub epoch: u64,
    /// The place. What arrives later has a greater one.
    pub place: u128,
}

impl ArrivalMark {
    /// Returns a mark of the same epoch at another place.
    #[must_use]
    pub const fn at(self, place: u128) -> Self {
        Self { place, ..self }
    }
}

/// A message that arrived for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in the order of arrival.
    pub place: u128,
    /// Its row in the mailbox.
    pub item: Item,
}

/// A user's arrivals, as one client's listing sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Where they end: what arrives from now on is after it.
    pub end: ArrivalMark,
    /// The client's mark, if it can be relied on: it is of this epoch, and all that arrived after it is in `after`.
    pub mark: Option<ArrivalMark>,
    /// What arrived after the mark, in this order; without a mark, what is still remembered. A message may be there
    /// twice.
    pub after: Vec<Arrival>,
}

/// What a client's listing begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingState {
    /// What need not be read again.
    pub hints: ListingHints,
    /// What arrived; none if that is unknown.
    pub arrivals: Option<Arrivals>,
}

/// What a listing learned, to be remembered for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Hints; each only moves forward.
    pub hints: ListingHints,
    /// Where the client's arrival mark goes.
    pub mark: Option<MarkMove>,
}

/// A move of a client's arrival mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkMove {
    /// The mark that the listing began with.
    pub from: Option<ArrivalMark>,
    /// The new mark; none if the arrivals no longer tell all that is new for the client.
    pub to: Option<ArrivalMark>,
}

/// How recent a session must be that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// One from this process's memory will do.
    Any,
    /// It must be the one of now.
    Now,
}

/// What a request needs beside its admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// It is a listing.
    ListingState,
}

/// The outcome of admitting a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The nonce was the greatest so far, and now is the last one. With what the request needs next, or with nothing.
    Admitted(ListingState),
    /// A nonce as great or greater was admitted before; nothing was changed.
    NonceReused,
    /// The client has no such session any more; nothing was changed.
    SessionUnknown,
}

/// The most arrivals of one user that are remembered. A client that is further behind does full merges until it has
/// caught up.
pub const ARRIVALS_MAX: usize = 1_000;

/// How long what may vanish is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// How long a nonce is: at least as long as a request with it could be repeated.
    pub nonces: Duration,
    /// How long arrivals are.
    pub arrivals: Duration,
}

impl Memory {
    /// The memory for given limits: a nonce may be early by its window and repeated until it is late by it. Arrivals
    /// are remembered for the inconsistent window.
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self { nonces: limits.nonce_window * 2, arrivals: limits.inconsistent_window }
    }
}

/// Waits for something to arrive for one user. Level-triggered: what was awakened between its creation and the wait
/// is not missed. What is awakened elsewhere may be missed now and then, so callers also poll slowly.
#[async_trait]
pub trait WakeUp: Send {
    /// Returns when something may have arrived since creation or the last return.
    async fn awakened(&mut self);
}

/// Sessions, nonces, hints, arrivals and wake-ups.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Begins a session, which replaces the client's earlier one at once. The client's nonce memory and hints stay.
    /// What other clients of the user no longer need is forgotten: what ended before `now`.
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        now: UnixMicros,
    ) -> Result<(), EphemeralError>;

    /// Returns the client's session, unless it ended before `now`. With [`Recency::Any`] it may be one that was ended or
    /// replaced since; [`Self::admit`] tells.
    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        recency: Recency,
    ) -> Result<Option<Session>, EphemeralError>;

    /// Admits a request whose signature was verified: in one atomic step, checks that `session` still is the client's,
    /// and that `nonce` is strictly greater than every one admitted before, and remembers it. Returns what the request
    /// needs next, from the same step. One trip.
    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError>;

    /// The same compare-and-advance in the memory of password requests, which is apart. Tells whether the nonce was
    /// admitted. From `now` on it is remembered as long as nonces are.
    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<bool, EphemeralError>;

    /// Ends the client's session, if it has one.
    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError>;

    /// Ends the sessions of all clients of a user.
    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError>;

    /// Returns what a listing begins with, as admission does, for one that looks again; none if `session` is no longer
    /// the client's.
    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError>;

    /// Remembers what a listing learned. Hints only move forward. The mark moves to nowhere in any case; to a place
    /// only if it is where the listing began, or else a racing listing has moved it for reasons of its own. Of a client
    /// that has had no session there is nothing to remember.
    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError>;

    /// Appends a message, whose mailbox rows are durable, to the arrivals of its recipients, and wakes whoever waits
    /// for one of them. Arrivals of a user for whom nobody has listed lately are not remembered. A hint: if it is lost,
    /// the next full merge finds the message. After an `Err`, it may have reached some of the recipients.
    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        now: UnixMicros,
    ) -> Result<(), EphemeralError>;

    /// Begins to wait for what arrives for a user.
    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError>;

    /// Forgets what has ended before `now`, and tells how many clients are still remembered by this process.
    async fn sweep(&self, now: UnixMicros) -> usize;
}
