//! Queries: a page at a time, and of what is kept by days, day by day.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;

use super::attributes::{Attributes, bytes, day, day_key};
use super::session::{Request, Session};
use crate::store::{IdRange, StoreError};

/// Days that are read at once, where those before were empty.
const DAYS_AT_ONCE_MAX: u32 = 8;

/// The part of one partition that a query reads: from the first to the last of its sort keys.
pub(super) struct Part<'a> {
    pub(super) request: Request,
    pub(super) table: &'a str,
    /// The attributes of the table's key.
    pub(super) key: (&'a str, &'a str),
    pub(super) partition: AttributeValue,
    pub(super) first: AttributeValue,
    pub(super) last: AttributeValue,
    pub(super) consistent: bool,
}

/// Reads up to `limit` items, in order. DynamoDB ends a page after 1 MB.
pub(super) async fn read(session: &Session, part: Part<'_>, limit: usize) -> Result<Vec<Attributes>, StoreError> {
    let (mut items, mut from) = (Vec::new(), None);
    while items.len() < limit {
        let ask = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
        let answer = session.send(part.request, || {
            session
                .client
                .query()
                .table_name(part.table)
                .key_condition_expression("#partition = :partition AND #sort BETWEEN :first AND :last")
                .expression_attribute_names("#partition", part.key.0)
                .expression_attribute_names("#sort", part.key.1)
                .expression_attribute_values(":partition", part.partition.clone())
                .expression_attribute_values(":first", part.first.clone())
                .expression_attribute_values(":last", part.last.clone())
                .consistent_read(part.consistent)
                .limit(ask)
                .set_exclusive_start_key(from.clone())
                .send()
        });
        let answer = answer.await?;
        items.extend(answer.items.unwrap_or_default());
        from = answer.last_evaluated_key.filter(|key| !key.is_empty());
        if from.is_none() {
            break;
        }
    }
    Ok(items)
}

/// A table of what is kept by days, and whose part of it is read.
#[derive(Clone, Copy)]
pub(super) struct Days<'a> {
    pub(super) request: Request,
    pub(super) table: &'a str,
    pub(super) owner: &'a [u8],
    pub(super) consistent: bool,
}

impl Days<'_> {
    /// Reads up to `limit` items of a range of ids, in order. One day at a time, so that no more is read and paid than is
    /// asked for; but of empty days, ever more at once.
    pub(super) async fn read(
        &self,
        session: &Session,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Attributes>, StoreError> {
        let mut items: Vec<Attributes> = Vec::new();
        if range.is_empty() {
            return Ok(items);
        }
        let (first, last) = range.times();
        let (mut next, last, mut width) = (day(first), day(last), 1);
        while items.len() < limit && next <= last {
            let until = last.min(next.saturating_add(width - 1));
            let wanted = limit - items.len();
            let days = (next..=until).map(|day| read(session, self.of(day, range), wanted));
            let read: Vec<Attributes> = try_join_all(days).await?.into_iter().flatten().collect();
            width = if read.is_empty() { (width * 2).min(DAYS_AT_ONCE_MAX) } else { 1 };
            items.extend(read);
            let Some(after) = until.checked_add(1) else { break };
            next = after;
        }
        items.truncate(limit);
        Ok(items)
    }

    fn of(&self, day: u32, range: IdRange) -> Part<'_> {
        Part {
            request: self.request,
            table: self.table,
            key: ("day", "id"),
            partition: day_key(self.owner, day),
            first: bytes(range.first_bytes()),
            last: bytes(range.last_bytes()),
            consistent: self.consistent,
        }
    }
}
