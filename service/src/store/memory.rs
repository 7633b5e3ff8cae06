//! The in-memory store: the reference implementation of the contract, in the plainest possible code.
//!
//! It lasts as long as its process. Tests and simulations use it, and `COUNTERSIGN_STORE=memory:` for a try.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use countersign_protocol::two_man_rule::UserRecord;

use super::{
    Append, Claim, ClientPlace, IdRange, Mailbox, Registry, Store, StoreError, StoredMessage, free_place_for,
};

/// Makes an empty store.
#[must_use]
pub fn open() -> Store {
    let memory = Arc::new(MemoryStore::default());
    Store { registry: Arc::clone(&memory) as Arc<dyn Registry>, mailbox: memory }
}

/// Everything in ordered maps behind one lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    log: BTreeMap<(OrganizationId, u64), LogEntry>,
    users: BTreeMap<(OrganizationId, UserId), UserRecord>,
    places: BTreeMap<(OrganizationId, UserId, u32), ClientPlace>,
    messages: BTreeMap<(OrganizationId, MessageId), StoredMessage>,
    items: BTreeMap<(OrganizationId, UserId, [u8; 16]), Item>,
    fetched: BTreeMap<(ClientAddress, [u8; 16]), MessageId>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is older than `before`, as retention does.
    pub fn expire(&self, before: UnixMillis) {
        let mut tables = self.tables();
        tables.messages.retain(|(_, id), _| id.time() >= before);
        tables.items.retain(|_, item| item.id.time() >= before);
        tables.fetched.retain(|_, id| id.time() >= before);
    }
}

#[async_trait]
impl Registry for MemoryStore {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let mut tables = self.tables();
        if tables.log.contains_key(&(organization, sequence)) {
            return Ok(Append::Taken);
        }
        tables.log.insert((organization, sequence), entry.clone());
        Ok(Append::Appended)
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let tables = self.tables();
        let range = tables.log.range((organization, first)..=(organization, u64::MAX));
        Ok(range.take(limit).map(|((_, sequence), entry)| (*sequence, entry.clone())).collect())
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let key = (organization, record.user);
        if tables.users.get(&key).is_none_or(|held| held.changed < record.changed) {
            tables.users.insert(key, record.clone());
        }
        Ok(())
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        Ok(self.tables().users.get(&(organization, user)).cloned())
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let tables = self.tables();
        let range = tables.users.range((organization, UserId::from_bytes([0; 16]))..);
        let of_organization = range.take_while(|((held, _), _)| *held == organization);
        let rest = of_organization.filter(|((_, user), _)| after.is_none_or(|after| *user > after));
        Ok(rest.take(limit).map(|(_, record)| record.clone()).collect())
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let mut tables = self.tables();
        let held = places_of(&tables, client.organization, client.user);
        if held.iter().any(|place| place.client == client.client) {
            return Ok(Claim::Held);
        }
        let Some(place) = free_place_for(&held, limit) else {
            return Ok(Claim::Full);
        };
        let key = (client.organization, client.user, place);
        tables.places.insert(key, ClientPlace { place, client: client.client, since });
        Ok(Claim::Claimed)
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        Ok(places_of(&self.tables(), organization, user))
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let held = places_of(&tables, client.organization, client.user);
        let Some(place) = held.iter().find(|place| place.client == client.client) else {
            return Ok(false);
        };
        tables.places.remove(&(client.organization, client.user, place.place));
        Ok(true)
    }
}

fn places_of(tables: &Tables, organization: OrganizationId, user: UserId) -> Vec<ClientPlace> {
    let range = tables.places.range((organization, user, 0)..=(organization, user, u32::MAX));
    range.map(|(_, place)| *place).collect()
}

#[async_trait]
impl Mailbox for MemoryStore {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.messages.insert((message.organization, message.id), message.clone());
        for recipient in &message.recipients {
            tables.items.insert((message.organization, *recipient, *message.id.as_bytes()), message.item());
        }
        Ok(())
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        Ok(self.tables().messages.get(&(organization, id)).cloned())
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let first = (organization, user, range.first_bytes());
        let last = (organization, user, range.last_bytes());
        Ok(tables.items.range(first..=last).take(limit).map(|(_, item)| *item).collect())
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.fetched.extend(ids.iter().map(|id| ((*client, *id.as_bytes()), *id)));
        Ok(())
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let rows = tables.fetched.range((*client, range.first_bytes())..=(*client, range.last_bytes()));
        Ok(rows.take(limit).map(|(_, id)| *id).collect())
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let tables = self.tables();
        let held = ids.iter().filter(|id| tables.fetched.contains_key(&(*client, *id.as_bytes())));
        Ok(held.copied().collect::<BTreeSet<_>>().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;

    #[expect(clippy::unused_async, reason = "other backends' fixtures wait for a server")]
    async fn fixture() -> (super::Store, ()) {
        (super::open(), ())
    }

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}
