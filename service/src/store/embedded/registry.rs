//! Organizations, users and client places: one redb file, written by one thread in groups.
//!
//! A group of operations is one transaction, in which each sees the ones before it: so conditional writes are
//! linearizable, and many of them cost one sync.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;
use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::record::join;
use super::tables::{engine, existing, open_file};
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError, free_place_for};

/// Key: organization, sequence. Value: the entry as JSON.
const LOG: TableDefinition<'static, [u8; 24], &[u8]> = TableDefinition::new("organization_log");
/// Key: organization, user. Value: the record as JSON.
const USERS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("user_record");
/// Key: organization, user, place. Value: client, since in microseconds.
const PLACES: TableDefinition<'static, [u8; 36], [u8; 24]> = TableDefinition::new("client_place");

/// Operations that may wait, and that one transaction takes.
const QUEUE: usize = 1024;
const GROUP: usize = 512;

type Operation = Box<dyn FnOnce(&WriteTransaction) -> Result<Answer, redb::Error> + Send>;
/// Told whether the transaction was committed.
type Answer = Box<dyn FnOnce(bool) + Send>;

/// The registry on this machine.
pub(super) struct EmbeddedRegistry {
    database: Arc<Database>,
    operations: mpsc::Sender<Command>,
}

enum Command {
    Run(Operation),
    Close,
}

/// The thread that writes the registry.
pub(super) struct RegistryThread {
    commands: mpsc::Sender<Command>,
    thread: std::thread::JoinHandle<()>,
}

impl RegistryThread {
    /// Ends the thread. Writes are refused from now on.
    pub(super) fn close(self) {
        let _ = self.commands.blocking_send(Command::Close);
        let _ = self.thread.join();
    }
}

/// Opens the file and starts the thread.
pub(super) fn open(path: &Path) -> Result<(EmbeddedRegistry, RegistryThread), StoreError> {
    let database = Arc::new(open_file(path)?);
    let (operations, queue) = mpsc::channel(QUEUE);
    let written = Arc::clone(&database);
    let thread = std::thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || write(&written, queue))
        .map_err(|error| StoreError::Unavailable(error.into()))?;
    let thread = RegistryThread { commands: operations.clone(), thread };
    Ok((EmbeddedRegistry { database, operations }, thread))
}

fn write(database: &Database, mut queue: mpsc::Receiver<Command>) {
    let mut group = Vec::with_capacity(GROUP);
    let mut closing = false;
    while !closing && queue.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        let committed = (|| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            for command in group.drain(..) {
                match command {
                    Command::Run(operation) => answers.push(operation(&transaction)?),
                    Command::Close => closing = true,
                }
            }
            transaction.commit()?;
            Ok(())
        })();
        group.clear();
        if let Err(error) = &committed {
            let error: &redb::Error = error;
            tracing::error!(error = error as &dyn std::error::Error, "a transaction of the registry failed");
        }
        for answer in answers {
            answer(committed.is_ok());
        }
    }
}

impl EmbeddedRegistry {
    /// Runs an operation in the next transaction, and returns its outcome when that is durable.
    async fn transact<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&WriteTransaction) -> Result<Result<T, StoreError>, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Without a commit the answer is dropped.
        let failed = || StoreError::Unavailable("the registry's transaction failed, or it is closed".into());
        let (done, outcome) = oneshot::channel();
        let run: Operation = Box::new(move |transaction| {
            let result = operation(transaction)?;
            let answer: Answer = Box::new(move |committed| {
                if committed {
                    let _ = done.send(result);
                }
            });
            Ok(answer)
        });
        self.operations.send(Command::Run(run)).await.map_err(|_| failed())?;
        outcome.await.map_err(|_| failed())?
    }

    fn read<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        read(&transaction).map_err(engine)
    }
}

// === Keys and values ===

fn log_key(organization: OrganizationId, sequence: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(organization.as_bytes());
    key[16..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn user_key(organization: OrganizationId, user: [u8; 16]) -> [u8; 32] {
    join([organization.as_bytes(), &user])
}

fn place_key(organization: OrganizationId, user: UserId, place: u32) -> [u8; 36] {
    let mut key = [0; 36];
    key[..16].copy_from_slice(organization.as_bytes());
    key[16..32].copy_from_slice(user.as_bytes());
    key[32..].copy_from_slice(&place.to_be_bytes());
    key
}

fn place_of(key: &[u8; 36], value: &[u8; 24]) -> ClientPlace {
    ClientPlace {
        place: u32::from_be_bytes(key.last_chunk().copied().unwrap_or_default()),
        client: ClientId::from_bytes(value.first_chunk().copied().unwrap_or_default()),
        since: UnixMicros(u64::from_be_bytes(value.last_chunk().copied().unwrap_or_default())),
    }
}

/// A user's record as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredUser {
    user: UserId,
    certificate: String,
    fingerprint: String,
    administrator: bool,
    active: bool,
    client_limit: Option<u32>,
    changed: u64,
    sessions_since: u64,
}

fn encode_user(record: &UserRecord) -> Vec<u8> {
    let stored = StoredUser {
        user: record.user,
        certificate: record.certificate.clone(),
        fingerprint: record.fingerprint.to_string(),
        administrator: record.administrator,
        active: record.active,
        client_limit: record.client_limit,
        changed: record.changed,
        sessions_since: record.sessions_since,
    };
    serde_json::to_vec(&stored).expect("a record has nothing that JSON cannot hold")
}

fn decode_user(bytes: &[u8]) -> Result<UserRecord, StoreError> {
    let corrupt = |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("a user's record: {what}"));
    let stored: StoredUser = serde_json::from_slice(bytes).map_err(|error| corrupt(&error))?;
    let fingerprint: Fingerprint = stored.fingerprint.parse().map_err(|error| corrupt(&error))?;
    Ok(UserRecord {
        user: stored.user,
        certificate: stored.certificate,
        fingerprint,
        administrator: stored.administrator,
        active: stored.active,
        client_limit: stored.client_limit,
        changed: stored.changed,
        sessions_since: stored.sessions_since,
    })
}

fn decode_entry(bytes: &[u8]) -> Result<LogEntry, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt(format!("a log entry: {error}")))
}

fn held_places(
    table: &impl ReadableTable<[u8; 36], [u8; 24]>,
    organization: OrganizationId,
    user: UserId,
) -> Result<Vec<ClientPlace>, redb::Error> {
    let range = place_key(organization, user, 0)..=place_key(organization, user, u32::MAX);
    let mut places = Vec::new();
    for row in table.range(range)? {
        let (key, value) = row?;
        places.push(place_of(&key.value(), &value.value()));
    }
    Ok(places)
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let key = log_key(organization, sequence);
        let value = serde_json::to_vec(entry).expect("an entry has nothing that JSON cannot hold");
        self.transact(move |transaction| {
            let mut table = transaction.open_table(LOG)?;
            if table.get(key)?.is_some() {
                return Ok(Ok(Append::Taken));
            }
            table.insert(key, value.as_slice())?;
            Ok(Ok(Append::Appended))
        })
        .await
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let rows = self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(LOG))? else { return Ok(Vec::new()) };
            let range = log_key(organization, first)..=log_key(organization, u64::MAX);
            let mut rows = Vec::new();
            for row in table.range(range)?.take(limit) {
                let (key, value) = row?;
                let sequence = key.value().last_chunk().copied().unwrap_or_default();
                rows.push((u64::from_be_bytes(sequence), value.value().to_vec()));
            }
            Ok(rows)
        })?;
        rows.into_iter().map(|(sequence, value)| Ok((sequence, decode_entry(&value)?))).collect()
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let key = user_key(organization, *record.user.as_bytes());
        let (changed, value) = (record.changed, encode_user(record));
        self.transact(move |transaction| {
            let mut table = transaction.open_table(USERS)?;
            let held = table.get(key)?.map(|held| decode_user(held.value()));
            match held {
                Some(Err(corrupt)) => return Ok(Err(corrupt)),
                Some(Ok(held)) if held.changed >= changed => {}
                _ => {
                    table.insert(key, value.as_slice())?;
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let value = self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(USERS))? else { return Ok(None) };
            Ok(table.get(user_key(organization, *user.as_bytes()))?.map(|value| value.value().to_vec()))
        })?;
        value.map(|value| decode_user(&value)).transpose()
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let first = match after {
            None => Some([0; 16]),
            Some(user) => u128::from_be_bytes(*user.as_bytes()).checked_add(1).map(u128::to_be_bytes),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let rows = self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(USERS))? else { return Ok(Vec::new()) };
            let range = user_key(organization, first)..=user_key(organization, [0xff; 16]);
            let mut rows = Vec::new();
            for row in table.range(range)?.take(limit) {
                rows.push(row?.1.value().to_vec());
            }
            Ok(rows)
        })?;
        rows.iter().map(|value| decode_user(value)).collect()
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let ClientAddress { organization, user, client } = *client;
        // Most clients that ask have a place: they need no transaction.
        if self.clients(organization, user).await?.iter().any(|place| place.client == client) {
            return Ok(Claim::Held);
        }
        self.transact(move |transaction| {
            let mut table = transaction.open_table(PLACES)?;
            let held = held_places(&table, organization, user)?;
            if held.iter().any(|place| place.client == client) {
                return Ok(Ok(Claim::Held));
            }
            let Some(place) = free_place_for(&held, limit) else { return Ok(Ok(Claim::Full)) };
            let mut value = [0; 24];
            value[..16].copy_from_slice(client.as_bytes());
            value[16..].copy_from_slice(&since.0.to_be_bytes());
            table.insert(place_key(organization, user, place), value)?;
            Ok(Ok(Claim::Claimed))
        })
        .await
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        self.read(|transaction| match existing(transaction.open_table(PLACES))? {
            Some(table) => held_places(&table, organization, user),
            None => Ok(Vec::new()),
        })
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let ClientAddress { organization, user, client } = *client;
        self.transact(move |transaction| {
            let mut table = transaction.open_table(PLACES)?;
            let held = held_places(&table, organization, user)?;
            let Some(place) = held.iter().find(|place| place.client == client) else { return Ok(Ok(false)) };
            table.remove(place_key(organization, user, place.place))?;
            Ok(Ok(true))
        })
        .await
    }
}
