//! Messages: content first, then a row in the mailbox of each recipient; read a day's partition at a time.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::value::MaybeUnset;

use super::rows::{Id, ItemColumns, day, item, kind_number, kind_of, limit as rows_limit, time_to_live};
use super::session::Live;
use super::statements::StatementName;
use super::{Connection, MAILBOX_AHEAD};
use crate::store::{IdRange, KEPT_LONGER, Mailbox, StoreError, StoredMessage};

/// Rows that are written at once for one message. A message has 100 recipients by default: one trip.
const FAN_OUT: usize = 128;
/// Ids that are added to a client's day by one mutation, of some 30 KiB.
const FETCHED_CHUNK: usize = 256;
/// Such mutations that are on their way at once for one call.
const FETCHED_AT_ONCE: usize = 16;
/// Days that are read at once, at most: while the ones before had few rows.
const DAYS_AT_ONCE: usize = 8;

/// Messages in a CQL cluster.
pub(super) struct ScyllaMailbox {
    pub(super) connection: Arc<Connection>,
}

/// Columns of a message: kind, sender, recipients, what it acknowledges, content.
type MessageColumns = (i8, Id, Bytes, Option<Id>, Bytes);

impl ScyllaMailbox {
    /// Returns the days of a range in which there can be rows: what is older has expired, and nothing is much newer.
    fn days(&self, range: IdRange) -> std::ops::RangeInclusive<i32> {
        let (first, last) = range.times();
        let now = self.connection.clock.now_millis();
        let oldest = now.minus(self.connection.retention).minus(KEPT_LONGER);
        day(first.max(oldest))..=day(last.min(now.plus(MAILBOX_AHEAD)))
    }

    /// Reads up to `limit` rows of a range, day by day. While days have fewer rows than are left to read, more of them
    /// are read at once.
    async fn by_days<T, F>(
        &self,
        range: IdRange,
        limit: usize,
        read: impl Fn(i32, usize) -> F,
    ) -> Result<Vec<T>, StoreError>
    where
        F: Future<Output = Result<Vec<T>, StoreError>>,
    {
        let mut days = self.days(range);
        let mut rows = Vec::new();
        let mut at_once = 1;
        while rows.len() < limit {
            let left = limit - rows.len();
            let reads: Vec<F> = days.by_ref().take(at_once).map(|day| read(day, left)).collect();
            if reads.is_empty() {
                break;
            }
            for page in try_join_all(reads).await? {
                rows.extend(page);
            }
            at_once = (at_once * 2).min(DAYS_AT_ONCE);
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn time_to_live(&self, id: &MessageId) -> i32 {
        time_to_live(id, self.connection.clock.now_millis(), self.connection.retention)
    }
}

/// Leaves a column without a value: a null would be a tombstone.
fn unless_absent<T>(value: Option<T>) -> MaybeUnset<T> {
    value.map_or(MaybeUnset::Unset, MaybeUnset::Set)
}

async fn insert_item(live: &Live, message: &StoredMessage, recipient: UserId, ttl: i32) -> Result<(), StoreError> {
    let item = message.item();
    let size = i32::try_from(item.size).unwrap_or(i32::MAX);
    let values = (
        Id::from(message.organization),
        Id::from(recipient),
        day(item.id.time()),
        Id::from(item.id),
        kind_number(item.kind),
        Id::from(item.from),
        unless_absent(item.of.map(Id::from)),
        size,
        ttl,
    );
    live.write(StatementName::InsertItem, values).await
}

#[async_trait]
impl Mailbox for ScyllaMailbox {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let live = self.connection.live()?;
        let ttl = self.time_to_live(&message.id);
        let recipients: Vec<u8> = message.recipients.iter().flat_map(|user| *user.as_bytes()).collect();
        let values = (
            Id::from(message.organization),
            Id::from(message.id),
            kind_number(message.kind),
            Id::from(message.sender),
            recipients,
            unless_absent(message.of.map(Id::from)),
            &message.content,
            ttl,
        );
        live.write(StatementName::InsertMessage, values).await?;
        let rows: Vec<_> =
            message.recipients.iter().map(|recipient| insert_item(live, message, *recipient, ttl)).collect();
        stream::iter(rows).buffer_unordered(FAN_OUT).try_for_each(|()| async { Ok(()) }).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let values = (Id::from(organization), Id::from(id));
        let make = |(kind, sender, recipients, of, content): MessageColumns| {
            let (recipients, rest) = recipients.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(StoreError::Corrupt("the recipients of a message are no identifiers".to_owned()));
            }
            Ok(StoredMessage {
                organization,
                id,
                kind: kind_of(kind)?,
                sender: UserId::from_bytes(sender.0),
                recipients: recipients.iter().map(|bytes| UserId::from_bytes(*bytes)).collect(),
                of: of.map(Id::message).transpose()?,
                content,
            })
        };
        let rows = self.connection.live()?.rows(StatementName::SelectMessage, values, make).await?;
        Ok(rows.into_iter().next())
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let live = self.connection.live()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let (first, last) = (Id(range.first_bytes()), Id(range.last_bytes()));
        self.by_days(range, limit, |day, limit| {
            let values = (Id::from(organization), Id::from(user), day, first, last, rows_limit(limit));
            live.rows(StatementName::SelectItems, values, |columns: ItemColumns| item(columns))
        })
        .await
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        let live = self.connection.live()?;
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let row = |id: &MessageId| {
            (
                Id::from(client.organization),
                Id::from(client.user),
                Id::from(client.client),
                day(id.time()),
                Id::from(*id),
                self.time_to_live(id),
            )
        };
        let mut writes = Vec::new();
        for of_day in sorted.chunk_by(|one, other| day(one.time()) == day(other.time())) {
            for chunk in of_day.chunks(FETCHED_CHUNK) {
                writes.push(live.write_rows(StatementName::InsertFetched, chunk.iter().map(row).collect()));
            }
        }
        stream::iter(writes).buffer_unordered(FETCHED_AT_ONCE).try_for_each(|()| async { Ok(()) }).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let live = self.connection.live()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let (organization, user, client) =
            (Id::from(client.organization), Id::from(client.user), Id::from(client.client));
        let (first, last) = (Id(range.first_bytes()), Id(range.last_bytes()));
        self.by_days(range, limit, |day, limit| {
            let values = (organization, user, client, day, first, last, rows_limit(limit));
            live.rows(StatementName::SelectFetched, values, |(id,): (Id,)| id.message())
        })
        .await
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let live = self.connection.live()?;
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let by_day = sorted.chunk_by(|one, other| day(one.time()) == day(other.time()));
        let reads = by_day.filter_map(|of_day| {
            let day = day(of_day.first()?.time());
            let ids: Vec<Id> = of_day.iter().copied().map(Id::from).collect();
            let (organization, user, client) =
                (Id::from(client.organization), Id::from(client.user), Id::from(client.client));
            let values = (organization, user, client, day, ids);
            Some(live.rows(StatementName::SelectFetchedAmong, values, |(id,): (Id,)| id.message()))
        });
        // Rows of a partition come in the order of their ids, whatever the order that they were asked for.
        Ok(try_join_all(reads.collect::<Vec<_>>()).await?.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_value_is_no_null() {
        assert!(matches!(unless_absent(None::<i32>), MaybeUnset::Unset));
        assert!(matches!(unless_absent(Some(7)), MaybeUnset::Set(7)));
    }
}
