//! Writes and reads of many items, until none is left unprocessed.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{KeysAndAttributes, PutRequest, WriteRequest};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attributes::Attributes;
use super::session::{Request, Session};
use crate::store::StoreError;

/// Items that DynamoDB takes in one write.
pub(super) const WRITES_AT_ONCE: usize = 25;
/// Keys that DynamoDB takes in one read.
pub(super) const READS_AT_ONCE: usize = 100;
/// Writes of one call that are under way at once.
const BATCHES_AT_ONCE: usize = 8;

/// Puts items, none twice, as they are: what stands there already is written over by the same.
pub(super) async fn put_all(
    session: &Session,
    request: Request,
    table: &str,
    items: Vec<Attributes>,
) -> Result<(), StoreError> {
    let mut batches: Vec<Vec<WriteRequest>> = Vec::with_capacity(items.len().div_ceil(WRITES_AT_ONCE));
    for item in items {
        let put = PutRequest::builder().set_item(Some(item)).build().expect("the item is set");
        let write = WriteRequest::builder().put_request(put).build();
        match batches.last_mut() {
            Some(batch) if batch.len() < WRITES_AT_ONCE => batch.push(write),
            _ => batches.push(vec![write]),
        }
    }
    // Not lazily from `items`: the compiler cannot see then that the futures may go from one thread to another.
    let writes: Vec<_> = batches.into_iter().map(|batch| put_batch(session, request, table, batch)).collect();
    stream::iter(writes).buffer_unordered(BATCHES_AT_ONCE).try_collect::<()>().await
}

async fn put_batch(
    session: &Session,
    request: Request,
    table: &str,
    mut left: Vec<WriteRequest>,
) -> Result<(), StoreError> {
    let mut patience = session.patience();
    loop {
        let before = left.len();
        let answer = session.send(request, || {
            let batch = HashMap::from([(table.to_owned(), left.clone())]);
            session.client.batch_write_item().set_request_items(Some(batch)).send()
        });
        left = answer.await?.unprocessed_items.and_then(|mut tables| tables.remove(table)).unwrap_or_default();
        if left.is_empty() {
            return Ok(());
        }
        patience.pause_for_capacity(left.len() < before).await?;
    }
}

/// Gets items by their keys, of which there are at most [`READS_AT_ONCE`] and none twice; in no order.
pub(super) async fn get_all(
    session: &Session,
    request: Request,
    table: &str,
    keys: Vec<Attributes>,
    consistent: bool,
) -> Result<Vec<Attributes>, StoreError> {
    let (mut found, mut left, mut patience) = (Vec::new(), keys, session.patience());
    while !left.is_empty() {
        let before = left.len();
        let answer = session.send(request, || {
            let keys = KeysAndAttributes::builder().set_keys(Some(left.clone())).consistent_read(consistent).build();
            let keys = HashMap::from([(table.to_owned(), keys.expect("the keys are set"))]);
            session.client.batch_get_item().set_request_items(Some(keys)).send()
        });
        let answer = answer.await?;
        found.extend(answer.responses.and_then(|mut tables| tables.remove(table)).unwrap_or_default());
        left = answer
            .unprocessed_keys
            .and_then(|mut tables| tables.remove(table))
            .map(|left| left.keys)
            .unwrap_or_default();
        if !left.is_empty() {
            patience.pause_for_capacity(left.len() < before).await?;
        }
    }
    Ok(found)
}
