//! Who the canary is: a user of an organization, and the ids of its two clients, kept so that a restart takes no new places.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_client::entropy::Entropy;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use serde::{Deserialize, Serialize};

use crate::keys::Person;
use crate::people::{Organization, SetUp, User};

/// A user with a client that writes and one that reads.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key.
    pub person: Arc<Person>,
    /// The client that writes.
    pub sender: ClientAddress,
    /// The client that reads.
    pub receiver: ClientAddress,
}

/// How many clients the canary needs.
const CLIENTS: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Clients {
    sender: ClientId,
    receiver: ClientId,
}

impl Identity {
    /// Reads who the canary of a folder is; none if it has none yet.
    ///
    /// # Errors
    /// If the folder's files are not whole.
    pub fn kept(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join("clients.json");
        if !file.exists() {
            return Ok(None);
        }
        let organization = Organization::kept(folder)?;
        let user = organization.users.first().context("the canary's organization has no user")?;
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let clients = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Some(Self::of(organization.id, user, &clients)))
    }

    /// Takes a user whom an organization's administrators have added, and keeps it in a folder.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn of_user(
        folder: &Path,
        organization: OrganizationId,
        user: UserId,
        person: Arc<Person>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let organization = Organization { id: organization, users: vec![User { id: user, person }] };
        Self::keep(folder, &organization, entropy)
    }

    /// Creates an organization of the canary's own, and keeps it in a folder.
    ///
    /// # Errors
    /// If the service does not know the super-administrators, or the folder cannot be written.
    pub async fn create(folder: &Path, set_up: SetUp<'_>, person: Arc<Person>) -> Result<Self> {
        let set_up = SetUp { client_limit: CLIENTS, ..set_up };
        let organization = Organization::create(&set_up, &[person]).await?;
        Self::keep(folder, &organization, set_up.entropy)
    }

    fn keep(folder: &Path, organization: &Organization, entropy: &dyn Entropy) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let user = organization.users.first().context("the canary is a user")?;
        let id = || organization.new_client(user.id, entropy).client;
        let clients = Clients { sender: id(), receiver: id() };
        organization.keep(folder)?;
        let file = folder.join("clients.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&clients)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self::of(organization.id, user, &clients))
    }

    fn of(organization: OrganizationId, user: &User, clients: &Clients) -> Self {
        let address = |client| ClientAddress { organization, user: user.id, client };
        Self {
            person: Arc::clone(&user.person),
            sender: address(clients.sender),
            receiver: address(clients.receiver),
        }
    }
}
