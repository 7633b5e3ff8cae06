//! Times every call of the ephemeral store.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;

use super::measured::Measured;
use super::metrics::Metrics;
use crate::ephemeral::{
    Admission, Ephemeral, EphemeralError, Learned, ListingState, Needs, Recency, Session, SessionId, WakeUp,
};

/// Wraps an ephemeral store. Sweeping is not timed: nobody waits for it.
#[must_use]
pub fn measured_ephemeral(ephemeral: Arc<dyn Ephemeral>, metrics: &Arc<Metrics>) -> Arc<dyn Ephemeral> {
    Arc::new(Measured {
        inner: ephemeral,
        system: "ephemeral",
        metrics: Arc::clone(metrics),
        record: Metrics::ephemeral_call,
    })
}

#[async_trait]
impl Ephemeral for Measured<dyn Ephemeral> {
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        self.time("begin_session", self.inner.begin_session(client, session, now)).await
    }

    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        recency: Recency,
    ) -> Result<Option<Session>, EphemeralError> {
        self.time("session", self.inner.session(client, now, recency)).await
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError> {
        self.time("admit", self.inner.admit(client, session, nonce, needs)).await
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<bool, EphemeralError> {
        self.time("admit_password", self.inner.admit_password(client, nonce, now)).await
    }

    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError> {
        self.time("end_session", self.inner.end_session(client)).await
    }

    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError> {
        self.time("end_sessions", self.inner.end_sessions(organization, user)).await
    }

    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError> {
        self.time("listing_state", self.inner.listing_state(client, session)).await
    }

    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError> {
        self.time("remember", self.inner.remember(client, learned)).await
    }

    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        self.time("arrived", self.inner.arrived(organization, recipients, item, now)).await
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        self.time("wake_up", self.inner.wake_up(organization, user)).await
    }

    async fn sweep(&self, now: UnixMicros) -> usize {
        self.inner.sweep(now).await
    }
}
