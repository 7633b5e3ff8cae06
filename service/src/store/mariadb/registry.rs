//! Organizations, users and client places.
//!
//! One server in one place: what it has committed every later statement sees, so reads are linearizable by themselves.
//! Conditional writes rest on unique keys, which are there with and without indices. One whose answer was lost is tried
//! again; if it is refused then, the row itself says whose it is: a log entry carries random bytes of the call that wrote
//! it, a place its client.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;
use mysql_async::Value;

use super::Connection;
use super::rows::{Columns, bytes, limit as rows_limit};
use super::session::{Conditional, Live};
use super::statements::StatementName;
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError, free_place_for, free_places_for};

/// The registry in MariaDB.
pub(super) struct MariadbRegistry {
    pub(super) connection: Arc<Connection>,
}

async fn read_places(
    live: &Live,
    organization: OrganizationId,
    user: UserId,
) -> Result<Vec<ClientPlace>, StoreError> {
    let values = || vec![bytes(organization.as_bytes()), bytes(user.as_bytes())];
    let make = |columns: &mut Columns| {
        let (place, client) = (columns.small()?, ClientId::from_bytes(columns.id()?));
        Ok(ClientPlace { place, client, since: UnixMicros(columns.number()?) })
    };
    live.rows(StatementName::SelectPlaces, values, make).await
}

fn log_entry(columns: &mut Columns) -> Result<(u64, LogEntry), StoreError> {
    let (sequence, statement, signatures) = (columns.number()?, columns.text()?, columns.bytes()?);
    let signatures = serde_json::from_slice(&signatures)
        .map_err(|_| StoreError::Corrupt("the signatures of a log entry are no list".to_owned()))?;
    Ok((sequence, LogEntry { statement, signatures }))
}

fn user_record(columns: &mut Columns) -> Result<UserRecord, StoreError> {
    let corrupt = || StoreError::Corrupt("a user's fingerprint is none".to_owned());
    Ok(UserRecord {
        user: UserId::from_bytes(columns.id()?),
        certificate: columns.text()?,
        fingerprint: Fingerprint::from_bytes(&columns.bytes()?).ok_or_else(corrupt)?,
        administrator: columns.number()? != 0,
        active: columns.number()? != 0,
        // Zero clients are not allowed to anyone, so zero says that no statement tells.
        client_limit: Some(columns.small()?).filter(|limit| *limit > 0),
        sessions_since: columns.number()?,
        changed: columns.number()?,
    })
}

#[async_trait]
impl Registry for MariadbRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let live = self.connection.live()?;
        let mut writer = [0; 16];
        self.connection.entropy.fill(&mut writer);
        let signatures = serde_json::to_vec(&entry.signatures)
            .map_err(|_| StoreError::Corrupt("the signatures of a log entry cannot be written".to_owned()))?;
        let values = || {
            vec![
                bytes(organization.as_bytes()),
                Value::UInt(sequence),
                bytes(entry.statement.as_bytes()),
                bytes(&signatures),
                bytes(&writer),
            ]
        };
        match live.conditional(StatementName::AppendEntry, values).await? {
            Conditional::Applied => Ok(Append::Appended),
            Conditional::Refused => Ok(Append::Taken),
            Conditional::RefusedLater => {
                let key = || vec![bytes(organization.as_bytes()), Value::UInt(sequence)];
                let held = live.rows(StatementName::SelectEntryWriter, key, Columns::id).await?;
                Ok(if held.first() == Some(&writer) { Append::Appended } else { Append::Taken })
            }
        }
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let values = || vec![bytes(organization.as_bytes()), Value::UInt(first), rows_limit(limit)];
        self.connection.live()?.rows(StatementName::SelectLog, values, log_entry).await
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let values = || {
            vec![
                bytes(organization.as_bytes()),
                bytes(record.user.as_bytes()),
                bytes(record.certificate.as_bytes()),
                bytes(record.fingerprint.as_bytes()),
                Value::UInt(record.administrator.into()),
                Value::UInt(record.active.into()),
                Value::UInt(record.client_limit.unwrap_or(0).into()),
                Value::UInt(record.sessions_since),
                Value::UInt(record.changed),
            ]
        };
        self.connection.live()?.write(StatementName::PutUser, values).await?;
        Ok(())
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let values = || vec![bytes(organization.as_bytes()), bytes(user.as_bytes())];
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
        let values = || vec![bytes(organization.as_bytes()), bytes(&first), rows_limit(limit)];
        live.rows(StatementName::SelectUsers, values, user_record).await
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let live = self.connection.live()?;
        let (mut tried, mut refused) = (false, false);
        // Ends: whoever is refused finds the place taken at its next look, and places are finite. Should others free and
        // claim without end, the request's time ends it.
        loop {
            let held = read_places(live, client.organization, client.user).await?;
            if held.iter().any(|place| place.client == client.client) {
                return Ok(if tried { Claim::Claimed } else { Claim::Held });
            }
            // Of a thousand who race for the first place, one gets it: whoever was refused once tries any other.
            let place = if refused {
                let free: Vec<u32> = free_places_for(&held, limit).collect();
                let mut drawn = [0; 8];
                self.connection.entropy.fill(&mut drawn);
                let drawn = usize::try_from(u64::from_be_bytes(drawn)).unwrap_or(usize::MAX);
                drawn.checked_rem(free.len()).and_then(|number| free.get(number)).copied()
            } else {
                free_place_for(&held, limit)
            };
            let Some(place) = place else { return Ok(Claim::Full) };
            let values = || {
                vec![
                    bytes(client.organization.as_bytes()),
                    bytes(client.user.as_bytes()),
                    Value::UInt(place.into()),
                    bytes(client.client.as_bytes()),
                    Value::UInt(since.0),
                ]
            };
            match live.conditional(StatementName::ClaimPlace, values).await? {
                Conditional::Applied => return Ok(Claim::Claimed),
                Conditional::Refused => refused = true,
                Conditional::RefusedLater => tried = true,
            }
        }
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        read_places(self.connection.live()?, organization, user).await
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let live = self.connection.live()?;
        // Looked at first: were the answer to the deletion lost, nobody could tell otherwise whether there was one.
        let held = read_places(live, client.organization, client.user).await?;
        if held.iter().all(|place| place.client != client.client) {
            return Ok(false);
        }
        let values = || {
            vec![
                bytes(client.organization.as_bytes()),
                bytes(client.user.as_bytes()),
                bytes(client.client.as_bytes()),
            ]
        };
        live.remove(StatementName::FreePlace, values).await
    }
}
