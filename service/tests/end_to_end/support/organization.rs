//! An organization that is changed by statements under the two-man rule.

use bytes::Bytes;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;
use http::{Method, Request};

use super::client::Client;
use super::gnupg::{Key, keys};
use super::http::{Answer, Content, Http};
use super::ledger::Person;
use super::time::{now, random};

/// An organization as its administrators know it.
#[derive(Clone)]
pub(crate) struct Organization {
    pub(crate) id: OrganizationId,
    pub(crate) head: Option<Head>,
    /// Who signs changes.
    pub(crate) signers: Vec<Key>,
}

impl Organization {
    /// Chooses an id. Nothing is created.
    pub(crate) fn new() -> Self {
        Self { id: random(), head: None, signers: Vec::new() }
    }

    /// Creates an organization with its first administrator.
    pub(crate) async fn create(http: &Http, first: &Key) -> (Self, UserId) {
        let mut organization = Self::new();
        organization.signers = keys().await.supers[..2].to_vec();
        let user = random();
        let change = Change::CreateOrganization { user, certificate: first.certificate.clone() };
        organization.change(http, change).await;
        organization.signers = vec![first.clone()];
        (organization, user)
    }

    /// Creates an organization of Alice, Bob and Carol, where Alice is named twice: she has two devices that send.
    pub(crate) async fn of_three(http: &Http) -> (Self, [Person; 4]) {
        let keys = keys().await;
        let (mut organization, alice) = Self::create(http, &keys.alice).await;
        let bob = organization.add(http, &keys.bob, false).await;
        let carol = organization.add(http, &keys.carol, false).await;
        let person = |user, key: &Key| Person { user, key: key.clone() };
        let alice = person(alice, &keys.alice);
        (organization, [alice.clone(), person(bob, &keys.bob), person(carol, &keys.carol), alice])
    }

    /// Adds a user; the administrators so far sign.
    pub(crate) async fn add(&mut self, http: &Http, key: &Key, administrator: bool) -> UserId {
        let user = random();
        let certificate = key.certificate.clone();
        self.change(http, Change::AddUser { user, certificate, administrator, client_limit: None }).await;
        if administrator {
            self.signers.push(key.clone());
        }
        user
    }

    /// Makes a change, signed by two of the signers if there are so many.
    pub(crate) async fn change(&mut self, http: &Http, change: Change) -> Head {
        let entry = self.entry(change).await;
        let head: Head = submit(http, &entry).await.json(if updates(&entry) { 200 } else { 201 });
        self.head = Some(head);
        head
    }

    /// Writes the next statement, dated now, and has it signed.
    pub(crate) async fn entry(&self, change: Change) -> LogEntry {
        let signers: Vec<&Key> = self.signers.iter().take(2).collect();
        signed(self.compose(change, now()), &signers).await
    }

    /// Writes the next statement.
    pub(crate) fn compose(&self, change: Change, time: UnixMicros) -> String {
        let sequence = self.head.map_or(0, |head| head.sequence + 1);
        Statement::compose(self.id, sequence, self.head.map(|head| head.hash), time, change)
    }

    /// Begins a session of a new client of a user.
    pub(crate) async fn client(&self, http: &Http, user: UserId, key: &Key) -> Client {
        Client::begin(http, self.address(user, random()), key).await
    }

    /// Returns the address of a client.
    pub(crate) fn address(&self, user: UserId, client: ClientId) -> ClientAddress {
        ClientAddress { organization: self.id, user, client }
    }
}

/// Signs a statement.
pub(crate) async fn signed(statement: String, signers: &[&Key]) -> LogEntry {
    let mut signatures = Vec::new();
    for signer in signers {
        signatures.push(signer.sign_armored(&statement).await);
    }
    LogEntry { statement, signatures }
}

fn updates(entry: &LogEntry) -> bool {
    matches!(Statement::parse(&entry.statement).unwrap().change, Change::UpdateUser { .. })
}

/// Submits a statement to where its kind belongs.
pub(crate) async fn submit(http: &Http, entry: &LogEntry) -> Answer {
    http.send(submission(entry)).await
}

/// Writes the request that submits a statement to where its kind belongs.
pub(crate) fn submission(entry: &LogEntry) -> Request<Content> {
    let statement = Statement::parse(&entry.statement).unwrap();
    let organization = statement.organization;
    let (method, target) = match &statement.change {
        Change::CreateOrganization { .. } => (Method::POST, format!("/{organization}")),
        Change::AddUser { user, .. } => (Method::POST, format!("/{organization}/{user}")),
        Change::UpdateUser { user, .. } => (Method::PUT, format!("/{organization}/{user}")),
    };
    submission_to(method, &target, serde_json::to_vec(entry).unwrap())
}

/// Writes a request with a statement's body.
pub(crate) fn submission_to(method: Method, target: &str, body: Vec<u8>) -> Request<Content> {
    Request::builder().method(method).uri(target).body(Content::Whole(Bytes::from(body))).unwrap()
}

/// Returns an update that changes nothing yet.
pub(crate) fn update(user: UserId) -> Change {
    Change::UpdateUser { user, certificate: None, administrator: None, active: None, client_limit: None }
}

/// Returns an update of a user's activity.
pub(crate) fn activity(user: UserId, active: bool) -> Change {
    Change::UpdateUser { user, certificate: None, administrator: None, active: Some(active), client_limit: None }
}

/// Returns an update of a user's client limit.
pub(crate) fn client_limit(user: UserId, limit: u32) -> Change {
    Change::UpdateUser { user, certificate: None, administrator: None, active: None, client_limit: Some(limit) }
}

/// Returns an update of a user's certificate.
pub(crate) fn certificate(user: UserId, key: &Key) -> Change {
    let certificate = Some(key.certificate.clone());
    Change::UpdateUser { user, certificate, administrator: None, active: None, client_limit: None }
}

/// Returns an update of whether a user is an administrator.
pub(crate) fn administration(user: UserId, administrator: bool) -> Change {
    let administrator = Some(administrator);
    Change::UpdateUser { user, certificate: None, administrator, active: None, client_limit: None }
}
