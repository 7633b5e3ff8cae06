//! How items are written and read.
//!
//! Identifiers are binary: DynamoDB orders them as unsigned bytes, which the contract asks for. A partition's key is made of
//! identifiers of a fixed length, one behind the other.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use crate::store::StoreError;

/// An item, or a key.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// Milliseconds of the day that rows of a mailbox share a partition's key by.
const DAY: u64 = 86_400_000;

/// Makes an item, or a key.
pub(super) fn attributes<const N: usize>(pairs: [(&str, AttributeValue); N]) -> Attributes {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes bytes.
pub(super) fn bytes(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Writes a number.
pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Writes a kind of item.
pub(super) fn kind(kind: ItemKind) -> AttributeValue {
    match kind {
        ItemKind::Message => number(0),
        ItemKind::Receipt => number(1),
    }
}

/// Makes the key of a user in an organization.
pub(super) fn user_key(organization: OrganizationId, user: UserId) -> Vec<u8> {
    [*organization.as_bytes(), *user.as_bytes()].concat()
}

/// Makes the key of a client.
pub(super) fn client_key(client: &ClientAddress) -> Vec<u8> {
    [*client.organization.as_bytes(), *client.user.as_bytes(), *client.client.as_bytes()].concat()
}

/// Makes the key of what has ids of one day.
pub(super) fn day_key(owner: &[u8], day: u32) -> AttributeValue {
    bytes([owner, &day.to_be_bytes()].concat())
}

/// Returns the day of a time.
pub(super) fn day(time: UnixMillis) -> u32 {
    // Ids end before the year 10000.
    u32::try_from(time.0 / DAY).unwrap_or(u32::MAX)
}

/// Returns the first 16 bytes that an id of a time, or of a later one, can have.
pub(super) fn first_of(time: UnixMillis) -> [u8; 16] {
    (u128::from(time.0.min(UnixMillis::MAX_IN_ID.0)) << 80).to_be_bytes()
}

/// An item that was read.
pub(super) struct Columns(pub(super) Attributes);

impl Columns {
    /// Reads bytes, or none.
    fn optional(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.remove(name) {
            Some(AttributeValue::B(bytes)) => Ok(Some(bytes.into_inner())),
            None => Ok(None),
            Some(_) => Err(unreadable(name)),
        }
    }

    /// Reads bytes.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.optional(name)?.ok_or_else(|| unreadable(name))
    }

    /// Reads text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, StoreError> {
        match self.0.remove(name) {
            Some(AttributeValue::S(text)) => Ok(text),
            _ => Err(unreadable(name)),
        }
    }

    /// Reads a number.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, StoreError> {
        match self.0.remove(name) {
            Some(AttributeValue::N(number)) => number.parse().map_err(|_| unreadable(name)),
            _ => Err(unreadable(name)),
        }
    }

    /// Reads a small number.
    pub(super) fn small(&mut self, name: &str) -> Result<u32, StoreError> {
        u32::try_from(self.number(name)?).map_err(|_| unreadable(name))
    }

    /// Reads what is so or not.
    pub(super) fn truth(&mut self, name: &str) -> Result<bool, StoreError> {
        match self.0.remove(name) {
            Some(AttributeValue::Bool(truth)) => Ok(truth),
            _ => Err(unreadable(name)),
        }
    }

    /// Reads a list; none for one that is not there.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<AttributeValue>, StoreError> {
        match self.0.remove(name) {
            Some(AttributeValue::L(list)) => Ok(list),
            None => Ok(Vec::new()),
            Some(_) => Err(unreadable(name)),
        }
    }

    /// Reads the sixteen bytes of an identifier.
    pub(super) fn id(&mut self, name: &str) -> Result<[u8; 16], StoreError> {
        self.bytes(name)?.try_into().map_err(|_| unreadable(name))
    }

    /// Reads a message's id.
    pub(super) fn message_id(&mut self, name: &str) -> Result<MessageId, StoreError> {
        message_id(name, self.id(name)?)
    }

    /// Reads the message that an item acknowledges.
    pub(super) fn acknowledged(&mut self) -> Result<Option<MessageId>, StoreError> {
        let Some(bytes) = self.optional("acknowledges")? else { return Ok(None) };
        let bytes = bytes.try_into().map_err(|_| unreadable("acknowledges"))?;
        message_id("acknowledges", bytes).map(Some)
    }

    /// Reads a kind of item.
    pub(super) fn kind(&mut self) -> Result<ItemKind, StoreError> {
        match self.number("kind")? {
            0 => Ok(ItemKind::Message),
            1 => Ok(ItemKind::Receipt),
            _ => Err(unreadable("kind")),
        }
    }

    /// Reads a row of a mailbox.
    pub(super) fn item(mut self) -> Result<Item, StoreError> {
        Ok(Item {
            id: self.message_id("id")?,
            kind: self.kind()?,
            from: UserId::from_bytes(self.id("sender")?),
            of: self.acknowledged()?,
            size: self.number("size")?,
        })
    }
}

fn message_id(name: &str, bytes: [u8; 16]) -> Result<MessageId, StoreError> {
    MessageId::from_bytes(bytes).map_err(|_| unreadable(name))
}

/// Names the attribute alone: what is in it is nobody's business.
pub(super) fn unreadable(name: &str) -> StoreError {
    StoreError::Corrupt(format!("an item's attribute {name} is missing, or is not what it should be"))
}
