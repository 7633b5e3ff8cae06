//! Set-up: organizations by real statements, sessions by real password requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_protocol::body::AnsweredEntry;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::{SessionGrant, password_text};
use countersign_protocol::statement::{Change, Statement};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::clock::wall;
use crate::connection::Connection;
use crate::keys::Person;
use crate::random::Random;

/// Clients of each user.
pub(crate) const CLIENTS: usize = 2;

/// A user whose certificate is a person's.
#[derive(Clone)]
pub(crate) struct User {
    /// Their organization.
    pub(crate) organization: OrganizationId,
    /// Their id.
    pub(crate) id: UserId,
    person: Arc<Person>,
}

/// The users of a service: organization by organization, all of the same size.
#[derive(Clone)]
pub(crate) struct World {
    /// All users.
    pub(crate) users: Arc<Vec<User>>,
    /// Users of each organization.
    pub(crate) per_organization: usize,
}

/// The two who create organizations.
#[derive(Clone)]
pub(crate) struct SuperAdministrators(pub(crate) [Arc<Person>; 2]);

impl SuperAdministrators {
    /// Writes their certificates to a file.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let Self([one, other]) = self;
        Ok(std::fs::write(file, format!("{}\n{}", one.certificate, other.certificate))?)
    }
}

/// How many of what are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Organizations.
    pub(crate) organizations: usize,
    /// Users of each.
    pub(crate) users: usize,
}

/// Sets up organizations, users and their clients' sessions. Of each organization the first user is the one
/// administrator.
pub(crate) async fn set_up(
    address: SocketAddr,
    supers: &SuperAdministrators,
    people: &[Arc<Person>],
    size: Size,
    random: &mut Random,
) -> Result<(World, Vec<Client>)> {
    ensure!(people.len() >= size.users, "there are too few people for {} users", size.users);
    let mut tasks = JoinSet::new();
    for number in 0..size.organizations {
        let organization = OrganizationId::from(random.uuid());
        let users: Vec<User> = people
            .iter()
            .take(size.users)
            .map(|person| User { organization, id: random.uuid().into(), person: Arc::clone(person) })
            .collect();
        let clients: Vec<ClientId> = (0..size.users * CLIENTS).map(|_| random.uuid().into()).collect();
        let supers = supers.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            add_users(&mut connection, &supers, &users).await?;
            let mut sessions = Vec::with_capacity(clients.len());
            for (user, client) in users.iter().flat_map(|user| std::iter::repeat_n(user, CLIENTS)).zip(clients) {
                sessions.push(session(&mut connection, user, client).await?);
            }
            anyhow::Ok((number, users, sessions))
        });
    }
    let mut organizations = Vec::new();
    while let Some(organization) = tasks.join_next().await {
        organizations.push(organization??);
    }
    organizations.sort_by_key(|(number, ..)| *number);
    let (mut users, mut clients) = (Vec::new(), Vec::new());
    for (_, of_users, of_clients) in organizations {
        users.extend(of_users);
        clients.extend(of_clients);
    }
    Ok((World { users: Arc::new(users), per_organization: size.users }, clients))
}

async fn add_users(connection: &mut Connection, supers: &SuperAdministrators, users: &[User]) -> Result<()> {
    let administrator = users.first().context("an organization has at least one user")?;
    let SuperAdministrators([one, other]) = supers;
    let mut previous: Option<Sha256Digest> = None;
    for (sequence, user) in users.iter().enumerate() {
        let certificate = user.person.certificate.clone();
        let (change, path, signers) = if sequence == 0 {
            let change = Change::CreateOrganization { user: user.id, certificate };
            (change, format!("/{}", user.organization), vec![one, other])
        } else {
            let change = Change::AddUser { user: user.id, certificate, administrator: false, client_limit: None };
            (change, format!("/{}/{}", user.organization, user.id), vec![&administrator.person])
        };
        let now = wall();
        let statement = Statement::compose(user.organization, u64::try_from(sequence)?, previous, now, change);
        previous = Some(Sha256Digest::of(statement.as_bytes()));
        let signatures = signers.iter().map(|signer| signer.sign_armored(statement.as_bytes(), now));
        let entry = AnsweredEntry { signatures: signatures.collect::<Result<_>>()?, statement };
        let body = serde_json::to_vec(&entry)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = connection.exchange(&[head.as_bytes(), &body].concat()).await?;
        ensure!(answer.status == 201, "a statement is refused: {}", answer.text());
    }
    Ok(())
}

/// Writes a signed request for a session key.
pub(crate) fn password_request(user: &User, client: ClientId) -> Result<(ClientAddress, Nonce, String)> {
    let User { organization, id: user, person } = user;
    let address = ClientAddress { organization: *organization, user: *user, client };
    let now = wall();
    let nonce = Nonce::at(now);
    let signature = person.sign(password_text(&address, nonce).as_bytes(), now)?;
    let request = format!(
        "GET /{organization}/{user}/password?client={client} HTTP/1.1\r\nhost: localhost\r\n\
         authorization: OpenPGP nonce=\"{nonce}\", signature=\"{}\"\r\n\r\n",
        STANDARD.encode(signature)
    );
    Ok((address, nonce, request))
}

async fn session(connection: &mut Connection, user: &User, client: ClientId) -> Result<Client> {
    match try_session(connection, user, client).await? {
        Ok(client) => Ok(client),
        Err(refusal) => bail!("a session is refused: {refusal}"),
    }
}

/// Asks for a session, which may be refused for now.
pub(crate) async fn try_session(
    connection: &mut Connection,
    user: &User,
    client: ClientId,
) -> Result<Result<Client, String>> {
    let (address, nonce, request) = password_request(user, client)?;
    let answer = connection.exchange(request.as_bytes()).await?;
    if answer.status == 503 {
        return Ok(Err(answer.text()));
    }
    ensure!(answer.status == 200, "a session is refused: {}", answer.text());
    let grant: SessionGrant = serde_json::from_slice(&user.person.decrypt(answer.body)?)?;
    ensure!(grant.nonce == nonce, "the session key is for another request");
    Client::new(address, grant.key).map(Ok)
}
