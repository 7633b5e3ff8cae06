//! A linearizable registry whose calls get lost, or are done without anybody's learning of it, or much later.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::environment::Environment;
use super::history::{Fate, Part};
use super::steps::pause;
use crate::store::memory::MemoryStore;
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError};

/// Work that is done much later, or never.
type LateWork = BoxFuture<'static, ()>;

/// The registry.
pub(crate) struct SimulatedRegistry {
    environment: Arc<Environment>,
    /// What stands, for whoever looks from outside.
    pub(crate) memory: Arc<MemoryStore>,
    late: Mutex<Vec<LateWork>>,
}

impl SimulatedRegistry {
    pub(crate) fn new(environment: &Arc<Environment>) -> Arc<Self> {
        Arc::new(Self { environment: Arc::clone(environment), memory: Arc::default(), late: Mutex::default() })
    }

    /// Does late work that a number picks.
    pub(crate) fn do_late_work(&self, pick: usize) {
        let mut late = self.late.lock().unwrap();
        if !late.is_empty() {
            let at = pick % late.len();
            late.remove(at).now_or_never().expect("the memory store does not wait");
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let fate = self.environment.take_fate(Part::Registry);
        pause().await;
        match fate {
            Some(Fate::RequestLost) => Err(StoreError::Timeout),
            Some(Fate::Late) => {
                self.late.lock().unwrap().push(work.map(drop).boxed());
                Err(StoreError::Timeout)
            }
            Some(Fate::ReplyLost) => {
                work.await?;
                Err(StoreError::Timeout)
            }
            None => {
                let outcome = work.await;
                pause().await;
                outcome
            }
        }
    }
}

#[async_trait]
impl Registry for SimulatedRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let (memory, entry) = (Arc::clone(&self.memory), entry.clone());
        self.call(async move { memory.append(organization, sequence, &entry).await }).await
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let memory = Arc::clone(&self.memory);
        self.call(async move { memory.log(organization, first, limit).await }).await
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let (memory, record) = (Arc::clone(&self.memory), record.clone());
        self.call(async move { memory.put_user(organization, &record).await }).await
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let memory = Arc::clone(&self.memory);
        self.call(async move { memory.user(organization, user).await }).await
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let memory = Arc::clone(&self.memory);
        self.call(async move { memory.users(organization, after, limit).await }).await
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let (memory, client) = (Arc::clone(&self.memory), *client);
        self.call(async move { memory.claim_place(&client, limit, since).await }).await
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        let memory = Arc::clone(&self.memory);
        self.call(async move { memory.clients(organization, user).await }).await
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let (memory, client) = (Arc::clone(&self.memory), *client);
        self.call(async move { memory.free_place(&client).await }).await
    }
}
