//! Organizations, users and client places.
//!
//! Each step is one function of a server, at the primary of its slot, so steps are linearizable while it is the primary. What
//! makes them so across a failover is that no answer rests on what only its memory has: writes wait for disks, also where they
//! change nothing, and a log is read as far as it is known to be on disks, or is put there first.
//!
//! A call whose answer was lost is repeated; random bytes of the call in what it writes tell whose it is.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;
use redis::{Cmd, FromRedisValue as _, Value};

use super::Connection;
use super::functions::Function;
use super::keys::Key;
use super::rows::{Call, corrupt, decode_entry, decode_place, decode_record, encode_entry, encode_record};
use crate::store::{Append, Claim, ClientPlace, Registry, StoreError};

/// The registry in Valkey.
pub(super) struct ValkeyRegistry {
    pub(super) connection: Arc<Connection>,
}

impl ValkeyRegistry {
    fn new_call(&self) -> Call {
        let mut call = [0; 16];
        self.connection.entropy.fill(&mut call);
        call
    }

    /// Reads entries, and up to which sequence the log is known to be on disks.
    async fn read_log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<(Option<u64>, Kept), StoreError> {
        let (key, from, most) = (Key::Log(organization), first.to_string(), limit.to_string());
        let command = Function::Log.call(&[key], &[from.as_bytes(), most.as_bytes()]);
        let answer = self.connection.cluster()?.read(&key, &command).await?;
        let mut answer = Vec::<Vec<u8>>::from_redis_value(answer).map_err(|_| corrupt("a log"))?.into_iter();
        let confirmed = answer.next().and_then(|confirmed| String::from_utf8(confirmed).ok());
        let confirmed = match confirmed.ok_or_else(|| corrupt("a log"))? {
            none if none.is_empty() => None,
            number => Some(number.parse().map_err(|_| corrupt("a log"))?),
        };
        Ok((confirmed, (first..).zip(answer).collect()))
    }

    /// Puts on disks all that was written on a log, and returns the call that wrote the entry at a sequence.
    async fn touch(&self, organization: OrganizationId, sequence: u64) -> Result<Vec<u8>, StoreError> {
        let (key, sequence) = (Key::Log(organization), sequence.to_string());
        let touch = Function::Touch.call(&[key], &[sequence.as_bytes()]);
        let call = self.connection.cluster()?.write(&key, &touch).await?.value;
        Vec::<u8>::from_redis_value(call).map_err(|_| corrupt("the answer of a function"))
    }

    /// Writes down that a log is on disks up to a sequence, so that readers need not put it there. A hint: if it is lost, the
    /// next reader does so.
    async fn confirm(&self, organization: OrganizationId, sequence: u64) -> Result<(), StoreError> {
        let (key, sequence) = (Key::Log(organization), sequence.to_string());
        let cluster = self.connection.cluster()?;
        cluster.write(&key, &Function::Confirm.call(&[key], &[sequence.as_bytes()])).await?;
        Ok(())
    }
}

/// Entries as they are kept, with their sequences.
type Kept = Vec<(u64, Vec<u8>)>;

fn entries(kept: &Kept) -> Result<Vec<(u64, LogEntry)>, StoreError> {
    kept.iter().map(|(sequence, entry)| Ok((*sequence, decode_entry(entry)?))).collect()
}

fn number(value: Value) -> Result<i64, StoreError> {
    i64::from_redis_value(value).map_err(|_| corrupt("the answer of a function"))
}

#[async_trait]
impl Registry for ValkeyRegistry {
    async fn append(
        &self,
        organization: OrganizationId,
        sequence: u64,
        entry: &LogEntry,
    ) -> Result<Append, StoreError> {
        let cluster = self.connection.cluster()?;
        let (key, entry, place) =
            (Key::Log(organization), encode_entry(entry, &self.new_call())?, sequence.to_string());
        let written = cluster.write(&key, &Function::Append.call(&[key], &[place.as_bytes(), &entry])).await?;
        if number(written.value)? == 0 {
            return Ok(Append::Taken);
        }
        Ok(Append::Appended)
    }

    async fn log(
        &self,
        organization: OrganizationId,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        // Ends: an entry that a failover has undone is gone at the next look. The call's time ends it in any case.
        loop {
            let (confirmed, read) = self.read_log(organization, first, limit).await?;
            let Some((last, entry)) = read.last() else { return Ok(Vec::new()) };
            if confirmed.is_some_and(|confirmed| confirmed >= *last) {
                return entries(&read);
            }
            // Another call appends it just now, or was cut short: nobody may act on what a failover could undo. To write on
            // the log, and to wait for that, puts on disks what was written there before.
            if self.touch(organization, *last).await? == entry.get(..16).unwrap_or_default() {
                self.confirm(organization, *last).await?;
                return entries(&read);
            }
        }
    }

    async fn put_user(&self, organization: OrganizationId, record: &UserRecord) -> Result<(), StoreError> {
        let (key, record) = (Key::Users(organization), encode_record(record)?);
        self.connection.cluster()?.write(&key, &Function::PutUser.call(&[key], &[&record])).await?;
        Ok(())
    }

    async fn user(&self, organization: OrganizationId, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let key = Key::Users(organization);
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(key.name()).arg([b"[", &user.as_bytes()[..]].concat());
        command.arg([b"(", &user.as_bytes()[..], b"\xff"].concat()).arg("BYLEX").arg("LIMIT").arg(0).arg(1);
        let records = self.connection.cluster()?.read(&key, &command).await?;
        let records = Vec::<Vec<u8>>::from_redis_value(records).map_err(|_| corrupt("the users"))?;
        records.first().map(|record| decode_record(record)).transpose()
    }

    async fn users(
        &self,
        organization: OrganizationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let key = Key::Users(organization);
        let first = after.map_or_else(|| b"-".to_vec(), |user| [b"(", &user.as_bytes()[..], b"\xff"].concat());
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(key.name()).arg(first).arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(limit);
        let records = self.connection.cluster()?.read(&key, &command).await?;
        let records = Vec::<Vec<u8>>::from_redis_value(records).map_err(|_| corrupt("the users"))?;
        records.iter().map(|record| decode_record(record)).collect()
    }

    async fn claim_place(&self, client: &ClientAddress, limit: u32, since: UnixMicros) -> Result<Claim, StoreError> {
        let cluster = self.connection.cluster()?;
        let key = Key::Places(client.organization, client.user);
        let (limit, since, call) = (limit.to_string(), since.0.to_be_bytes(), self.new_call());
        let arguments: [&[u8]; 4] = [client.client.as_bytes(), limit.as_bytes(), &since, &call];
        let written = cluster.write(&key, &Function::Claim.call(&[key], &arguments)).await?;
        match number(written.value)? {
            0 => Ok(Claim::Full),
            1 => Ok(Claim::Claimed),
            _ => Ok(Claim::Held),
        }
    }

    async fn clients(&self, organization: OrganizationId, user: UserId) -> Result<Vec<ClientPlace>, StoreError> {
        let key = Key::Places(organization, user);
        let mut command = Cmd::new();
        command.arg("HGETALL").arg(key.name());
        let held = self.connection.cluster()?.read(&key, &command).await?;
        let held = Vec::<(Vec<u8>, Vec<u8>)>::from_redis_value(held).map_err(|_| corrupt("the clients of a user"))?;
        let mut places =
            held.iter().map(|(client, value)| decode_place(client, value)).collect::<Result<Vec<_>, _>>()?;
        places.sort_unstable_by_key(|place| place.place);
        Ok(places)
    }

    async fn free_place(&self, client: &ClientAddress) -> Result<bool, StoreError> {
        let cluster = self.connection.cluster()?;
        let key = Key::Places(client.organization, client.user);
        // Looked at first: were the answer to the deletion lost, nobody could tell otherwise whether there was one.
        let mut look = Cmd::new();
        look.arg("HEXISTS").arg(key.name()).arg(&client.client.as_bytes()[..]);
        let held = number(cluster.read(&key, &look).await?)? == 1;
        // Also where there is none: another call may have freed it just now.
        let written = cluster.write(&key, &Function::Free.call(&[key], &[client.client.as_bytes()])).await?;
        Ok(number(written.value)? == 1 || (held && written.perhaps_before))
    }
}
