//! Organizations and their users, set up by the real protocol: statements under the two-man rule.
//!
//! Owns: who there is, and the order of set-up. Refuses to know: what they do then.
//!
//! Invariant: a statement that was not answered is submitted again as it is, which the protocol answers the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use countersign_client::clock::Clock;
use countersign_client::connection::HttpClient;
use countersign_client::entropy::{Entropy, random_id};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::problem::{Problem, ProblemType};
use countersign_protocol::statement::{Change, Statement};
use http::Request;
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::keys::{Person, SuperAdministrators, read_people, write_people};
use crate::wire::Targets;

/// How long one answer to a statement may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a statement is submitted again, and how long is waited in between.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// A user: an id, and the key of the certificate that the log has for it.
#[derive(Clone, Debug)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The key.
    pub person: Arc<Person>,
}

/// An organization and its users. The first one is its one administrator.
#[derive(Clone, Debug)]
pub struct Organization {
    /// The id.
    pub id: OrganizationId,
    /// The users, in the order in which they were added.
    pub users: Vec<User>,
}

/// The ids of an organization, as they are kept in a file beside the keys.
#[derive(Serialize, Deserialize)]
struct Kept {
    organization: OrganizationId,
    users: Vec<UserId>,
}

/// What setting up takes.
#[derive(Clone, Copy, Debug)]
pub struct SetUp<'a> {
    /// The service.
    pub targets: &'a Targets,
    /// Who creates organizations there.
    pub super_administrators: &'a SuperAdministrators,
    /// How many clients each user may have.
    pub client_limit: u32,
    /// The time of statements.
    pub clock: &'a dyn Clock,
    /// Where ids come from.
    pub entropy: &'a dyn Entropy,
}

impl Organization {
    /// Creates a new organization of these people.
    ///
    /// # Errors
    /// If the service refuses a statement, or cannot be reached for half a minute.
    pub async fn create(set_up: &SetUp<'_>, people: &[Arc<Person>]) -> Result<Self> {
        Self::create_telling(set_up, people, &|| {}).await
    }

    /// Creates a new organization of these people, and tells after each that is in.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_telling(
        set_up: &SetUp<'_>,
        people: &[Arc<Person>],
        tell: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let id = random_id(set_up.entropy).into();
        let users: Vec<User> = people
            .iter()
            .map(|person| User { id: random_id(set_up.entropy).into(), person: Arc::clone(person) })
            .collect();
        let administrator = users.first().context("an organization has at least one user")?;
        let SuperAdministrators([one, other]) = set_up.super_administrators;
        let certificate = |user: &User| user.person.certificate().to_owned();
        let limit = Some(set_up.client_limit);
        let mut log = Log { organization: id, sequence: 0, previous: None };

        let creation = Change::CreateOrganization { user: administrator.id, certificate: certificate(administrator) };
        log.append(set_up, creation, &[one, other]).await?;
        let own = Change::UpdateUser {
            user: administrator.id,
            certificate: None,
            administrator: None,
            active: None,
            client_limit: limit,
        };
        log.append(set_up, own, &[&administrator.person]).await?;
        tell();
        for user in users.iter().skip(1) {
            let certificate = certificate(user);
            let change = Change::AddUser { user: user.id, certificate, administrator: false, client_limit: limit };
            log.append(set_up, change, &[&administrator.person]).await?;
            tell();
        }
        Ok(Self { id, users })
    }

    /// Returns the address of a new client of a user.
    pub fn new_client(&self, user: UserId, entropy: &dyn Entropy) -> ClientAddress {
        ClientAddress { organization: self.id, user, client: ClientId::from(random_id(entropy)) }
    }

    /// Finds a user's key.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn person(&self, user: UserId) -> Result<&Arc<Person>> {
        let found = self.users.iter().find(|each| each.id == user);
        Ok(&found.with_context(|| format!("{user} is no user of {}", self.id))?.person)
    }

    /// Keeps ids and keys in a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_people(&folder.join("people.pgp"), self.users.iter().map(|user| &user.person))?;
        let kept = Kept { organization: self.id, users: self.users.iter().map(|user| user.id).collect() };
        let file = folder.join("organization.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&kept)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Reads what was kept in a folder.
    ///
    /// # Errors
    /// If it is not whole.
    pub fn kept(folder: &Path) -> Result<Self> {
        let file = folder.join("organization.json");
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let Kept { organization, users } = serde_json::from_slice(&text)?;
        let people = read_people(&folder.join("people.pgp"))?;
        ensure!(people.len() == users.len(), "{} and the keys beside it do not go together", file.display());
        let users = users.into_iter().zip(people).map(|(id, person)| User { id, person }).collect();
        Ok(Self { id: organization, users })
    }
}

/// The end of an organization's log.
struct Log {
    organization: OrganizationId,
    sequence: u64,
    previous: Option<Sha256Digest>,
}

impl Log {
    async fn append(&mut self, set_up: &SetUp<'_>, change: Change, signers: &[&Arc<Person>]) -> Result<()> {
        let path = match (&change, self.organization) {
            (Change::CreateOrganization { .. }, organization) => format!("/{organization}"),
            (change, organization) => format!("/{organization}/{}", change.user()),
        };
        let method = if matches!(change, Change::UpdateUser { .. }) { "PUT" } else { "POST" };
        let now = set_up.clock.now();
        let statement = Statement::compose(self.organization, self.sequence, self.previous, now, change);
        self.sequence += 1;
        self.previous = Some(Sha256Digest::of(statement.as_bytes()));
        let signatures: Result<Vec<String>> =
            signers.iter().map(|signer| signer.sign_armored(statement.as_bytes(), now)).collect();
        let body = serde_json::to_vec(&LogEntry { signatures: signatures?, statement })?;
        submit(set_up.targets.first()?, method, &path, body.into()).await
    }
}

/// Submits a statement until it is answered.
async fn submit(http: &HttpClient, method: &str, path: &str, body: bytes::Bytes) -> Result<()> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", http.server()))
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        match http.send(request, PATIENCE).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => {
                let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
                last = problem.as_ref().map_or_else(|| answer.status.to_string(), |problem| problem.detail.clone());
                let passing = answer.status.is_server_error() || answer.status.as_u16() == 429;
                if !passing {
                    let hint = match problem.map(|problem| problem.kind) {
                        Some(ProblemType::TwoManRule) => {
                            "; the service must know the super-administrators: countersign-loadtest setup writes them"
                        }
                        _ => "",
                    };
                    bail!("{} refuses a statement: {last}{hint}", http.server());
                }
            }
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{} does not take a statement: {last}", http.server())
}
