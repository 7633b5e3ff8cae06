//! How rows are written and read.
//!
//! Every column that holds bytes or text is binary: the order of identifiers is that of their bytes, which the contract
//! asks for, and no character set can change anything on its way.

use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use mysql_async::{Row, Value};

use crate::store::StoreError;

/// Writes bytes.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

/// Writes what may be absent.
pub(super) fn optional(id: Option<&MessageId>) -> Value {
    id.map_or(Value::NULL, |id| bytes(id.as_bytes()))
}

/// Writes a limit of rows.
pub(super) fn limit(rows: usize) -> Value {
    Value::UInt(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// Writes the first 16 bytes that an id of a time, or of a later one, can have.
pub(super) fn first_of(time: UnixMillis) -> [u8; 16] {
    (u128::from(time.0.min(UnixMillis::MAX_IN_ID.0)) << 80).to_be_bytes()
}

/// Writes a kind of item.
pub(super) const fn kind_number(kind: ItemKind) -> Value {
    match kind {
        ItemKind::Message => Value::UInt(0),
        ItemKind::Receipt => Value::UInt(1),
    }
}

/// The columns of a row, read one after the other.
pub(super) struct Columns(std::vec::IntoIter<Value>);

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        Self(row.unwrap().into_iter())
    }
}

impl Columns {
    /// Reads bytes, or none.
    fn optional(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::NULL) => Ok(None),
            other => Err(unreadable("bytes", other.as_ref())),
        }
    }

    /// Reads bytes.
    pub(super) fn bytes(&mut self) -> Result<Bytes, StoreError> {
        self.optional()?.map(Bytes::from).ok_or_else(|| unreadable("bytes", Some(&Value::NULL)))
    }

    /// Reads text.
    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        String::from_utf8(self.bytes()?.into())
            .map_err(|_| StoreError::Corrupt("a row's text is not UTF-8".to_owned()))
    }

    /// Reads the sixteen bytes of an identifier.
    pub(super) fn id(&mut self) -> Result<[u8; 16], StoreError> {
        let bytes = self.bytes()?;
        bytes.as_ref().try_into().map_err(|_| StoreError::Corrupt("a row's identifier has no 16 bytes".to_owned()))
    }

    /// Reads a message's id.
    pub(super) fn message_id(&mut self) -> Result<MessageId, StoreError> {
        message_id(&self.id()?)
    }

    /// Reads the message that an item acknowledges.
    pub(super) fn acknowledged(&mut self) -> Result<Option<MessageId>, StoreError> {
        self.optional()?.map(|bytes| message_id(&bytes)).transpose()
    }

    /// Reads a number.
    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        match self.0.next() {
            Some(Value::UInt(number)) => Ok(number),
            Some(Value::Int(number)) if number >= 0 => Ok(number.cast_unsigned()),
            other => Err(unreadable("a number", other.as_ref())),
        }
    }

    /// Reads a small number.
    pub(super) fn small(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.number()?).map_err(|_| StoreError::Corrupt("a row's number is too large".to_owned()))
    }

    /// Reads a kind of item.
    pub(super) fn kind(&mut self) -> Result<ItemKind, StoreError> {
        match self.number()? {
            0 => Ok(ItemKind::Message),
            1 => Ok(ItemKind::Receipt),
            number => Err(StoreError::Corrupt(format!("a row's kind is {number}"))),
        }
    }

    /// Reads a mailbox row: id, kind, sender, what it acknowledges, size.
    pub(super) fn item(&mut self) -> Result<Item, StoreError> {
        Ok(Item {
            id: self.message_id()?,
            kind: self.kind()?,
            from: UserId::from_bytes(self.id()?),
            of: self.acknowledged()?,
            size: self.number()?,
        })
    }
}

fn message_id(bytes: &[u8]) -> Result<MessageId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("a row's message id has no 16 bytes".to_owned()))?;
    MessageId::from_bytes(bytes).map_err(|error| StoreError::Corrupt(format!("a row's message id: {error}")))
}

/// Names what was found by its type alone: what is in the rows is nobody's business.
fn unreadable(expected: &str, found: Option<&Value>) -> StoreError {
    let found = match found {
        None => "nothing",
        Some(Value::NULL) => "a null",
        Some(Value::Bytes(_)) => "bytes",
        Some(Value::Int(_) | Value::UInt(_)) => "a number",
        Some(_) => "something else",
    };
    StoreError::Corrupt(format!("a row has {found} where {expected} should be"))
}
