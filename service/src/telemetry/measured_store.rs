//! Times every call of a store.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;

use super::measured::Measured;
use super::metrics::Metrics;
use crate::store::{Append, Claim, ClientPlace, IdRange, Mailbox, Registry, Store, StoreError, StoredMessage};

/// Wraps both halves of a store.
#[must_use]
pub fn measured(store: Store, metrics: &Arc<Metrics>) -> Store {
    let record = Metrics::store_call;
    Store {
        registry: Arc::new(Measured { inner: store.registry, system: "store", metrics: Arc::clone(metrics), record }),
        mailbox: Arc::new(Measured { inner: store.mailbox, system: "store", metrics: Arc::clone(metrics), record }),
    }
}

#[async_trait]
impl Registry for Measured<dyn Registry> {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        self.time("append", self.inner.append(organization, sequence, entry)).await
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        self.time("log", self.inner.log(organization, first, limit)).await
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        self.time("put_user", self.inner.put_user(organization, record)).await
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        self.time("user", self.inner.user(organization, user)).await
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        self.time("users", self.inner.users(organization, after, limit)).await
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        self.time("claim_place", self.inner.claim_place(client, limit, since)).await
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        self.time("clients", self.inner.clients(organization, user)).await
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        self.time("free_place", self.inner.free_place(client)).await
    }
}

#[async_trait]
impl Mailbox for Measured<dyn Mailbox> {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        self.time("put", self.inner.put(message)).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        self.time("message", self.inner.message(organization, id)).await
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.time("items", self.inner.items(organization, user, range, limit)).await
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        self.time("add_fetched", self.inner.add_fetched(client, ids)).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.time("fetched", self.inner.fetched(client, range, limit)).await
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        self.time("fetched_among", self.inner.fetched_among(client, ids)).await
    }
}
