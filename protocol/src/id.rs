//! Identifiers of organizations, users and clients (section 1).
//!
//! Invariant I-1: an identifier has exactly one spelling, lower-case and hyphenated, so that two spellings can never
//! name two partitions, two keys or two signature bases for the same thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not the one spelling of a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in lower-case hyphenated form, such as 6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c")]
pub struct InvalidId;

/// Parses the one accepted spelling of a UUID: 36 characters, lower-case hexadecimal, hyphenated.
///
/// # Errors
/// [`InvalidId`] for any other spelling, though RFC 9562 readers may accept it.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, InvalidId> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || bytes.iter().any(u8::is_ascii_uppercase) {
        return Err(InvalidId);
    }
    // The length excludes the simple, braced and URN forms, which are the others that this parser accepts.
    Uuid::try_parse_ascii(bytes).map_err(|_| InvalidId)
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an identifier of 16 raw bytes, in the order in which they are written.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Returns the 16 raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buffer = Uuid::encode_buffer();
                serializer.serialize_str(self.0.as_hyphenated().encode_lower(&mut buffer))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_newtype! {
    /// An organization: whoever shares one log under the two-man rule.
    OrganizationId
}
uuid_newtype! {
    /// A user of an organization: whoever holds one OpenPGP certificate.
    UserId
}
uuid_newtype! {
    /// A client of a user: one device or program, with its own session and its own idea of what is new.
    ClientId
}

/// The full address of a client; written `organization#user#client`, it is the `keyid` of a request's signature and
/// the partition of what is stored for that client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientAddress {
    /// The organization.
    pub organization: OrganizationId,
    /// The user.
    pub user: UserId,
    /// The client.
    pub client: ClientId,
}

impl FromStr for ClientAddress {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.split('#');
        let (Some(organization), Some(user), Some(client), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidId);
        };
        Ok(Self { organization: organization.parse()?, user: user.parse()?, client: client.parse()? })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}#{}", self.organization, self.user, self.client)
    }
}
