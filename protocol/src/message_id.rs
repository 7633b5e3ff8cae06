//! Message and receipt ids (section 6): time-ordered, and bound to who sends what to whom.
//!
//! The sender chooses the id and the service computes it again, so a retry is the same message and needs no memory on
//! the server, and no server can hang a content on another id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::digest::Sha256Digest;
use crate::id::{InvalidId, OrganizationId, UserId, parse_uuid};
use crate::time::UnixMillis;

/// The id of a message or of a receipt: a `UUIDv8` whose first 48 bits are its send time in Unix milliseconds.
///
/// Its order is that of its 16 bytes, so by send time first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

/// A text that is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessageId {
    /// It is no UUID.
    #[error("{0}")]
    NotAnId(InvalidId),
    /// It is another UUID than a `UUIDv8`.
    #[error("not a message id: its UUID version is not 8 or its variant is not that of RFC 9562")]
    NotVersion8,
}

impl MessageId {
    /// Computes the id of a message.
    ///
    /// `recipients` may come in any order and with repeats: they are sorted and repeats are dropped, as the protocol
    /// says. Of `time` the lower 48 bits are used.
    #[must_use]
    pub fn of_message(
        organization: &OrganizationId,
        sender: &UserId,
        time: UnixMillis,
        recipients: &[UserId],
        content: &Sha256Digest,
    ) -> Self {
        let mut sorted = recipients.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut hash = Sha256::new()
            .chain_update(b"countersign 1 message\n")
            .chain_update(organization.as_bytes())
            .chain_update(sender.as_bytes())
            .chain_update(time_bytes(time));
        for recipient in &sorted {
            hash.update(recipient.as_bytes());
        }
        hash.update(content.as_bytes());
        Self::assemble(time, &hash.finalize().into())
    }

    /// Computes the id of the receipt with which `recipient` acknowledges `message`; `signature` is the digest of the
    /// detached signature's bytes.
    #[must_use]
    pub fn of_receipt(
        organization: &OrganizationId,
        recipient: &UserId,
        time: UnixMillis,
        message: &MessageId,
        signature: &Sha256Digest,
    ) -> Self {
        let hash = Sha256::new()
            .chain_update(b"countersign 1 receipt\n")
            .chain_update(organization.as_bytes())
            .chain_update(recipient.as_bytes())
            .chain_update(time_bytes(time))
            .chain_update(message.0)
            .chain_update(signature.as_bytes());
        Self::assemble(time, &hash.finalize().into())
    }

    /// Returns the send time that the id begins with.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        UnixMillis(u64::from_be_bytes(bytes))
    }

    /// Takes 16 raw bytes that once were a message id, as a store keeps them.
    ///
    /// # Errors
    /// [`InvalidMessageId::NotVersion8`].
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, InvalidMessageId> {
        if bytes[6] >> 4 == 8 && bytes[8] >> 6 == 0b10 { Ok(Self(bytes)) } else { Err(InvalidMessageId::NotVersion8) }
    }

    /// Returns the 16 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Writes the time and the first 10 bytes of a hash, then the version and the variant over what falls on them.
    fn assemble(time: UnixMillis, hash: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&time_bytes(time));
        bytes[6..].copy_from_slice(&hash[..10]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

fn time_bytes(time: UnixMillis) -> [u8; 6] {
    let [_, _, bytes @ ..] = time.0.to_be_bytes();
    bytes
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        let uuid = parse_uuid(text).map_err(InvalidMessageId::NotAnId)?;
        Self::from_bytes(uuid.into_bytes())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(formatter)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MessageId({self})")
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        serializer.serialize_str(Uuid::from_bytes(self.0).as_hyphenated().encode_lower(&mut buffer))
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
