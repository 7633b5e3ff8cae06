//! What must last: the two storage traits with their contract, and one folder for each backend.
//!
//! Owns: the contract in words, the in-memory reference, the conformance suite that every backend runs.
//! Refuses to know: HTTP, sessions, who may read what.
//!
//! Two narrow traits, since their guarantees differ. [`Registry`] is linearizable where it says so: it holds what
//! administrators decide. [`Mailbox`] may be eventually consistent: the delivery algorithm (`docs/delivery.md`) is
//! made for that.
//!
//! What holds for every method:
//! - An `Err` of a write means *unknown*: it may have happened, or may happen yet. All writes are idempotent, so the
//!   caller's client repeats them.
//! - An `Ok` of a write means *durable*: it survives the loss of power of as many machines as the backend's replication allows.
//! - Dropping a future does not undo anything and may leave the write to happen.
//! - Lookups of what is not there return `None` or nothing, never an error.

#[cfg(test)]
pub mod conformance;
pub mod dynamodb;
pub mod embedded;
#[cfg(test)]
mod lossy_proxy;
pub mod mariadb;
pub mod memory;
mod opening;
pub mod scylla;
pub mod settings;
#[cfg(feature = "store-valkey")]
pub mod valkey;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use countersign_protocol::two_man_rule::UserRecord;

/// Why a store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, has no quorum, or is overloaded. Of a write, the outcome is unknown.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer within the request's time. Of a write, the outcome is unknown.
    #[error("the store did not answer in time")]
    Timeout,
    /// It holds something that this program never writes: a person should look.
    #[error("the store holds what it should not: {0}")]
    Corrupt(String),
    /// It has no room for more. Of a write, nothing that anybody sees was done.
    #[error("the store is full")]
    Full,
}

impl StoreError {
    /// Makes the error of one caller, where several wait for one call.
    #[must_use]
    pub fn shared(error: Arc<Self>) -> Self {
        match &*error {
            Self::Unavailable(_) => Self::Unavailable(error.into()),
            Self::Timeout => Self::Timeout,
            Self::Corrupt(what) => Self::Corrupt(what.clone()),
            Self::Full => Self::Full,
        }
    }
}

/// The two halves of a store.
#[derive(Clone)]
pub struct Store {
    /// Organizations, users and client places.
    pub registry: Arc<dyn Registry>,
    /// Messages and what was fetched.
    pub mailbox: Arc<dyn Mailbox>,
}

/// How far a store that is opened in the background has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Not yet, for a reason in words for people.
    Waiting(String),
    /// It takes calls.
    Open,
}

/// The outcome of a conditional append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// The entry now stands at its sequence.
    Appended,
    /// Another call's entry stands there; nothing was changed.
    Taken,
}

/// The outcome of claiming a client place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The client has just got a place.
    Claimed,
    /// The client had a place already.
    Held,
    /// There is no place left; nothing was changed.
    Full,
}

/// A registered client and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPlace {
    /// The place, from 0.
    pub place: u32,
    /// The client.
    pub client: ClientId,
    /// When it was registered.
    pub since: UnixMicros,
}

/// What administrators decide, and who may come in.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Appends an entry at `sequence`, if that sequence is free. Linearizable: of many racing calls for one sequence,
    /// on any number of pods, exactly one is ever answered [`Append::Appended`]. Does not check that `sequence - 1`
    /// is there; the caller does.
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError>;

    /// Reads up to `limit` entries from `first` on, in order of sequence and without gaps. Linearizable: sees every
    /// append that was answered before the call.
    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError>;

    /// Writes a user's record. The record with the greatest `changed` wins, whatever the order of the calls, so
    /// that rolling forward twice or late does no harm. Seen by every later read.
    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError>;

    /// Reads a user's record.
    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError>;

    /// Reads up to `limit` records of users after `after`, ordered by user. Fewer than `limit` mean that there are no
    /// more.
    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError>;

    /// Claims one of the user's `limit` places for a client, unless it has one. Linearizable: the user never has more
    /// than `limit` clients by this call, however many race. Clients that a lowered limit no longer covers stay, and
    /// count.
    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError>;

    /// Lists the user's clients, ordered by place. Linearizable.
    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError>;

    /// Frees the client's place and tells whether it had one. Linearizable.
    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError>;
}

/// A message or receipt as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The organization.
    pub organization: OrganizationId,
    /// The id.
    pub id: MessageId,
    /// Message or receipt.
    pub kind: ItemKind,
    /// Who sent it; of a receipt, who acknowledges.
    pub sender: UserId,
    /// Who may read it and in whose mailboxes it is; sorted, without repeats.
    pub recipients: Vec<UserId>,
    /// The message that a receipt acknowledges.
    pub of: Option<MessageId>,
    /// The content; of a receipt, the signature.
    pub content: Bytes,
}

impl StoredMessage {
    /// Returns the row that stands for it in a mailbox.
    #[must_use]
    pub const fn item(&self) -> Item {
        Item { id: self.id, kind: self.kind, from: self.sender, of: self.of, size: self.content.len() as u64 }
    }
}

/// A range of message ids, by their order: from a first one on, up to all of a last millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    first: u128,
    last: u128,
}

impl IdRange {
    /// All ids later than `after`, up to `until` and with it.
    #[must_use]
    pub fn later_than(after: UnixMillis, until: UnixMillis) -> Self {
        // The last id of a time, as far as ids have times.
        let last = |time: UnixMillis| (u128::from(time.0.min(UnixMillis::MAX_IN_ID.0)) << 80) | ((1 << 80) - 1);
        // No message's id is the greatest number, since it has a version and a variant.
        Self { first: last(after).saturating_add(1), last: last(until) }
    }

    /// The rest of the range after an id of it.
    #[must_use]
    pub fn after(self, id: &MessageId) -> Self {
        Self { first: u128::from_be_bytes(*id.as_bytes()).saturating_add(1), last: self.last }
    }

    /// Tells whether no id can be in the range.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Returns the first 16 bytes of the range.
    #[must_use]
    pub const fn first_bytes(&self) -> [u8; 16] {
        self.first.to_be_bytes()
    }

    /// Returns the last 16 bytes of the range.
    #[must_use]
    pub const fn last_bytes(&self) -> [u8; 16] {
        self.last.to_be_bytes()
    }

    /// Returns the first and the last millisecond that the range touches.
    #[must_use]
    pub fn times(&self) -> (UnixMillis, UnixMillis) {
        let millis = |bound: u128| UnixMillis(u64::try_from(bound >> 80).unwrap_or(u64::MAX));
        (millis(self.first), millis(self.last))
    }
}

/// How much longer than retention rows stay at least: so that no clock's skew and no late delivery takes one early, and
/// that it can be told whether one expired unseen.
pub const KEPT_LONGER: Duration = Duration::from_secs(86_400);

/// Messages, and what each client has fetched. Nothing is ever deleted but by retention: a row is there at least
/// until its id's time plus the retention and [`KEPT_LONGER`], and its disk space is free at most a day and a sweep later.
#[async_trait]
pub trait Mailbox: Send + Sync {
    /// Stores a message: its content first, then a row in the mailbox of each recipient. Whoever sees a row can read
    /// the content. Answered when all of it is durable. A repeat changes nothing.
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError>;

    /// Reads a message. Sees every message that was answered, at the backend's read consistency.
    async fn message(&self, organization: OrganizationId, id: MessageId)
    -> Result<Option<StoredMessage>, StoreError>;

    /// Reads up to `limit` rows of a user's mailbox in a range, ordered by id. Fewer than `limit` mean that no more
    /// are visible. A row may become visible late (see `docs/delivery.md`).
    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError>;

    /// Adds ids to what a client has fetched. Ids need not be in any mailbox. A repeat changes nothing.
    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError>;

    /// Reads up to `limit` ids of a range that a client has fetched, ordered. Fewer than `limit` mean that no more
    /// are visible.
    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// Returns those of `ids` that a client has fetched, ordered and without repeats, by point reads: in one trip, and
    /// whatever else the client has fetched. `ids` may come in any order and be in no mailbox; callers ask for at most
    /// [`FETCHED_AMONG_MAX`] at once. An id that is missing from the answer may have been added a moment ago all the
    /// same (see `docs/delivery.md`); one that is in it was added.
    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError>;
}

/// The most ids that one call of [`Mailbox::fetched_among`] asks for.
pub const FETCHED_AMONG_MAX: usize = 100;

/// Chooses the place that a new client may claim, given the user's clients and their limit.
///
/// Only places below a bound are claimed, chosen so that all of those and the clients at and above it are within the
/// limit together. Clients at and above the bound can only become fewer, so calls that race for different places
/// cannot exceed the limit, even after it was lowered.
#[must_use]
pub fn free_place_for(held: &[ClientPlace], limit: u32) -> Option<u32> {
    free_places_for(held, limit).next()
}

/// Returns all places of which [`free_place_for`] chooses the first. Where many race, others of them are in nobody's way.
pub fn free_places_for(held: &[ClientPlace], limit: u32) -> impl Iterator<Item = u32> {
    let fits = |bound: u32| {
        let above = held.iter().filter(|place| place.place >= bound).count();
        u32::try_from(above).is_ok_and(|above| bound.saturating_add(above) <= limit)
    };
    let bound = (0..=limit).rev().find(|bound| fits(*bound)).unwrap_or(0);
    let taken: HashSet<u32> = held.iter().map(|held| held.place).collect();
    (0..bound).filter(move |place| !taken.contains(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_its_last_millisecond_however_late_that_is() {
        let far = UnixMillis(u64::MAX);

        let all_later = IdRange::later_than(UnixMillis(5), far);
        assert_eq!(all_later.first_bytes(), (6_u128 << 80).to_be_bytes());
        assert_eq!(all_later.last_bytes(), [0xff; 16]);
        assert_eq!(all_later.times(), (UnixMillis(6), UnixMillis::MAX_IN_ID));
        assert!(IdRange::later_than(UnixMillis(5), UnixMillis(5)).is_empty());
        assert!(IdRange::later_than(UnixMillis(6), UnixMillis(5)).is_empty());
        assert_eq!(IdRange::later_than(far, far).first_bytes(), [0xff; 16]);
    }
}
