//! How values are written. Numbers are big-endian.

use bytes::{BufMut as _, Bytes};
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;

use crate::store::{ClientPlace, StoreError, StoredMessage};

/// What distinguishes a call from others: in what it writes, so that a repeat of it is told from another call.
pub(super) type Call = [u8; 16];

/// Of the flags of a message: it is a receipt; it says which message it acknowledges.
const RECEIPT: u8 = 1;
const ACKNOWLEDGES: u8 = 2;
/// Of the flags of a record.
const ADMINISTRATOR: u8 = 1;
const ACTIVE: u8 = 2;

fn flags(kind: ItemKind, of: Option<&MessageId>) -> u8 {
    let kind = match kind {
        ItemKind::Message => 0,
        ItemKind::Receipt => RECEIPT,
    };
    kind | of.map_or(0, |_| ACKNOWLEDGES)
}

/// Writes a message: flags, sender, perhaps which it acknowledges, number of recipients, recipients, content.
pub(super) fn encode_message(message: &StoredMessage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(37 + 16 * message.recipients.len() + message.content.len());
    bytes.put_u8(flags(message.kind, message.of.as_ref()));
    bytes.put_slice(message.sender.as_bytes());
    if let Some(of) = &message.of {
        bytes.put_slice(of.as_bytes());
    }
    bytes.put_u32(u32::try_from(message.recipients.len()).unwrap_or(u32::MAX));
    for recipient in &message.recipients {
        bytes.put_slice(recipient.as_bytes());
    }
    bytes.put_slice(&message.content);
    bytes
}

/// Reads what [`encode_message`] wrote.
pub(super) fn decode_message(
    organization: OrganizationId,
    id: MessageId,
    bytes: Vec<u8>,
) -> Result<StoredMessage, StoreError> {
    let bytes = Bytes::from(bytes);
    let mut reader = Reader(&bytes);
    let head = |reader: &mut Reader<'_>| {
        let (kind, acknowledges) = reader.flags()?;
        let sender = UserId::from_bytes(reader.take()?);
        let of = if acknowledges { Some(reader.message_id()?) } else { None };
        let number = usize::try_from(reader.small()?).ok()?;
        let recipients = (0..number).map(|_| Some(UserId::from_bytes(reader.take()?))).collect::<Option<Vec<_>>>()?;
        Some((kind, sender, of, recipients))
    };
    let (kind, sender, of, recipients) = head(&mut reader).ok_or_else(|| corrupt("a message"))?;
    let content = bytes.slice(bytes.len() - reader.0.len()..);
    Ok(StoredMessage { organization, id, kind, sender, recipients, of, content })
}

/// Writes a row of a mailbox: id, flags, sender, perhaps which it acknowledges, and the size in as few bytes as it needs.
pub(super) fn encode_item(item: &Item) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(57);
    bytes.put_slice(item.id.as_bytes());
    bytes.put_u8(flags(item.kind, item.of.as_ref()));
    bytes.put_slice(item.from.as_bytes());
    if let Some(of) = &item.of {
        bytes.put_slice(of.as_bytes());
    }
    let size = item.size.to_be_bytes();
    bytes.put_slice(&size[(item.size.leading_zeros() / 8) as usize..]);
    bytes
}

/// Reads what [`encode_item`] wrote.
pub(super) fn decode_item(bytes: &[u8]) -> Result<Item, StoreError> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        let id = MessageId::from_bytes(reader.take()?).ok()?;
        let (kind, acknowledges) = reader.flags()?;
        let from = UserId::from_bytes(reader.take()?);
        let of = if acknowledges { Some(reader.message_id()?) } else { None };
        let mut size = [0; 8];
        size.get_mut(8_usize.checked_sub(reader.0.len())?..)?.copy_from_slice(reader.0);
        Some(Item { id, kind, from, of, size: u64::from_be_bytes(size) })
    };
    read(&mut reader).ok_or_else(|| corrupt("a row of a mailbox"))
}

/// Reads an id that a client has fetched.
pub(super) fn decode_fetched(bytes: &[u8]) -> Result<MessageId, StoreError> {
    let id = bytes.try_into().ok().and_then(|bytes| MessageId::from_bytes(bytes).ok());
    id.ok_or_else(|| corrupt("an id that was fetched"))
}

/// Writes an entry of a log: the call that appends it, length of the statement, statement, signatures in JSON.
pub(super) fn encode_entry(entry: &LogEntry, call: &Call) -> Result<Vec<u8>, StoreError> {
    let signatures = serde_json::to_vec(&entry.signatures).map_err(|_| corrupt("the signatures of a log entry"))?;
    let length = u32::try_from(entry.statement.len()).map_err(|_| corrupt("the length of a log entry"))?;
    let mut bytes = Vec::with_capacity(20 + entry.statement.len() + signatures.len());
    bytes.put_slice(call);
    bytes.put_u32(length);
    bytes.put_slice(entry.statement.as_bytes());
    bytes.put_slice(&signatures);
    Ok(bytes)
}

/// Reads what [`encode_entry`] wrote.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<LogEntry, StoreError> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        let _call: Call = reader.take()?;
        let length = usize::try_from(reader.small()?).ok()?;
        let (statement, signatures) = reader.0.split_at_checked(length)?;
        let statement = String::from_utf8(statement.to_vec()).ok()?;
        Some(LogEntry { statement, signatures: serde_json::from_slice(signatures).ok()? })
    };
    read(&mut reader).ok_or_else(|| corrupt("an entry of a log"))
}

/// Writes a record: user, changed, since when sessions count, flags, limit of clients, fingerprint after its length,
/// certificate.
pub(super) fn encode_record(record: &UserRecord) -> Result<Vec<u8>, StoreError> {
    let fingerprint = record.fingerprint.as_bytes();
    let mut bytes = Vec::with_capacity(72 + record.certificate.len());
    bytes.put_slice(record.user.as_bytes());
    bytes.put_u64(record.changed);
    bytes.put_u64(record.sessions_since);
    let administrator = if record.administrator { ADMINISTRATOR } else { 0 };
    bytes.put_u8(administrator | if record.active { ACTIVE } else { 0 });
    // Zero clients are not allowed to anyone, so zero says that no statement tells.
    bytes.put_u32(record.client_limit.unwrap_or(0));
    bytes.put_u8(u8::try_from(fingerprint.len()).map_err(|_| corrupt("a fingerprint"))?);
    bytes.put_slice(fingerprint);
    bytes.put_slice(record.certificate.as_bytes());
    Ok(bytes)
}

/// Reads what [`encode_record`] wrote.
pub(super) fn decode_record(bytes: &[u8]) -> Result<UserRecord, StoreError> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| {
        let user = UserId::from_bytes(reader.take()?);
        let (changed, sessions_since) = (reader.number()?, reader.number()?);
        let [flags] = reader.take()?;
        let client_limit = Some(reader.small()?).filter(|limit| *limit > 0);
        let [length] = reader.take()?;
        let (fingerprint, certificate) = reader.0.split_at_checked(length.into())?;
        Some(UserRecord {
            user,
            certificate: String::from_utf8(certificate.to_vec()).ok()?,
            fingerprint: Fingerprint::from_bytes(fingerprint)?,
            administrator: flags & ADMINISTRATOR > 0,
            active: flags & ACTIVE > 0,
            client_limit,
            changed,
            sessions_since,
        })
    };
    read(&mut reader).ok_or_else(|| corrupt("a user's record"))
}

/// Reads a client's place, as the function writes it: place, since, call.
pub(super) fn decode_place(client: &[u8], value: &[u8]) -> Result<ClientPlace, StoreError> {
    let read = || {
        let client = ClientId::from_bytes(client.try_into().ok()?);
        let mut reader = Reader(value);
        Some(ClientPlace { place: reader.small()?, client, since: UnixMicros(reader.number()?) })
    };
    read().ok_or_else(|| corrupt("a client's place"))
}

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} is not what this program writes"))
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn small(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn flags(&mut self) -> Option<(ItemKind, bool)> {
        let [flags] = self.take()?;
        let kind = if flags & RECEIPT > 0 { ItemKind::Receipt } else { ItemKind::Message };
        (flags <= RECEIPT | ACKNOWLEDGES).then_some((kind, flags & ACKNOWLEDGES > 0))
    }

    fn message_id(&mut self) -> Option<MessageId> {
        MessageId::from_bytes(self.take()?).ok()
    }
}
