//! A service with an organization in it: where most tests begin.

use countersign_protocol::id::UserId;

use super::client::Client;
use super::gnupg::keys;
use super::organization::Organization;
use super::process::{Service, Setup};

/// A running service, and an organization of Alice, who is its one administrator, and Bob.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) organization: Organization,
    pub(crate) alice: UserId,
    pub(crate) bob: UserId,
}

impl World {
    /// Starts a service as it is by default.
    pub(crate) async fn new() -> Self {
        Self::of(Setup::new().await).await
    }

    /// Starts a service.
    pub(crate) async fn of(setup: Setup) -> Self {
        let service = setup.start().await;
        let (mut organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
        let bob = organization.add(&service.http, &keys().await.bob, false).await;
        Self { service, organization, alice, bob }
    }

    /// Begins a session of a new client of Alice.
    pub(crate) async fn alice(&self) -> Client {
        self.organization.client(&self.service.http, self.alice, &keys().await.alice).await
    }

    /// Begins a session of a new client of Bob.
    pub(crate) async fn bob(&self) -> Client {
        self.organization.client(&self.service.http, self.bob, &keys().await.bob).await
    }
}
