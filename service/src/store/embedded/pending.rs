//! Rows that are durable in the journal and not yet in the tables, in ordered maps.
//!
//! Two generations: one that takes new rows, and one that is being merged into the tables. Invariant: a row is in one
//! of them until the tables have it. So who looks here first and at the tables afterwards sees every row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;

use super::record::{FetchedKey, ItemKey, MessageKey, fetched_key, id_of, item_key, message_key};
use crate::store::{IdRange, StoredMessage};

/// Bytes that a row takes in a map, besides its record: key, value, and its part of the nodes.
const ROW_BYTES: usize = 160;

/// What a record of the journal says, without its content: that is in the record itself.
///
/// The content came in a buffer of the connection. Kept here, it would keep that buffer, and be freed by another thread.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    /// A message, and whom it is for.
    Message { organization: OrganizationId, item: Item, recipients: Vec<UserId> },
    /// Messages that a client has fetched.
    Fetched(ClientAddress, Vec<MessageId>),
}

impl Rows {
    pub(super) fn of_message(message: &StoredMessage) -> Self {
        let StoredMessage { organization, recipients, .. } = message;
        Self::Message { organization: *organization, item: message.item(), recipients: recipients.clone() }
    }
}

/// Rows of one stretch of the journal.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub(super) messages: BTreeMap<MessageKey, Bytes>,
    pub(super) items: BTreeMap<ItemKey, Item>,
    pub(super) fetched: BTreeSet<FetchedKey>,
    bytes: usize,
}

impl Generation {
    /// Takes in what a record says, and the record.
    pub(super) fn insert(&mut self, rows: &Rows, record: Bytes) {
        match rows {
            Rows::Message { organization, item, recipients } => {
                self.bytes += record.len() + (recipients.len() + 1) * ROW_BYTES;
                for recipient in recipients {
                    self.items.insert(item_key(*organization, *recipient, *item.id.as_bytes()), *item);
                }
                self.messages.insert(message_key(*organization, item.id), record);
            }
            Rows::Fetched(client, ids) => {
                self.bytes += ids.len() * ROW_BYTES;
                self.fetched.extend(ids.iter().map(|id| fetched_key(client, *id.as_bytes())));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.items.is_empty() && self.fetched.is_empty()
    }
}

/// Both generations.
#[derive(Debug, Default)]
pub(super) struct Pending(RwLock<Generations>);

#[derive(Debug, Default)]
struct Generations {
    active: Generation,
    merging: Option<Arc<Generation>>,
}

impl Pending {
    fn read<T>(&self, look: impl Fn(&Generation) -> T) -> [Option<T>; 2] {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        [Some(look(&generations.active)), generations.merging.as_deref().map(look)]
    }

    /// Takes in records with what they say, and returns how many bytes the active generation then holds.
    pub(super) fn insert<'a>(&self, records: impl IntoIterator<Item = (&'a Rows, Bytes)>) -> usize {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (rows, record) in records {
            generations.active.insert(rows, record);
        }
        generations.active.bytes
    }

    /// Takes the active generation for merging, and begins a new one. The one before must have been merged.
    pub(super) fn freeze(&self) -> Arc<Generation> {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(generations.merging.is_none(), "one generation is merged at a time");
        let frozen = Arc::new(std::mem::take(&mut generations.active));
        generations.merging = Some(Arc::clone(&frozen));
        frozen
    }

    /// Drops the generation that the tables now have.
    pub(super) fn merged(&self) {
        let merged = self.0.write().unwrap_or_else(PoisonError::into_inner).merging.take();
        // Freed outside of the lock: it may be large.
        drop(merged);
    }

    pub(super) fn message(&self, organization: OrganizationId, id: MessageId) -> Option<Bytes> {
        let key = message_key(organization, id);
        self.read(|generation| generation.messages.get(&key).cloned()).into_iter().flatten().flatten().next()
    }

    pub(super) fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Vec<Item> {
        let first = item_key(organization, user, range.first_bytes());
        let last = item_key(organization, user, range.last_bytes());
        let rows = self.read(|generation| {
            generation.items.range(first..=last).take(limit).map(|(_, item)| *item).collect::<Vec<Item>>()
        });
        rows.into_iter().flatten().flatten().collect()
    }

    pub(super) fn fetched(&self, client: &ClientAddress, range: IdRange, limit: usize) -> Vec<MessageId> {
        let (first, last) = (fetched_key(client, range.first_bytes()), fetched_key(client, range.last_bytes()));
        let rows = self.read(|generation| {
            generation.fetched.range(first..=last).take(limit).filter_map(|key| id_of(key)).collect::<Vec<_>>()
        });
        rows.into_iter().flatten().flatten().collect()
    }

    /// Returns those of `ids` that are here, in their order.
    pub(super) fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Vec<MessageId> {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let both = || std::iter::once(&generations.active).chain(generations.merging.as_deref());
        let held = ids.iter().filter(|id| {
            let key = fetched_key(client, *id.as_bytes());
            both().any(|generation| generation.fetched.contains(&key))
        });
        held.copied().collect()
    }
}
