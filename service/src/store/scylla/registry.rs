//! Organizations, users and client places.
//!
//! Conditional writes are for appending to a log and for client places, and for nothing else. Their tables are written
//! by conditional writes alone, and read at the serial consistency.
//!
//! A conditional write may end without an answer: a timeout says that it was applied, or not, or will be. It is never
//! taken for either. The row is read at the serial consistency, which completes or refutes what is under way, and the
//! row itself says whose it is: a log entry carries random bytes of the call that wrote it, a place its client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Connection;
use super::rows::{BUCKETS, Id, SEGMENT, bucket, limit as rows_limit, segment, signed, unsigned};
use super::session::{Conditional, Live};
use super::statements::{LARGE_ROWS, StatementName};
use crate::deadline::Deadline;
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError, free_place_for};

/// Buckets of users that are read at once.
const BUCKETS_AT_ONCE: usize = 4;
/// The shortest and the longest pause before a conditional write is tried again: it was in another one's way.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Turns that users share: enough that two who claim places at the same moment seldom have the same.
const TURNS: usize = 256;

/// The registry in a CQL cluster.
pub(super) struct ScyllaRegistry {
    connection: Arc<Connection>,
    /// Conditional writes for one user's places are in each other's way, and a thousand at once would come to nothing for
    /// seconds. Those of one process take turns; those of several processes race, and the cluster decides.
    turns: Vec<tokio::sync::Mutex<()>>,
}

impl ScyllaRegistry {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, turns: std::iter::repeat_with(Default::default).take(TURNS).collect() }
    }

    /// Waits for a user's turn, for as long as a call may take.
    async fn turn(&self, live: &Live, user: UserId) -> Result<tokio::sync::MutexGuard<'_, ()>, StoreError> {
        // Ids are random, but nothing holds them to it.
        let number =
            user.as_bytes().iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let turn = self.turns.get(number % TURNS).expect("there is a turn for each remainder").lock();
        Deadline::current().bound(live.statement_timeout(), turn).await.map_err(|_| StoreError::Timeout)
    }
}

/// Pauses that grow, each of a random length, so that those who were in each other's way are so no more.
struct Pauses<'a> {
    connection: &'a Connection,
    longest: Duration,
}

impl<'a> Pauses<'a> {
    const fn new(connection: &'a Connection) -> Self {
        Self { connection, longest: PAUSE_MIN }
    }

    async fn pause(&mut self) {
        let fraction = crate::entropy::fraction(&*self.connection.entropy);
        tokio::time::sleep(self.longest.mul_f64(fraction)).await;
        self.longest = (self.longest * 2).min(PAUSE_MAX);
    }
}

/// Why it is not known yet what became of a conditional write, for the case that the time ends before it is.
#[derive(Default)]
struct Doubt(Mutex<Option<StoreError>>);

impl Doubt {
    fn remember(&self, error: StoreError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Runs attempts for as long as a call may take.
    async fn until_known<T>(
        &self,
        live: &Live,
        attempts: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let known = Deadline::current().bound(live.statement_timeout(), attempts).await;
        known.unwrap_or_else(|_| {
            let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(remembered.unwrap_or(StoreError::Timeout))
        })
    }
}

async fn read_places(
    live: &Live,
    statement: StatementName,
    organization: OrganizationId,
    user: UserId,
) -> Result<Vec<ClientPlace>, StoreError> {
    let values = (Id::from(organization), Id::from(user));
    let make = |(place, client, since): (i32, Id, i64)| {
        Ok(ClientPlace {
            place: u32::try_from(place).map_err(|_| StoreError::Corrupt(format!("a client's place is {place}")))?,
            client: ClientId::from_bytes(client.0),
            since: UnixMicros(unsigned(since)?),
        })
    };
    live.rows(statement, values, make).await
}

/// Columns of a user's record.
type UserColumns = (Id, String, Vec<u8>, bool, bool, i32, i64, i64);

fn user_record(columns: UserColumns) -> Result<UserRecord, StoreError> {
    let (user, certificate, fingerprint, administrator, active, client_limit, changed, sessions_since) = columns;
    let corrupt = || StoreError::Corrupt("a user's fingerprint is none".to_owned());
    Ok(UserRecord {
        user: UserId::from_bytes(user.0),
        certificate,
        fingerprint: Fingerprint::from_bytes(&fingerprint).ok_or_else(corrupt)?,
        administrator,
        active,
        client_limit: u32::try_from(client_limit).ok().filter(|limit| *limit > 0),
        changed: unsigned(changed)?,
        sessions_since: unsigned(sessions_since)?,
    })
}

#[async_trait]
impl Registry for ScyllaRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let live = self.connection.live()?;
        let mut writer = [0; 16];
        self.connection.entropy.fill(&mut writer);
        let key = (Id::from(organization), segment(sequence), signed(sequence));
        let doubt = Doubt::default();
        let attempts = async {
            let mut pauses = Pauses::new(&self.connection);
            let mut certain = true;
            loop {
                let values = (key.0, key.1, key.2, &entry.statement, &entry.signatures, Id(writer));
                match live.conditional(StatementName::AppendEntry, values).await {
                    Conditional::Applied => return Ok(Append::Appended),
                    Conditional::NotApplied if certain => return Ok(Append::Taken),
                    // By an earlier attempt of this call, or by another call.
                    Conditional::NotApplied => {}
                    Conditional::Unknown(error) => {
                        certain = false;
                        doubt.remember(error);
                    }
                }
                match live.rows(StatementName::SelectEntryWriter, key, |(id,): (Id,)| Ok(id)).await {
                    Ok(held) => match held.first() {
                        Some(held) if held.0 == writer => return Ok(Append::Appended),
                        Some(_) => return Ok(Append::Taken),
                        // Nothing stands there yet: the attempt came to nothing.
                        None => {}
                    },
                    Err(error) => doubt.remember(error),
                }
                pauses.pause().await;
            }
        };
        doubt.until_known(live, attempts).await
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let live = self.connection.live()?;
        let page = usize::try_from(LARGE_ROWS).unwrap_or(usize::MAX);
        let mut entries: Vec<(u64, LogEntry)> = Vec::new();
        let mut next = first;
        while entries.len() < limit {
            let ask = page.min(limit - entries.len());
            let values = (Id::from(organization), segment(next), signed(next), rows_limit(ask));
            let make = |(sequence, statement, signatures): (i64, String, Vec<String>)| {
                Ok((unsigned(sequence)?, LogEntry { statement, signatures }))
            };
            let read = live.rows(StatementName::SelectLog, values, make).await?;
            let Some((last, _)) = read.last() else { break };
            next = last.saturating_add(1);
            let full = read.len() == ask;
            entries.extend(read);
            // A log goes on in the next segment only after the last entry of this one.
            if !full && !next.is_multiple_of(SEGMENT) {
                break;
            }
        }
        Ok(entries)
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let live = self.connection.live()?;
        let values = (
            Id::from(organization),
            bucket(*record.user.as_bytes()),
            Id::from(record.user),
            &record.certificate,
            record.fingerprint.as_bytes(),
            record.administrator,
            record.active,
            // Zero clients are not allowed to anyone, so zero says that no statement tells. A null would be a tombstone.
            record.client_limit.map_or(0, |limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            signed(record.changed),
            signed(record.sessions_since),
            // The write's timestamp: the record of the latest statement wins, in whatever order they are written.
            signed(record.changed.saturating_add(1)),
        );
        live.write(StatementName::PutUser, values).await
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let values = (Id::from(organization), bucket(*user.as_bytes()), Id::from(user));
        let rows = self.connection.live()?.rows(StatementName::SelectUser, values, user_record).await?;
        Ok(rows.into_iter().next())
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let live = self.connection.live()?;
        let first = match after {
            None => Some([0; 16]),
            Some(user) => u128::from_be_bytes(*user.as_bytes()).checked_add(1).map(u128::to_be_bytes),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        let reads = (bucket(first)..BUCKETS.cast_signed()).map(|bucket| {
            let values = (Id::from(organization), bucket, Id(first), rows_limit(limit));
            live.rows(StatementName::SelectUsers, values, user_record)
        });
        let mut pages = stream::iter(reads).buffered(BUCKETS_AT_ONCE);
        while records.len() < limit
            && let Some(page) = pages.try_next().await?
        {
            records.extend(page);
        }
        records.truncate(limit);
        Ok(records)
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let live = self.connection.live()?;
        // Most clients that ask have a place: they wait for no turn, and are in nobody's way.
        let held = read_places(live, StatementName::LookAtPlaces, client.organization, client.user).await?;
        if held.iter().any(|place| place.client == client.client) {
            return Ok(Claim::Held);
        }
        let _turn = self.turn(live, client.user).await?;
        let doubt = Doubt::default();
        let attempts = async {
            let mut pauses = Pauses::new(&self.connection);
            let mut tried = false;
            // What was answered so far is enough to choose a place by: the write itself is conditional. What did not
            // come to an end has to be completed or refuted first.
            let mut read = StatementName::LookAtPlaces;
            loop {
                match read_places(live, read, client.organization, client.user).await {
                    Err(error) => doubt.remember(error),
                    Ok(held) if held.iter().any(|place| place.client == client.client) => {
                        return Ok(if tried { Claim::Claimed } else { Claim::Held });
                    }
                    Ok(held) => {
                        let Some(place) = free_place_for(&held, limit) else { return Ok(Claim::Full) };
                        let values = (
                            Id::from(client.organization),
                            Id::from(client.user),
                            rows_limit(usize::try_from(place).unwrap_or(usize::MAX)),
                            Id::from(client.client),
                            signed(since.0),
                        );
                        match live.conditional(StatementName::ClaimPlace, values).await {
                            Conditional::Applied => return Ok(Claim::Claimed),
                            Conditional::NotApplied => {}
                            Conditional::Unknown(error) => {
                                tried = true;
                                doubt.remember(error);
                            }
                        }
                    }
                }
                read = StatementName::SelectPlaces;
                pauses.pause().await;
            }
        };
        doubt.until_known(live, attempts).await
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        read_places(self.connection.live()?, StatementName::SelectPlaces, organization, user).await
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let live = self.connection.live()?;
        let _turn = self.turn(live, client.user).await?;
        let doubt = Doubt::default();
        let attempts = async {
            let mut pauses = Pauses::new(&self.connection);
            let mut freed = false;
            loop {
                match read_places(live, StatementName::SelectPlaces, client.organization, client.user).await {
                    Err(error) => doubt.remember(error),
                    Ok(held) => {
                        let Some(own) = held.iter().find(|place| place.client == client.client) else {
                            return Ok(freed);
                        };
                        let values = (
                            Id::from(client.organization),
                            Id::from(client.user),
                            rows_limit(usize::try_from(own.place).unwrap_or(usize::MAX)),
                            Id::from(client.client),
                        );
                        match live.conditional(StatementName::FreePlace, values).await {
                            // It may have a second one: two claims of one client can both succeed while places are
                            // freed in between. Look again.
                            Conditional::Applied => {
                                freed = true;
                                continue;
                            }
                            Conditional::NotApplied => {}
                            Conditional::Unknown(error) => {
                                freed = true;
                                doubt.remember(error);
                            }
                        }
                    }
                }
                pauses.pause().await;
            }
        };
        doubt.until_known(live, attempts).await
    }
}
