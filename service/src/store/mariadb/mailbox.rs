//! Messages: content first, then the rows in the mailboxes of all recipients, in one statement.
//!
//! Without indices a repeated write adds rows that are equal to others. Pages are read until they have as many different
//! ones as were asked for.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use mysql_async::Value;

use super::Connection;
use super::rows::{Columns, bytes, kind_number, limit as rows_limit, optional};
use super::session::Live;
use super::statements::{StatementName, fetched_statement};
use crate::store::{FETCHED_AMONG_MAX, IdRange, Mailbox, StoreError, StoredMessage};

/// Messages in MariaDB.
pub(super) struct MariadbMailbox {
    pub(super) connection: Arc<Connection>,
}

impl MariadbMailbox {
    /// Returns the part of a range that has not expired.
    fn kept(&self, range: IdRange) -> Option<([u8; 16], [u8; 16])> {
        // Bytes compare as the numbers that they are.
        let first = range.first_bytes().max(self.connection.oldest());
        (first <= range.last_bytes()).then(|| (first, range.last_bytes()))
    }

    /// Reads up to `limit` different rows of a range in their order. `values` are those of the statement before the range.
    async fn page<T: Send>(
        &self,
        statement: StatementName,
        values: &[&[u8; 16]],
        range: IdRange,
        limit: usize,
        make: fn(&mut Columns) -> Result<T, StoreError>,
        id: fn(&T) -> &MessageId,
    ) -> Result<Vec<T>, StoreError> {
        let live = self.connection.live()?;
        let mut rest = range;
        let mut page: Vec<T> = Vec::new();
        while page.len() < limit
            && let Some((first, last)) = self.kept(rest)
        {
            let ask = limit - page.len();
            let all = || {
                let key = values.iter().map(|id| bytes(*id));
                key.chain([bytes(&first), bytes(&last), rows_limit(ask)]).collect::<Vec<Value>>()
            };
            let mut rows = live.rows(statement, all, make).await?;
            let full = rows.len() == ask;
            rows.dedup_by(|one, other| id(one) == id(other));
            if let Some(last) = rows.last() {
                rest = rest.after(id(last));
            }
            page.append(&mut rows);
            if !full {
                break;
            }
        }
        Ok(page)
    }
}

async fn fetched_of(live: &Live, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
    let Some(filler) = ids.last() else { return Ok(Vec::new()) };
    let (statement, places) = fetched_statement(ids.len());
    let values = || {
        let key = [client.organization.as_bytes(), client.user.as_bytes(), client.client.as_bytes()];
        let ids = ids.iter().chain(std::iter::repeat(filler)).take(places);
        key.into_iter().map(|id| bytes(id)).chain(ids.map(|id| bytes(id.as_bytes()))).collect()
    };
    live.rows(statement, values, Columns::message_id).await
}

#[async_trait]
impl Mailbox for MariadbMailbox {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        let live = self.connection.live()?;
        let content = || {
            let recipients = message.recipients.iter().flat_map(|user| *user.as_bytes()).collect();
            vec![
                bytes(message.organization.as_bytes()),
                bytes(message.id.as_bytes()),
                kind_number(message.kind),
                bytes(message.sender.as_bytes()),
                Value::Bytes(recipients),
                optional(message.of.as_ref()),
                bytes(&message.content),
            ]
        };
        live.write(StatementName::InsertMessage, content).await?;
        let item = message.item();
        let row = |recipient: &UserId| {
            vec![
                bytes(message.organization.as_bytes()),
                bytes(recipient.as_bytes()),
                bytes(item.id.as_bytes()),
                kind_number(item.kind),
                bytes(item.from.as_bytes()),
                optional(item.of.as_ref()),
                Value::UInt(item.size),
            ]
        };
        if message.recipients.is_empty() {
            return Ok(());
        }
        live.write_rows(StatementName::InsertItems, || message.recipients.iter().map(row).collect()).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let live = self.connection.live()?;
        if *id.as_bytes() < self.connection.oldest() {
            return Ok(None);
        }
        let values = || vec![bytes(organization.as_bytes()), bytes(id.as_bytes())];
        let make = |columns: &mut Columns| {
            let (kind, sender, recipients) = (columns.kind()?, UserId::from_bytes(columns.id()?), columns.bytes()?);
            let (recipients, rest) = recipients.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(StoreError::Corrupt("the recipients of a message are no identifiers".to_owned()));
            }
            let recipients = recipients.iter().map(|bytes| UserId::from_bytes(*bytes)).collect();
            let (of, content) = (columns.acknowledged()?, columns.bytes()?);
            Ok(StoredMessage { organization, id, kind, sender, recipients, of, content })
        };
        Ok(live.rows(StatementName::SelectMessage, values, make).await?.into_iter().next())
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let key = [organization.as_bytes(), user.as_bytes()];
        self.page(StatementName::SelectItems, &key, range, limit, Columns::item, |item| &item.id).await
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        let live = self.connection.live()?;
        if ids.is_empty() {
            return Ok(());
        }
        // In order, so that two that write the same rows do so in the same order and seldom wait for each other.
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let row = |id: &MessageId| {
            let key = [client.organization.as_bytes(), client.user.as_bytes(), client.client.as_bytes()];
            key.into_iter().chain([id.as_bytes()]).map(|id| bytes(id)).collect()
        };
        live.write_rows(StatementName::InsertFetched, || sorted.iter().map(row).collect()).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let key = [client.organization.as_bytes(), client.user.as_bytes(), client.client.as_bytes()];
        self.page(StatementName::SelectFetched, &key, range, limit, Columns::message_id, |id| id).await
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let live = self.connection.live()?;
        let oldest = self.connection.oldest();
        let kept: Vec<MessageId> = ids.iter().copied().filter(|id| *id.as_bytes() >= oldest).collect();
        let mut found = Vec::new();
        for ids in kept.chunks(FETCHED_AMONG_MAX) {
            found.extend(fetched_of(live, client, ids).await?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}
