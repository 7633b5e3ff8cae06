//! Messages, mailbox rows and what was fetched.
//!
//! The rows of a mailbox, and what a client has fetched, are sorted sets of equal scores, so ordered by their bytes, which begin
//! with the id. Each has a set for each day, which expires as a whole when its last id has: nothing is ever looked for to be
//! deleted. A range is of few days, mostly of one.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use futures_util::future::{join_all, try_join_all};
use redis::{Cmd, FromRedisValue as _, Value};

use super::Connection;
use super::cluster::Cluster;
use super::functions::Function;
use super::keys::{Day, Key, kept_until};
use super::rows::{corrupt, decode_fetched, decode_item, decode_message, encode_item, encode_message};
use crate::store::{IdRange, KEPT_LONGER, Mailbox, StoreError, StoredMessage};

/// Days after this one that ids are looked for: clocks may differ.
const DAYS_AHEAD: u64 = 1;
/// Ids that one call of a function adds, at most: a server does nothing else meanwhile.
const ADDED_AT_ONCE: usize = 1_000;

/// The mailboxes in Valkey.
pub(super) struct ValkeyMailbox {
    pub(super) connection: Arc<Connection>,
}

fn members(value: Value) -> Result<Vec<Vec<u8>>, StoreError> {
    Vec::<Vec<u8>>::from_redis_value(value).map_err(|_| corrupt("a set of a day"))
}

impl ValkeyMailbox {
    /// Adds members to the set of a day.
    async fn add(&self, cluster: &Cluster, key: Key, day: Day, members: &[&[u8]]) -> Result<(), StoreError> {
        let until = kept_until(day.end(), self.connection.retention).to_string();
        let arguments: Vec<&[u8]> = std::iter::once(until.as_bytes()).chain(members.iter().copied()).collect();
        cluster.write(&key, &Function::Add.call(&[key], &arguments)).await?;
        Ok(())
    }

    /// Returns the part of a range that is kept, as its first and last bytes and its days; none if it is empty.
    fn kept(&self, range: IdRange) -> Option<([u8; 16], [u8; 16], RangeInclusive<u64>)> {
        let now = self.connection.clock.now_millis();
        let oldest = now.minus(self.connection.retention).minus(KEPT_LONGER);
        let mut first_kept = [0; 16];
        first_kept[..6].copy_from_slice(oldest.0.to_be_bytes().get(2..)?);
        let first = range.first_bytes().max(first_kept);
        if range.is_empty() || first > range.last_bytes() {
            return None;
        }
        let (begin, end) = range.times();
        let days = Day::of(begin.max(oldest)).0..=Day::of(end).0.min(Day::of(now).0 + DAYS_AHEAD);
        Some((first, range.last_bytes(), days))
    }

    /// Reads members of a range over the sets of its days.
    async fn page(
        &self,
        key: impl Fn(Day) -> Key + Send + Sync,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let cluster = self.connection.cluster()?;
        let Some((first, last, days)) = self.kept(range) else { return Ok(Vec::new()) };
        let keys: Vec<Key> = days.map(|day| key(Day(day))).collect();
        let of_day = async |day: &Key, limit: usize| {
            let mut command = Cmd::new();
            command.arg("ZRANGE").arg(day.name()).arg([b"[", &first[..]].concat());
            command.arg([b"[", &last[..], b"\xff"].concat()).arg("BYLEX").arg("LIMIT").arg(0).arg(limit);
            members(cluster.read(day, &command).await?)
        };
        let several = match &*keys {
            [] => return Ok(Vec::new()),
            [day] => return of_day(day, limit).await,
            [one, ..] => {
                let limit = limit.to_string();
                let command = Function::Page.call(&keys, &[&first, &last, limit.as_bytes()]);
                cluster.read_several(one, &command).await?
            }
        };
        if let Some(answer) = several {
            return members(answer);
        }
        // While its slot moves, one day after the other.
        let mut page = Vec::new();
        for day in &keys {
            page.extend(of_day(day, limit - page.len()).await?);
            if page.len() >= limit {
                break;
            }
        }
        Ok(page)
    }
}

#[async_trait]
impl Mailbox for ValkeyMailbox {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let cluster = self.connection.cluster()?;
        let key = Key::Message(message.organization, message.id);
        let mut set = Cmd::new();
        set.arg("SET").arg(key.name()).arg(encode_message(message));
        set.arg("PXAT").arg(kept_until(message.id.time(), self.connection.retention));
        // On its disks before anybody sees a row. Should the rows fail, it expires, and nobody is told of it.
        cluster.write(&key, &set).await?;
        let (row, day) = (encode_item(&message.item()), Day::of(message.id.time()));
        let rows = message.recipients.iter().map(|recipient| {
            let key = Key::Mailbox(message.organization, *recipient, day);
            let row = &row;
            async move { self.add(cluster, key, day, &[row]).await }
        });
        // All of them, though one fails: each is one recipient's.
        join_all(rows).await.into_iter().collect()
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let key = Key::Message(organization, id);
        let mut get = Cmd::new();
        get.arg("GET").arg(key.name());
        match self.connection.cluster()?.read(&key, &get).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => decode_message(organization, id, bytes).map(Some),
            _ => Err(corrupt("a message")),
        }
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let rows = self.page(|day| Key::Mailbox(organization, user, day), range, limit).await?;
        rows.iter().map(|row| decode_item(row)).collect()
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        let cluster = self.connection.cluster()?;
        let days = by_day(ids);
        let chunks = days.iter().flat_map(|(day, ids)| ids.chunks(ADDED_AT_ONCE).map(|ids| (*day, ids)));
        let writes = chunks.map(|(day, ids)| {
            let members: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
            async move { self.add(cluster, Key::Fetched(*client, day), day, &members).await }
        });
        join_all(writes).await.into_iter().collect()
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let ids = self.page(|day| Key::Fetched(*client, day), range, limit).await?;
        ids.iter().map(|id| decode_fetched(id)).collect()
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let cluster = self.connection.cluster()?;
        let days = by_day(ids);
        let reads = days.iter().map(|(day, ids)| async move {
            let key = Key::Fetched(*client, *day);
            let mut scores = Cmd::new();
            scores.arg("ZMSCORE").arg(key.name());
            for id in ids {
                scores.arg(&id.as_bytes()[..]);
            }
            let Value::Array(scores) = cluster.read(&key, &scores).await? else {
                return Err(corrupt("a set of a day"));
            };
            let held = ids.iter().zip(scores).filter(|(_, score)| *score != Value::Nil).map(|(id, _)| *id);
            Ok(held.collect::<Vec<MessageId>>())
        });
        // The days are in order, and so are the ids of each.
        Ok(try_join_all(reads).await?.concat())
    }
}

/// Sorts ids and puts those of each day together, without repeats.
fn by_day(ids: &[MessageId]) -> Vec<(Day, Vec<MessageId>)> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let days = sorted.chunk_by(|one, other| Day::of(one.time()) == Day::of(other.time()));
    days.filter_map(|ids| Some((Day::of(ids.first()?.time()), ids.to_vec()))).collect()
}
