//! An ephemeral store that many pods share, as they share Valkey: calls get lost, all of it may be forgotten, and a
//! replica that lags behind may take over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;

use super::environment::Environment;
use super::history::{Fate, Part};
use super::steps::pause;
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::{
    Admission, Ephemeral, EphemeralError, Learned, ListingHints, ListingState, Needs, Recency, Session, SessionId,
    WakeUp,
};

/// The store.
pub(crate) struct SimulatedValkey {
    environment: Arc<Environment>,
    primary: Mutex<Arc<LocalEphemeral>>,
    replica: Mutex<Arc<LocalEphemeral>>,
    /// How often each nonce was admitted since memory was last lost. Counted here, in the step that admits: what is answered later
    /// may be of a time before a loss.
    admitted: Mutex<BTreeMap<(ClientAddress, Nonce), u32>>,
}

impl SimulatedValkey {
    pub(crate) fn new(environment: &Arc<Environment>) -> Arc<Self> {
        let environment = Arc::clone(environment);
        Arc::new(Self {
            environment,
            primary: Mutex::default(),
            replica: Mutex::default(),
            admitted: Mutex::default(),
        })
    }

    fn primary(&self) -> Arc<LocalEphemeral> {
        Arc::clone(&self.primary.lock().unwrap())
    }

    /// Forgets everything.
    pub(crate) fn flush(&self) {
        *self.primary.lock().unwrap() = Arc::default();
        *self.replica.lock().unwrap() = Arc::default();
        self.admitted.lock().unwrap().clear();
    }

    /// Tells how often a nonce was admitted since memory was last lost.
    pub(crate) fn admissions(&self, client: &ClientAddress, nonce: Nonce) -> u32 {
        self.admitted.lock().unwrap().get(&(*client, nonce)).copied().unwrap_or_default()
    }

    /// Gives the replica all that the primary has.
    pub(crate) fn replicate(&self) {
        *self.replica.lock().unwrap() = Arc::new(self.primary().copy());
    }

    /// Has the replica take over, without what it did not get.
    pub(crate) fn fail_over(&self) {
        let replica = Arc::new(self.replica.lock().unwrap().copy());
        *self.primary.lock().unwrap() = replica;
        self.admitted.lock().unwrap().clear();
    }

    /// Returns the hints that a client's next listing would begin with.
    pub(crate) fn hints(&self, client: &ClientAddress) -> ListingHints {
        self.primary().hints(client)
    }

    /// Gets a call to the primary, if it gets there.
    async fn reach(&self) -> Result<Call, EphemeralError> {
        let fate = self.environment.take_fate(Part::Ephemeral);
        pause().await;
        // A command that timed out is done at once or not at all: connections keep their order.
        if matches!(fate, Some(Fate::RequestLost | Fate::Late)) {
            return Err(EphemeralError::Timeout);
        }
        Ok(Call { primary: self.primary(), reply_lost: fate == Some(Fate::ReplyLost) })
    }
}

struct Call {
    primary: Arc<LocalEphemeral>,
    reply_lost: bool,
}

impl Call {
    async fn answer<T>(self, outcome: Result<T, EphemeralError>) -> Result<T, EphemeralError> {
        pause().await;
        if self.reply_lost { Err(EphemeralError::Timeout) } else { outcome }
    }
}

#[async_trait]
impl Ephemeral for SimulatedValkey {
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.begin_session(client, session, now).await;
        call.answer(outcome).await
    }

    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        recency: Recency,
    ) -> Result<Option<Session>, EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.session(client, now, recency).await;
        call.answer(outcome).await
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.admit(client, session, nonce, needs).await;
        if matches!(outcome, Ok(Admission::Admitted(_))) {
            *self.admitted.lock().unwrap().entry((*client, nonce)).or_default() += 1;
        }
        call.answer(outcome).await
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<bool, EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.admit_password(client, nonce, now).await;
        call.answer(outcome).await
    }

    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.end_session(client).await;
        call.answer(outcome).await
    }

    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.end_sessions(organization, user).await;
        call.answer(outcome).await
    }

    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.listing_state(client, session).await;
        call.answer(outcome).await
    }

    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.remember(client, learned).await;
        call.answer(outcome).await
    }

    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        // Recipients may live on different nodes: each is a call of its own.
        for recipient in recipients {
            let call = self.reach().await?;
            let outcome = call.primary.arrived(organization, &[*recipient], item, now).await;
            call.answer(outcome).await?;
        }
        Ok(())
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        let call = self.reach().await?;
        let outcome = call.primary.wake_up(organization, user).await;
        call.answer(outcome).await
    }

    async fn sweep(&self, now: UnixMicros) -> usize {
        self.primary().sweep(now).await
    }
}
