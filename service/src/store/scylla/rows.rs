//! How rows are written and read: identifiers, days, segments and buckets, times to live.
//!
//! Every identifier is a `blob` of its 16 bytes. Their order is that of the bytes, which the contract asks for; the type
//! `uuid` orders by version first.

use std::time::Duration;

use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use scylla::cluster::metadata::ColumnType;
use scylla::deserialize::value::DeserializeValue;
use scylla::deserialize::{DeserializationError, FrameSlice, TypeCheckError};
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};

use crate::store::{KEPT_LONGER, StoreError};

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1_000;
/// The shortest time to live, for what is older than retention already.
const TTL_MIN: u64 = 3_600;
/// The longest that servers accept: 20 years.
pub const TTL_MAX_SECONDS: u64 = 630_720_000;
/// Log entries of one partition. A statement has at most 256 KiB by default, so a partition at most 64 MiB.
pub(super) const SEGMENT: u64 = 256;
/// Partitions that an organization's users are spread over, by the first four bits of their ids: so that buckets one
/// after the other have users in their order.
pub(super) const BUCKETS: u8 = 16;

/// Sixteen bytes that are an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) [u8; 16]);

impl From<OrganizationId> for Id {
    fn from(id: OrganizationId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<UserId> for Id {
    fn from(id: UserId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<ClientId> for Id {
    fn from(id: ClientId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<MessageId> for Id {
    fn from(id: MessageId) -> Self {
        Self(*id.as_bytes())
    }
}

impl Id {
    pub(super) fn message(self) -> Result<MessageId, StoreError> {
        MessageId::from_bytes(self.0).map_err(|error| StoreError::Corrupt(format!("a row's message id: {error}")))
    }
}

impl SerializeValue for Id {
    fn serialize<'b>(
        &self,
        column: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        SerializeValue::serialize(&self.0.as_slice(), column, writer)
    }
}

impl<'frame, 'metadata> DeserializeValue<'frame, 'metadata> for Id {
    fn type_check(column: &ColumnType<'_>) -> Result<(), TypeCheckError> {
        <&[u8] as DeserializeValue<'frame, 'metadata>>::type_check(column)
    }

    fn deserialize(
        column: &'metadata ColumnType<'metadata>,
        value: Option<FrameSlice<'frame>>,
    ) -> Result<Self, DeserializationError> {
        let bytes = <&[u8] as DeserializeValue<'frame, 'metadata>>::deserialize(column, value)?;
        bytes.try_into().map(Self).map_err(DeserializationError::new)
    }
}

/// The day of a time, counted from 1970-01-01: a part of the partition keys of what is read by time.
pub(super) fn day(time: UnixMillis) -> i32 {
    i32::try_from(time.0 / DAY).unwrap_or(i32::MAX)
}

/// Returns the segment of a log entry.
pub(super) const fn segment(sequence: u64) -> i64 {
    signed(sequence / SEGMENT)
}

/// Returns the bucket of a user.
pub(super) const fn bucket(user: [u8; 16]) -> i8 {
    (user[0] >> 4).cast_signed()
}

/// Writes a number that is never so large that its sign would matter.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Reads a number that is never negative.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} where no negative number can be")))
}

/// Writes a limit of rows.
pub(super) fn limit(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// Returns the seconds that a row with this id is to live from now on.
pub(super) fn time_to_live(id: &MessageId, now: UnixMillis, retention: Duration) -> i32 {
    let end = id.time().plus(retention + KEPT_LONGER);
    let seconds = (end.since(now).as_secs()).clamp(TTL_MIN, TTL_MAX_SECONDS);
    i32::try_from(seconds).expect("twenty years are fewer seconds")
}

/// Writes a kind of item.
pub(super) const fn kind_number(kind: ItemKind) -> i8 {
    match kind {
        ItemKind::Message => 0,
        ItemKind::Receipt => 1,
    }
}

/// Reads a kind of item.
pub(super) fn kind_of(number: i8) -> Result<ItemKind, StoreError> {
    match number {
        0 => Ok(ItemKind::Message),
        1 => Ok(ItemKind::Receipt),
        _ => Err(StoreError::Corrupt(format!("a row's kind is {number}"))),
    }
}

/// Columns of a mailbox row: id, kind, sender, what it acknowledges, size.
pub(super) type ItemColumns = (Id, i8, Id, Option<Id>, i32);

/// Reads a mailbox row.
pub(super) fn item((id, kind, sender, of, size): ItemColumns) -> Result<Item, StoreError> {
    Ok(Item {
        id: id.message()?,
        kind: kind_of(kind)?,
        from: UserId::from_bytes(sender.0),
        of: of.map(Id::message).transpose()?,
        size: unsigned(i64::from(size))?,
    })
}

#[cfg(test)]
mod tests {
    use countersign_protocol::digest::Sha256Digest;

    use super::*;

    fn id_at(time: UnixMillis) -> MessageId {
        let organization = OrganizationId::from_bytes([1; 16]);
        MessageId::of_message(&organization, &UserId::from_bytes([2; 16]), time, &[], &Sha256Digest::of(b""))
    }

    #[test]
    fn a_row_lives_from_its_ids_time_on_and_never_ends_before_retention() {
        let retention = Duration::from_secs(14 * 86_400);
        let now = UnixMillis(1_795_400_000_000);
        let whole = 15 * 86_400;

        assert_eq!(time_to_live(&id_at(now), now, retention), whole);
        assert_eq!(time_to_live(&id_at(now.plus(Duration::from_secs(30))), now, retention), whole + 30);
        assert_eq!(time_to_live(&id_at(now.minus(Duration::from_secs(86_400))), now, retention), whole - 86_400);
        assert_eq!(time_to_live(&id_at(now.minus(2 * retention)), now, retention), 3_600);
        assert_eq!(time_to_live(&id_at(now), now, Duration::from_secs(u64::from(u32::MAX))), 630_720_000);
    }

    #[test]
    fn days_segments_and_buckets_follow_one_another() {
        assert_eq!((day(UnixMillis(0)), day(UnixMillis(DAY - 1)), day(UnixMillis(DAY))), (0, 0, 1));
        assert_eq!((segment(0), segment(255), segment(256)), (0, 0, 1));
        assert_eq!((bucket([0x0f; 16]), bucket([0x10; 16]), bucket([0xff; 16])), (0, 1, 15));
        assert_eq!(bucket([0xff; 16]) + 1, BUCKETS.cast_signed());
    }
}
