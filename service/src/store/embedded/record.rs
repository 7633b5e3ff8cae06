//! How rows are written to the journal and to the tables: fixed-width keys, and two kinds of records.
//!
//! All numbers are big-endian, so the order of bytes is the order of what they mean.

use bytes::{BufMut as _, Bytes};
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::{InvalidMessageId, MessageId};

use crate::store::StoredMessage;

/// Key of a message: id, organization. In this order, so that new messages come at the end of the table.
pub(super) type MessageKey = [u8; 32];
/// Key of a mailbox row: organization, user, id.
pub(super) type ItemKey = [u8; 48];
/// Key of a fetched row: organization, user, client, id.
pub(super) type FetchedKey = [u8; 64];
/// A mailbox row: kind, sender, size, and of a receipt the message that it acknowledges.
pub(super) type ItemValue = [u8; 41];

pub(super) fn message_key(organization: OrganizationId, id: MessageId) -> MessageKey {
    join([id.as_bytes(), organization.as_bytes()])
}

pub(super) fn item_key(organization: OrganizationId, user: UserId, id: [u8; 16]) -> ItemKey {
    join([organization.as_bytes(), user.as_bytes(), &id])
}

pub(super) fn fetched_key(client: &ClientAddress, id: [u8; 16]) -> FetchedKey {
    join([client.organization.as_bytes(), client.user.as_bytes(), client.client.as_bytes(), &id])
}

/// Joins fields of 16 bytes.
pub(super) fn join<const FIELDS: usize, const BYTES: usize>(fields: [&[u8; 16]; FIELDS]) -> [u8; BYTES] {
    const { assert!(BYTES == FIELDS * 16) };
    let mut key = [0; BYTES];
    for (place, field) in key.chunks_exact_mut(16).zip(fields) {
        place.copy_from_slice(field);
    }
    key
}

/// Returns the last field of a key, which is the id; none if it is none.
pub(super) fn id_of(key: &[u8]) -> Option<MessageId> {
    let bytes: [u8; 16] = *key.last_chunk()?;
    MessageId::from_bytes(bytes).ok()
}

pub(super) fn item_value(item: &Item) -> ItemValue {
    let mut value = [0; 41];
    value[0] = kind_byte(item.kind);
    value[1..17].copy_from_slice(item.from.as_bytes());
    value[17..25].copy_from_slice(&item.size.to_be_bytes());
    if let Some(of) = &item.of {
        value[25..].copy_from_slice(of.as_bytes());
    }
    value
}

pub(super) fn item_of(key: &ItemKey, value: &ItemValue) -> Option<Item> {
    let mut reader = Reader(value);
    let kind = kind_of(reader.byte()?)?;
    let from = UserId::from_bytes(reader.field()?);
    let size = u64::from_be_bytes(reader.take()?);
    let of = acknowledged(kind, reader.field()?).ok()?;
    Some(Item { id: id_of(key)?, kind, from, of, size })
}

/// A record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A message, and with it the rows of its recipients.
    Message(StoredMessage),
    /// Messages that a client has fetched.
    Fetched(ClientAddress, Vec<MessageId>),
}

const MESSAGE: u8 = 1;
const FETCHED: u8 = 2;

/// Writes a message as the journal and the table of messages hold it.
pub(super) fn encode_message(message: &StoredMessage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96 + message.recipients.len() * 16 + message.content.len());
    bytes.put_u8(MESSAGE);
    bytes.put_u8(kind_byte(message.kind));
    bytes.put_slice(message.organization.as_bytes());
    bytes.put_slice(message.id.as_bytes());
    bytes.put_slice(message.sender.as_bytes());
    bytes.put_slice(message.of.as_ref().map_or(&[0; 16], |of| of.as_bytes()));
    bytes.put_u32(u32::try_from(message.recipients.len()).expect("a request with so many recipients has no room"));
    for recipient in &message.recipients {
        bytes.put_slice(recipient.as_bytes());
    }
    bytes.put_slice(&message.content);
    bytes
}

/// Writes a confirmation as the journal holds it.
pub(super) fn encode_fetched(client: &ClientAddress, ids: &[MessageId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(49 + ids.len() * 16);
    bytes.put_u8(FETCHED);
    bytes.put_slice(client.organization.as_bytes());
    bytes.put_slice(client.user.as_bytes());
    bytes.put_slice(client.client.as_bytes());
    for id in ids {
        bytes.put_slice(id.as_bytes());
    }
    bytes
}

/// Reads what [`encode_message`] or [`encode_fetched`] wrote; none if it is neither.
pub(super) fn decode(bytes: &Bytes) -> Option<Record> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        MESSAGE => {
            let kind = kind_of(reader.byte()?)?;
            let organization = OrganizationId::from_bytes(reader.field()?);
            let id = MessageId::from_bytes(reader.field()?).ok()?;
            let sender = UserId::from_bytes(reader.field()?);
            let of = acknowledged(kind, reader.field()?).ok()?;
            let count = u32::from_be_bytes(reader.take()?);
            let recipients =
                (0..count).map(|_| reader.field().map(UserId::from_bytes)).collect::<Option<Vec<_>>>()?;
            let content = bytes.slice(bytes.len() - reader.0.len()..);
            Some(Record::Message(StoredMessage { organization, id, kind, sender, recipients, of, content }))
        }
        FETCHED => {
            let organization = OrganizationId::from_bytes(reader.field()?);
            let user = UserId::from_bytes(reader.field()?);
            let client = ClientId::from_bytes(reader.field()?);
            let mut ids = Vec::with_capacity(reader.0.len() / 16);
            while !reader.0.is_empty() {
                ids.push(MessageId::from_bytes(reader.field()?).ok()?);
            }
            Some(Record::Fetched(ClientAddress { organization, user, client }, ids))
        }
        _ => None,
    }
}

fn kind_byte(kind: ItemKind) -> u8 {
    match kind {
        ItemKind::Message => 0,
        ItemKind::Receipt => 1,
    }
}

fn kind_of(byte: u8) -> Option<ItemKind> {
    match byte {
        0 => Some(ItemKind::Message),
        1 => Some(ItemKind::Receipt),
        _ => None,
    }
}

/// Returns the message that an item acknowledges; only a receipt does.
fn acknowledged(kind: ItemKind, bytes: [u8; 16]) -> Result<Option<MessageId>, InvalidMessageId> {
    match kind {
        ItemKind::Message => Ok(None),
        ItemKind::Receipt => MessageId::from_bytes(bytes).map(Some),
    }
}

/// Reads fields from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn field(&mut self) -> Option<[u8; 16]> {
        self.take()
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::digest::Sha256Digest;
    use countersign_protocol::time::UnixMillis;
    use proptest::prelude::*;

    use super::*;

    fn message(recipients: Vec<[u8; 16]>, content: Vec<u8>, receipt: bool) -> StoredMessage {
        let organization = OrganizationId::from_bytes([1; 16]);
        let sender = UserId::from_bytes([2; 16]);
        let id = MessageId::of_message(&organization, &sender, UnixMillis(7), &[], &Sha256Digest::of(&content));
        StoredMessage {
            organization,
            id,
            kind: if receipt { ItemKind::Receipt } else { ItemKind::Message },
            sender,
            recipients: recipients.into_iter().map(UserId::from_bytes).collect(),
            of: receipt.then_some(id),
            content: content.into(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            recipients in proptest::collection::vec(any::<[u8; 16]>(), 0..5),
            content in proptest::collection::vec(any::<u8>(), 0..200),
            receipt: bool,
        ) {
            let message = message(recipients, content, receipt);
            prop_assert_eq!(decode(&encode_message(&message).into()), Some(Record::Message(message.clone())));
            let item = message.item();
            let key = item_key(message.organization, message.sender, *item.id.as_bytes());
            prop_assert_eq!(item_of(&key, &item_value(&item)), Some(item));
            let client = ClientAddress {
                organization: message.organization,
                user: message.sender,
                client: ClientId::from_bytes([3; 16]),
            };
            let fetched = Record::Fetched(client, vec![message.id; 3]);
            prop_assert_eq!(decode(&encode_fetched(&client, &[message.id; 3]).into()), Some(fetched));
        }

        #[test]
        fn garbage_is_refused_and_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes.into());
        }
    }
}
