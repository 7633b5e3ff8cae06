//! Messages: the content first, then the rows in the mailboxes of all recipients, twenty-five in one request.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use super::attributes::{
    Attributes, Columns, attributes, bytes, client_key, day, day_key, first_of, kind, number, user_key,
};
use super::batches::{READS_AT_ONCE, get_all, put_all};
use super::contents;
use super::opening::Connection;
use super::pages::Days;
use super::schema::EXPIRES;
use super::session::Request;
use crate::store::{IdRange, KEPT_LONGER, Mailbox, StoreError, StoredMessage};

/// Messages in DynamoDB.
pub(super) struct DynamodbMailbox {
    pub(super) connection: Arc<Connection>,
}

impl DynamodbMailbox {
    /// Returns the earliest time of what has not expired.
    fn oldest(&self) -> UnixMillis {
        let connection = &self.connection;
        connection.clock.now_millis().minus(connection.settings.retention).minus(KEPT_LONGER)
    }

    /// Returns the second after which what has this id may be deleted.
    fn expires(&self, id: &MessageId) -> u64 {
        // A second more: the id's milliseconds were cut off.
        id.time().plus(self.connection.settings.retention).plus(KEPT_LONGER).0 / 1_000 + 1
    }

    /// Returns the part of a range that has not expired. DynamoDB deletes late, and until then reads what has expired.
    fn kept(&self, range: IdRange) -> IdRange {
        let oldest = self.oldest();
        if range.first_bytes() >= first_of(oldest) {
            return range;
        }
        // Later than the millisecond before.
        let until = range.times().1;
        IdRange::later_than(oldest.minus(std::time::Duration::from_millis(1)), until)
    }

    /// Returns those of some ids that have not expired, in order and without repeats.
    fn kept_ids(&self, ids: &[MessageId]) -> Vec<MessageId> {
        let first = first_of(self.oldest());
        let mut kept: Vec<MessageId> = ids.iter().copied().filter(|id| *id.as_bytes() >= first).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }
}

/// The key of a row with an id.
fn row_key(owner: &[u8], id: &MessageId) -> Attributes {
    attributes([("day", day_key(owner, day(id.time()))), ("id", bytes(*id.as_bytes()))])
}

#[async_trait]
impl Mailbox for DynamodbMailbox {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let session = self.connection.session()?;
        let tables = &self.connection.tables;
        let (item, expires) = (message.item(), self.expires(&message.id));
        let rows: Vec<Attributes> = message
            .recipients
            .iter()
            .map(|recipient| {
                let mut row = row_key(&user_key(message.organization, *recipient), &item.id);
                row.extend(attributes([
                    ("kind", kind(item.kind)),
                    ("sender", bytes(*item.from.as_bytes())),
                    ("size", number(item.size)),
                    (EXPIRES, number(expires)),
                ]));
                if let Some(of) = &item.of {
                    row.insert("acknowledges".to_owned(), bytes(*of.as_bytes()));
                }
                row
            })
            .collect();
        session
            .within(async {
                contents::put(session, &tables.messages, message, expires).await?;
                put_all(session, Request::WriteItems, &tables.mailbox, rows).await
            })
            .await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let session = self.connection.session()?;
        if *id.as_bytes() < first_of(self.oldest()) {
            return Ok(None);
        }
        let consistent = self.connection.settings.consistent_reads;
        let table = &self.connection.tables.messages;
        session.within(contents::get(session, table, organization, id, consistent)).await
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let session = self.connection.session()?;
        let days = Days {
            request: Request::QueryItems,
            table: &self.connection.tables.mailbox,
            owner: &user_key(organization, user),
            consistent: self.connection.settings.consistent_reads,
        };
        let rows = session.within(days.read(session, self.kept(range), limit)).await?;
        rows.into_iter().map(|row| Columns(row).item()).collect()
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        let session = self.connection.session()?;
        let owner = client_key(client);
        // What has expired is read by nobody, and DynamoDB never deletes what expired years ago.
        let rows: Vec<Attributes> = self
            .kept_ids(ids)
            .iter()
            .map(|id| {
                let mut row = row_key(&owner, id);
                row.insert(EXPIRES.to_owned(), number(self.expires(id)));
                row
            })
            .collect();
        session.within(put_all(session, Request::WriteFetched, &self.connection.tables.fetched, rows)).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let session = self.connection.session()?;
        let days = Days {
            request: Request::QueryFetched,
            table: &self.connection.tables.fetched,
            owner: &client_key(client),
            consistent: self.connection.settings.consistent_reads,
        };
        let rows = session.within(days.read(session, self.kept(range), limit)).await?;
        rows.into_iter().map(|row| Columns(row).message_id("id")).collect()
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let session = self.connection.session()?;
        let (owner, kept) = (client_key(client), self.kept_ids(ids));
        let (table, consistent) = (&self.connection.tables.fetched, self.connection.settings.consistent_reads);
        let read = async {
            let mut found = Vec::new();
            for ids in kept.chunks(READS_AT_ONCE) {
                let keys = ids.iter().map(|id| row_key(&owner, id)).collect();
                let rows = get_all(session, Request::GetFetched, table, keys, consistent).await?;
                for row in rows {
                    found.push(Columns(row).message_id("id")?);
                }
            }
            found.sort_unstable();
            Ok(found)
        };
        session.within(read).await
    }
}
