//! Contents: in one item where they fit, and else in parts.
//!
//! An item has at most 400 KB, attribute names and all. The first part stands with who sent it to whom, and it is written
//! last: whoever finds it finds all. Every part has a partition's key of its own, so that a large content does not come down
//! on one partition.

use bytes::{Bytes, BytesMut};
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attributes::{Attributes, Columns, attributes, bytes, kind, number};
use super::schema::EXPIRES;
use super::session::{Conditional, Request, Session};
use crate::store::{StoreError, StoredMessage};

/// Bytes of content in one item.
pub(super) const PART_BYTES: usize = 256 * 1024;
/// Parts of one content that are written or read at once.
const PARTS_AT_ONCE: usize = 4;

/// The key of a message, or of a later part of its content.
fn key(organization: OrganizationId, id: MessageId, part: u16) -> Vec<u8> {
    let mut key = [*organization.as_bytes(), *id.as_bytes()].concat();
    if part > 0 {
        key.extend(part.to_be_bytes());
    }
    key
}

/// Puts a message, unless it is there. `expires` is the second after which it may be deleted.
pub(super) async fn put(
    session: &Session,
    table: &str,
    message: &StoredMessage,
    expires: u64,
) -> Result<(), StoreError> {
    let first = message.content.slice(..message.content.len().min(PART_BYTES));
    let later = message.content.slice(first.len()..);
    let parts: Vec<(u16, Bytes)> =
        later.chunks(PART_BYTES).zip(1..=u16::MAX).map(|(part, number)| (number, later.slice_ref(part))).collect();
    if parts.len() != later.len().div_ceil(PART_BYTES) {
        return Err(StoreError::Corrupt("a content has more parts than can be numbered".to_owned()));
    }
    let mut head = attributes([
        ("part", bytes(key(message.organization, message.id, 0))),
        ("kind", kind(message.kind)),
        ("sender", bytes(*message.sender.as_bytes())),
        ("recipients", bytes(message.recipients.iter().flat_map(|user| *user.as_bytes()).collect::<Vec<u8>>())),
        ("parts", number(parts.len() as u64 + 1)),
        ("content", bytes(first)),
        (EXPIRES, number(expires)),
    ]);
    if let Some(of) = &message.of {
        head.insert("acknowledges".to_owned(), bytes(*of.as_bytes()));
    }
    let writes: Vec<_> = parts
        .into_iter()
        .map(|(number_of, part)| {
            let item = attributes([
                ("part", bytes(key(message.organization, message.id, number_of))),
                ("content", bytes(part)),
                (EXPIRES, number(expires)),
            ]);
            put_once(session, Request::PutPart, table, item)
        })
        .collect();
    stream::iter(writes).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>().await?;
    put_once(session, Request::PutMessage, table, head).await
}

/// Puts an item, unless one is there with its key: then that is the same one.
async fn put_once(session: &Session, request: Request, table: &str, item: Attributes) -> Result<(), StoreError> {
    let put = session.conditional(request, || {
        session
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(item.clone()))
            .condition_expression("attribute_not_exists(part)")
            .send()
    });
    match put.await? {
        Conditional::Applied | Conditional::Refused { .. } => Ok(()),
    }
}

/// Gets a message.
pub(super) async fn get(
    session: &Session,
    table: &str,
    organization: OrganizationId,
    id: MessageId,
    consistent: bool,
) -> Result<Option<StoredMessage>, StoreError> {
    let found = get_part(session, Request::GetMessage, table, key(organization, id, 0), consistent).await?;
    let Some(mut head) = found else { return Ok(None) };
    let recipients = head.bytes("recipients")?;
    let (recipients, rest) = recipients.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(StoreError::Corrupt("the recipients of a message are no identifiers".to_owned()));
    }
    let recipients = recipients.iter().map(|bytes| UserId::from_bytes(*bytes)).collect();
    let parts = u16::try_from(head.number("parts")?)
        .map_err(|_| StoreError::Corrupt("a content has more parts than can be numbered".to_owned()))?;
    let first = head.bytes("content")?;
    let content = if parts <= 1 {
        Bytes::from(first)
    } else {
        let reads: Vec<_> = (1..parts)
            .map(|part| get_part(session, Request::GetPart, table, key(organization, id, part), consistent))
            .collect();
        let mut content = BytesMut::from(&*first);
        let mut later = stream::iter(reads).buffered(PARTS_AT_ONCE);
        while let Some(part) = later.try_next().await? {
            let missing = || StoreError::Corrupt("a part of a message's content is missing".to_owned());
            content.extend_from_slice(&part.ok_or_else(missing)?.bytes("content")?);
        }
        content.freeze()
    };
    Ok(Some(StoredMessage {
        organization,
        id,
        kind: head.kind()?,
        sender: UserId::from_bytes(head.id("sender")?),
        recipients,
        of: head.acknowledged()?,
        content,
    }))
}

/// Gets an item. One that an eventually consistent read does not find may be there all the same: whoever sees a row of a mailbox
/// can read the content, so it is looked for again.
async fn get_part(
    session: &Session,
    request: Request,
    table: &str,
    key: Vec<u8>,
    consistent: bool,
) -> Result<Option<Columns>, StoreError> {
    let read = async |consistent| {
        let answer = session.send(request, || {
            let key = bytes(key.clone());
            session.client.get_item().table_name(table).key("part", key).consistent_read(consistent).send()
        });
        Ok::<_, StoreError>(answer.await?.item.map(Columns))
    };
    match read(consistent).await? {
        None if !consistent => read(true).await,
        found => Ok(found),
    }
}
