//! The model's state, and how the real listing sees it.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use countersign_service::ephemeral::ListingHints;
use countersign_service::store::{IdRange, Mailbox, StoreError, StoredMessage};

pub(crate) const MESSAGES: usize = 2;
pub(crate) const REPLICAS: usize = 2;
/// How many units go by.
pub(crate) const END: u8 = 8;

const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
const SENDER: UserId = UserId::from_bytes([2; 16]);
const RECIPIENT: UserId = UserId::from_bytes([3; 16]);
pub(crate) const CLIENT: ClientAddress =
    ClientAddress { organization: ORGANIZATION, user: RECIPIENT, client: ClientId::from_bytes([4; 16]) };

/// A message that was answered as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    /// The time of its id.
    pub(crate) time: u8,
    /// When it was accepted.
    pub(crate) accepted: u8,
    /// Which replicas have its row.
    pub(crate) visible: [bool; REPLICAS],
    /// Whether the client holds it.
    pub(crate) held: bool,
    /// Which replicas have its confirmation.
    pub(crate) confirmed: [bool; REPLICAS],
}

/// Everything, in the model's units of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: u8,
    pub(crate) messages: [Option<Message>; MESSAGES],
    pub(crate) last_known_good: Option<UnixMillis>,
    /// What the last listing learned and is not remembered yet.
    pub(crate) learned: Option<UnixMillis>,
}

impl State {
    pub(crate) fn hints(&self) -> ListingHints {
        // Reconciled at the beginning, so that it is never time to.
        ListingHints { last_known_good: self.last_known_good, reconciled: Some(at(0)), merged: None }
    }
}

/// The time that is so many units after a beginning long past retention.
pub(crate) fn at(units: u8) -> UnixMillis {
    UnixMillis(1_795_400_000_000 + u64::from(units) * 60_000)
}

/// The id of a message whose id was made at a time.
pub(crate) fn id(message: usize, time: u8) -> MessageId {
    IDS[message][usize::from(time)]
}

/// Every id that the model needs, by message and time: hashing them again and again would take most of its time.
static IDS: LazyLock<Vec<Vec<MessageId>>> =
    LazyLock::new(|| (0..MESSAGES).map(|message| (0..=END).map(|time| new_id(message, time)).collect()).collect());

fn new_id(message: usize, time: u8) -> MessageId {
    let content = Bytes::from(format!("message {message}"));
    MessageId::of_message(&ORGANIZATION, &SENDER, at(time), &[RECIPIENT], &Sha256Digest::of(&content))
}

/// What one replica has of the mailbox, and one of what is fetched.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) items: usize,
    pub(crate) fetched: usize,
}

impl View<'_> {
    fn ids(&self, range: IdRange, limit: usize, which: impl Fn(&Message) -> bool) -> Vec<MessageId> {
        let messages = self.state.messages.iter().enumerate();
        let seen =
            messages.filter_map(|(number, held)| held.filter(|held| which(held)).map(|held| id(number, held.time)));
        let mut ids: Vec<MessageId> = seen.filter(|id| in_range(range, id)).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }
}

fn in_range(range: IdRange, id: &MessageId) -> bool {
    (range.first_bytes()..=range.last_bytes()).contains(id.as_bytes())
}

#[async_trait]
impl Mailbox for View<'_> {
    async fn put(&self, _: &StoredMessage) -> Result<(), StoreError> {
        unreachable!("a listing writes nothing")
    }

    async fn message(&self, _: OrganizationId, _: MessageId) -> Result<Option<StoredMessage>, StoreError> {
        unreachable!("a listing reads no content")
    }

    async fn items(
        &self,
        _: OrganizationId,
        _: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let ids = self.ids(range, limit, |message| message.visible[self.items]);
        let item = |id| Item { id, kind: ItemKind::Message, from: SENDER, of: None, size: 9 };
        Ok(ids.into_iter().map(item).collect())
    }

    async fn add_fetched(&self, _: &ClientAddress, _: &[MessageId]) -> Result<(), StoreError> {
        unreachable!("a listing writes nothing")
    }

    async fn fetched(&self, _: &ClientAddress, range: IdRange, limit: usize) -> Result<Vec<MessageId>, StoreError> {
        Ok(self.ids(range, limit, |message| message.confirmed[self.fetched]))
    }

    async fn fetched_among(&self, _: &ClientAddress, _: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        unreachable!("a full merge makes no point reads")
    }
}
