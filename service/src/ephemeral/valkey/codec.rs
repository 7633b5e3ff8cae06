//! How values are written: see the head of `functions.lua`, which reads and writes the same bytes.

use bytes::BufMut as _;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use zeroize::Zeroizing;

use crate::ephemeral::{ArrivalMark, ListingHints, Session, SessionId};

/// A value of Valkey that this program never writes.
#[derive(Debug, thiserror::Error)]
#[error("Valkey answered with something unexpected: {0}")]
pub(super) struct Unexpected(pub(super) &'static str);

/// Writes a session: id, key, expiry, since.
pub(super) fn encode_session(session: &Session) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    bytes.put_slice(&session.id.0);
    bytes.put_slice(session.key.expose());
    bytes.put_u64(session.expires.0);
    bytes.put_u64(session.since);
    bytes
}

/// Reads what [`encode_session`] wrote.
pub(super) fn decode_session(bytes: &[u8]) -> Result<Session, Unexpected> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        Some(Session {
            id: SessionId(reader.take()?),
            key: SessionKey::from_bytes(reader.take()?),
            expires: UnixMicros(reader.number()?),
            since: reader.number()?,
        })
    };
    read(&mut reader).filter(|_| reader.0.is_empty()).ok_or(Unexpected("a session"))
}

/// Reads a client's state: its hints. The mark in it is looked at by the functions alone, but for its bytes.
pub(super) fn decode_state(bytes: &[u8]) -> Result<(ListingHints, ArrivalMark), Unexpected> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        let _nonce_and_attempt: [u8; 16] = reader.take()?;
        let mut time = || reader.number().map(|time| (time > 0).then_some(UnixMillis(time)));
        let hints = ListingHints { last_known_good: time()?, reconciled: time()?, merged: time()? };
        Some((hints, mark(reader)?))
    };
    read(&mut reader).filter(|_| reader.0.is_empty()).ok_or(Unexpected("a client's state"))
}

/// The largest count of arrivals in one millisecond: the functions' numbers are doubles, and a server never comes near.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// Writes a mark: epoch and place. The place just before one whose count is 0 has a count that no double holds; the
/// largest that one does lies between the same two arrivals.
pub(super) fn encode_mark(mark: &ArrivalMark) -> [u8; 24] {
    let milliseconds = mark.place >> 64;
    let count = (mark.place & u128::from(u64::MAX)).min(u128::from(COUNT_MAX));
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&mark.epoch.to_be_bytes());
    bytes[8..].copy_from_slice(&(milliseconds << 64 | count).to_be_bytes());
    bytes
}

/// Reads what [`encode_mark`] wrote.
pub(super) fn decode_mark(bytes: &[u8]) -> Result<ArrivalMark, Unexpected> {
    let mut reader = Reader(bytes);
    mark(&mut reader).filter(|_| reader.0.is_empty()).ok_or(Unexpected("a mark"))
}

fn mark(reader: &mut Reader<'_>) -> Option<ArrivalMark> {
    Some(ArrivalMark { epoch: reader.number()?, place: u128::from_be_bytes(reader.take()?) })
}

/// Reads the id of a stream's entry, `<milliseconds>-<count>`, as a place.
pub(super) fn decode_place(id: &[u8]) -> Result<u128, Unexpected> {
    let place = || {
        let (milliseconds, count) = std::str::from_utf8(id).ok()?.split_once('-')?;
        let (milliseconds, count): (u64, u64) = (milliseconds.parse().ok()?, count.parse().ok()?);
        Some(u128::from(milliseconds) << 64 | u128::from(count))
    };
    place().ok_or(Unexpected("the id of an arrival"))
}

const MESSAGE: u8 = 0;
const RECEIPT: u8 = 1;

/// Writes a row: kind, id, sender, size, and of a receipt the message that it acknowledges.
pub(super) fn encode_item(item: &Item) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(57);
    bytes.put_u8(match item.kind {
        ItemKind::Message => MESSAGE,
        ItemKind::Receipt => RECEIPT,
    });
    bytes.put_slice(item.id.as_bytes());
    bytes.put_slice(item.from.as_bytes());
    bytes.put_u64(item.size);
    if let Some(of) = &item.of {
        bytes.put_slice(of.as_bytes());
    }
    bytes
}

/// Reads what [`encode_item`] wrote.
pub(super) fn decode_item(bytes: &[u8]) -> Result<Item, Unexpected> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        let kind = match reader.take()? {
            [MESSAGE] => ItemKind::Message,
            [RECEIPT] => ItemKind::Receipt,
            _ => return None,
        };
        let id = MessageId::from_bytes(reader.take()?).ok()?;
        let (from, size) = (UserId::from_bytes(reader.take()?), reader.number()?);
        let of = match kind {
            ItemKind::Message => None,
            ItemKind::Receipt => Some(MessageId::from_bytes(reader.take()?).ok()?),
        };
        Some(Item { id, kind, from, of, size })
    };
    read(&mut reader).filter(|_| reader.0.is_empty()).ok_or(Unexpected("an arrival"))
}

/// Reads fields from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::digest::Sha256Digest;
    use countersign_protocol::id::OrganizationId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            id: [u8; 16], key: [u8; 32], expires: u64, since: u64, epoch: u64, place: u128, size: u64, receipt: bool,
        ) {
            let session = Session {
                id: SessionId(id),
                key: SessionKey::from_bytes(key),
                expires: UnixMicros(expires),
                since,
            };
            let bytes = encode_session(&session);
            prop_assert!(bytes.len() <= 64);
            let read = decode_session(&bytes).unwrap();
            prop_assert_eq!((read.id, read.expires, read.since), (session.id, session.expires, session.since));
            prop_assert!(read.key == session.key);

            let mark = ArrivalMark { epoch, place };
            let written = decode_mark(&encode_mark(&mark)).unwrap();
            prop_assert_eq!((written.epoch, written.place >> 64), (epoch, place >> 64));
            let low = u128::from(u64::MAX);
            prop_assert_eq!(written.place & low, (place & low).min(u128::from(COUNT_MAX)));
            let text = format!("{}-{}", place >> 64, place & u128::from(u64::MAX));
            prop_assert_eq!(decode_place(text.as_bytes()).unwrap(), place);

            let (organization, from) = (OrganizationId::from_bytes(id), UserId::from_bytes(id));
            let message = MessageId::of_message(&organization, &from, UnixMillis(7), &[], &Sha256Digest::of(&key));
            let item = Item {
                id: message,
                kind: if receipt { ItemKind::Receipt } else { ItemKind::Message },
                from,
                of: receipt.then_some(message),
                size,
            };
            prop_assert_eq!(decode_item(&encode_item(&item)).unwrap(), item);
        }

        #[test]
        fn garbage_is_refused_and_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_session(&bytes);
            let _ = decode_item(&bytes);
            let _ = decode_mark(&bytes);
            let _ = decode_place(&bytes);
            prop_assert_eq!(decode_state(&bytes).is_ok(), bytes.len() == 64);
        }
    }
}
