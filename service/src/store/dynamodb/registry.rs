//! Organizations, users and client places.
//!
//! All reads here are strongly consistent: they see every write that was answered before. Conditional writes to one item are
//! linearizable. One whose answer was lost is tried again; if it is refused then, the item itself says whose it is: a log
//! entry carries random bytes of the call that wrote it, a place its client.
//!
//! A user's places stand in one item with a number that rises with each change. A change is written only where the number is
//! still the one that was read, so it rests on what was read, whoever else writes; and a late attempt of a call that was
//! given up comes to nothing. The item stays when it has no place any more, and so does its number.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;

use super::attributes::{Attributes, Columns, attributes, bytes, number, unreadable, user_key};
use super::opening::Connection;
use super::pages::{Part, read};
use super::session::{Conditional, Request, Session};
use crate::deadline::Deadline;
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError, free_place_for};

/// Turns that users share: enough that two who claim places at the same moment seldom have the same.
const TURNS: usize = 256;

/// The registry in DynamoDB.
pub(super) struct DynamodbRegistry {
    connection: Arc<Connection>,
    /// Writes to one user's places are in each other's way, and of two hundred at once each round would serve one. Those of
    /// one process take turns; those of several processes race, and the item's number decides.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// The places of a user's clients, ordered, as of a version of their item.
struct Places {
    version: u64,
    held: Vec<ClientPlace>,
}

impl Places {
    fn of(item: Option<Attributes>) -> Result<Self, StoreError> {
        let Some(item) = item else { return Ok(Self { version: 0, held: Vec::new() }) };
        let mut item = Columns(item);
        let version = item.number("version")?;
        let mut held = Vec::new();
        for place in item.list("places")? {
            let AttributeValue::M(place) = place else { return Err(unreadable("places")) };
            let mut place = Columns(place);
            held.push(ClientPlace {
                place: place.small("place")?,
                client: ClientId::from_bytes(place.id("client")?),
                since: UnixMicros(place.number("since")?),
            });
        }
        held.sort_unstable_by_key(|held| held.place);
        Ok(Self { version, held })
    }

    fn item(&self, user: Vec<u8>) -> Attributes {
        let held = self.held.iter().map(|held| {
            AttributeValue::M(attributes([
                ("place", number(held.place.into())),
                ("client", bytes(*held.client.as_bytes())),
                ("since", number(held.since.0)),
            ]))
        });
        attributes([
            ("user", bytes(user)),
            ("version", number(self.version)),
            ("places", AttributeValue::L(held.collect())),
        ])
    }
}

impl DynamodbRegistry {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, turns: std::iter::repeat_with(Default::default).take(TURNS).collect() }
    }

    /// Waits for a user's turn, for as long as a call may take.
    async fn turn(&self, user: UserId) -> Result<tokio::sync::MutexGuard<'_, ()>, StoreError> {
        // Ids are random, but nothing holds them to it.
        let number =
            user.as_bytes().iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let turn = self.turns.get(number % TURNS).expect("there is a turn for each remainder").lock();
        Deadline::current().bound(self.connection.settings.timeout, turn).await.map_err(|_| StoreError::Timeout)
    }

    async fn places(&self, session: &Session, user: &[u8]) -> Result<Places, StoreError> {
        let table = &self.connection.tables.places;
        let answer = session.send(Request::GetPlaces, || {
            session.client.get_item().table_name(table).key("user", bytes(user)).consistent_read(true).send()
        });
        Places::of(answer.await?.item)
    }

    /// Writes a user's places after a change, unless they were changed since they were read.
    async fn put_places(
        &self,
        session: &Session,
        user: &[u8],
        mut places: Places,
    ) -> Result<Conditional, StoreError> {
        let (table, read) = (&self.connection.tables.places, places.version);
        places.version += 1;
        let item = places.item(user.to_vec());
        let put = session.conditional(Request::PutPlaces, || {
            let put = session.client.put_item().table_name(table).set_item(Some(item.clone()));
            let put = if read == 0 {
                put.condition_expression("attribute_not_exists(#user)").expression_attribute_names("#user", "user")
            } else {
                put.condition_expression("version = :read").expression_attribute_values(":read", number(read))
            };
            put.send()
        });
        put.await
    }

    /// Changes a user's places until that is done or needs no doing. `change` returns its answer where nothing is to be
    /// changed, and is told whether an attempt before may have been carried out.
    async fn change<T: Send>(
        &self,
        organization: OrganizationId,
        user: UserId,
        done: T,
        change: impl Fn(&mut Places, bool) -> Option<T> + Send + Sync,
    ) -> Result<T, StoreError> {
        let session = self.connection.session()?;
        let key = user_key(organization, user);
        let attempts = async {
            let (mut patience, mut doubtful) = (session.patience(), false);
            loop {
                let mut places = self.places(session, &key).await?;
                if let Some(answer) = change(&mut places, doubtful) {
                    return Ok(answer);
                }
                match self.put_places(session, &key, places).await? {
                    Conditional::Applied => return Ok(done),
                    Conditional::Refused { doubtful: maybe, .. } => doubtful |= maybe,
                }
                patience.pause_for_others().await;
            }
        };
        session.within(attempts).await
    }
}

fn user_record(item: Attributes) -> Result<UserRecord, StoreError> {
    let mut item = Columns(item);
    Ok(UserRecord {
        user: UserId::from_bytes(item.id("user")?),
        certificate: item.text("certificate")?,
        fingerprint: Fingerprint::from_bytes(&item.bytes("fingerprint")?).ok_or_else(|| unreadable("fingerprint"))?,
        administrator: item.truth("administrator")?,
        active: item.truth("active")?,
        // Zero clients are not allowed to anyone, so zero says that no statement tells.
        client_limit: Some(item.small("client_limit")?).filter(|limit| *limit > 0),
        sessions_since: item.number("sessions_since")?,
        changed: item.number("changed")?,
    })
}

fn log_entry(item: Attributes) -> Result<(u64, LogEntry), StoreError> {
    let mut item = Columns(item);
    let signatures = item.list("signatures")?.into_iter().map(|signature| match signature {
        AttributeValue::S(signature) => Ok(signature),
        _ => Err(unreadable("signatures")),
    });
    let signatures = signatures.collect::<Result<_, _>>()?;
    Ok((item.number("sequence")?, LogEntry { statement: item.text("statement")?, signatures }))
}

/// Tells whether what stands at a log's place is what this call wrote, by an attempt whose answer was lost.
fn is_ours(failure: &(dyn std::error::Error + 'static), writer: [u8; 16]) -> bool {
    let mut causes = std::iter::successors(Some(failure), |error| error.source());
    let found =
        causes.find_map(|error| match error.downcast_ref::<SdkError<PutItemError>>()?.as_service_error()? {
            PutItemError::ConditionalCheckFailedException(refused) => refused.item().cloned(),
            _ => None,
        });
    found.is_some_and(|item| Columns(item).id("writer").is_ok_and(|held| held == writer))
}

#[async_trait]
impl Registry for DynamodbRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let session = self.connection.session()?;
        let table = &self.connection.tables.log;
        let mut writer = [0; 16];
        self.connection.entropy.fill(&mut writer);
        let signatures = entry.signatures.iter().cloned().map(AttributeValue::S).collect();
        let item = attributes([
            ("organization", bytes(*organization.as_bytes())),
            ("sequence", number(sequence)),
            ("statement", AttributeValue::S(entry.statement.clone())),
            ("signatures", AttributeValue::L(signatures)),
            ("writer", bytes(writer)),
        ]);
        let put = session.conditional(Request::PutEntry, || {
            session
                .client
                .put_item()
                .table_name(table)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(organization)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
        });
        match session.within(put).await? {
            Conditional::Applied => Ok(Append::Appended),
            Conditional::Refused { doubtful: true, failure } if is_ours(&failure, writer) => Ok(Append::Appended),
            Conditional::Refused { .. } => Ok(Append::Taken),
        }
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let session = self.connection.session()?;
        let part = Part {
            request: Request::QueryLog,
            table: &self.connection.tables.log,
            key: ("organization", "sequence"),
            partition: bytes(*organization.as_bytes()),
            first: number(first),
            last: number(u64::MAX),
            consistent: true,
        };
        session.within(read(session, part, limit)).await?.into_iter().map(log_entry).collect()
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let session = self.connection.session()?;
        let table = &self.connection.tables.users;
        let item = attributes([
            ("organization", bytes(*organization.as_bytes())),
            ("user", bytes(*record.user.as_bytes())),
            ("certificate", AttributeValue::S(record.certificate.clone())),
            ("fingerprint", bytes(record.fingerprint.as_bytes())),
            ("administrator", AttributeValue::Bool(record.administrator)),
            ("active", AttributeValue::Bool(record.active)),
            ("client_limit", number(record.client_limit.unwrap_or(0).into())),
            ("sessions_since", number(record.sessions_since)),
            ("changed", number(record.changed)),
        ]);
        let put = session.conditional(Request::PutUser, || {
            session
                .client
                .put_item()
                .table_name(table)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(organization) OR changed < :changed")
                .expression_attribute_values(":changed", number(record.changed))
                .send()
        });
        match session.within(put).await? {
            // Refused where a later one stands already, or this one.
            Conditional::Applied | Conditional::Refused { .. } => Ok(()),
        }
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let session = self.connection.session()?;
        let table = &self.connection.tables.users;
        let answer = session.send(Request::GetUser, || {
            session
                .client
                .get_item()
                .table_name(table)
                .key("organization", bytes(*organization.as_bytes()))
                .key("user", bytes(*user.as_bytes()))
                .consistent_read(true)
                .send()
        });
        session.within(answer).await?.item.map(user_record).transpose()
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let session = self.connection.session()?;
        let first = match after {
            None => Some([0; 16]),
            Some(user) => u128::from_be_bytes(*user.as_bytes()).checked_add(1).map(u128::to_be_bytes),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let part = Part {
            request: Request::QueryUsers,
            table: &self.connection.tables.users,
            key: ("organization", "user"),
            partition: bytes(*organization.as_bytes()),
            first: bytes(first),
            last: bytes([u8::MAX; 16]),
            consistent: true,
        };
        session.within(read(session, part, limit)).await?.into_iter().map(user_record).collect()
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let session = self.connection.session()?;
        let holds = |places: &Places| places.held.iter().any(|held| held.client == client.client);
        // Most clients that ask have a place: they wait for no turn.
        let key = user_key(client.organization, client.user);
        if holds(&session.within(self.places(session, &key)).await?) {
            return Ok(Claim::Held);
        }
        let _turn = self.turn(client.user).await?;
        let change = |places: &mut Places, doubtful: bool| {
            if holds(places) {
                return Some(if doubtful { Claim::Claimed } else { Claim::Held });
            }
            let Some(place) = free_place_for(&places.held, limit) else { return Some(Claim::Full) };
            places.held.push(ClientPlace { place, client: client.client, since });
            None
        };
        self.change(client.organization, client.user, Claim::Claimed, change).await
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        let session = self.connection.session()?;
        Ok(session.within(self.places(session, &user_key(organization, user))).await?.held)
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let _turn = self.turn(client.user).await?;
        let change = |places: &mut Places, doubtful: bool| {
            let before = places.held.len();
            places.held.retain(|held| held.client != client.client);
            // Gone though it was there: by an attempt whose answer was lost.
            (places.held.len() == before).then_some(doubtful)
        };
        self.change(client.organization, client.user, true, change).await
    }
}
