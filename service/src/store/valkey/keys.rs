//! Every key, built in one place, and when it expires.
//!
//! What stands in braces chooses the slot: what must be done at once, or be copied to a replica in the order in which it was
//! written, has the same. Ids are written in base64, since each message has a key of its own and its length counts. The number
//! is the layout's: a version of the service that wrote other values under these names would raise it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use crate::store::KEPT_LONGER;

/// What every name begins with; an access-control list may be given this and nothing else.
const PREFIX: &str = "cs1:";
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// A name in Valkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A string: the version of the schema.
    Schema,
    /// A hash: the log of an organization.
    Log(OrganizationId),
    /// A sorted set: the records of its users. In the slot of the log, so that no replica has a record without the entry that
    /// it was folded from.
    Users(OrganizationId),
    /// A hash: the places of a user's clients.
    Places(OrganizationId, UserId),
    /// A string: a message with its content.
    Message(OrganizationId, MessageId),
    /// A sorted set: the rows of a user's mailbox whose ids are of one day.
    Mailbox(OrganizationId, UserId, Day),
    /// A sorted set: the ids of one day that a client has fetched.
    Fetched(ClientAddress, Day),
}

/// A day of UTC, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) u64);

impl Day {
    /// Returns the day that a time is in.
    pub(super) const fn of(time: UnixMillis) -> Self {
        Self(time.0 / DAY)
    }

    /// Returns its last millisecond.
    pub(super) const fn end(self) -> UnixMillis {
        UnixMillis(self.0.saturating_mul(DAY).saturating_add(DAY - 1))
    }
}

/// Until when what is of a time is kept, in milliseconds since 1970.
pub(super) fn kept_until(time: UnixMillis, retention: Duration) -> u64 {
    time.plus(retention).plus(KEPT_LONGER).0
}

impl Key {
    /// Returns the name's bytes.
    pub(super) fn name(&self) -> String {
        let mut name = String::with_capacity(96);
        name.push_str(PREFIX);
        let mut tagged = |kind: char, ids: &[&[u8; 16]]| {
            name.push(kind);
            name.push('{');
            for id in ids {
                URL_SAFE_NO_PAD.encode_string(id, &mut name);
            }
            name.push('}');
        };
        match self {
            Self::Schema => name.push_str("schema"),
            Self::Log(organization) => tagged('l', &[organization.as_bytes()]),
            Self::Users(organization) => tagged('u', &[organization.as_bytes()]),
            Self::Places(organization, user) => tagged('p', &[organization.as_bytes(), user.as_bytes()]),
            Self::Message(organization, id) => tagged('c', &[organization.as_bytes(), id.as_bytes()]),
            Self::Mailbox(organization, user, day) => {
                tagged('m', &[organization.as_bytes(), user.as_bytes()]);
                name.push_str(&day.0.to_string());
            }
            Self::Fetched(client, day) => {
                tagged('f', &[client.organization.as_bytes(), client.user.as_bytes(), client.client.as_bytes()]);
                name.push_str(&day.0.to_string());
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::id::ClientId;
    use redis::cluster_routing::Slot;

    use super::*;

    fn ids() -> (OrganizationId, UserId, ClientId, MessageId) {
        let mut id = [0x3c; 16];
        (id[6], id[8]) = (0x8c, 0xbc);
        (
            OrganizationId::from_bytes([0x1a; 16]),
            UserId::from_bytes([0x2b; 16]),
            ClientId::from_bytes([0xff; 16]),
            MessageId::from_bytes(id).unwrap(),
        )
    }

    #[test]
    fn names_stay_what_they_are() {
        let (organization, user, client, message) = ids();
        let address = ClientAddress { organization, user, client };
        let (o, u) = ("GhoaGhoaGhoaGhoaGhoaGg", "KysrKysrKysrKysrKysrKw");

        for (key, name) in [
            (Key::Schema, "cs1:schema".to_owned()),
            (Key::Log(organization), format!("cs1:l{{{o}}}")),
            (Key::Users(organization), format!("cs1:u{{{o}}}")),
            (Key::Places(organization, user), format!("cs1:p{{{o}{u}}}")),
            (Key::Message(organization, message), format!("cs1:c{{{o}PDw8PDw8jDy8PDw8PDw8PA}}")),
            (Key::Mailbox(organization, user, Day(20_783)), format!("cs1:m{{{o}{u}}}20783")),
            (Key::Fetched(address, Day(20_783)), format!("cs1:f{{{o}{u}_____________________w}}20783")),
        ] {
            assert_eq!(key.name(), name);
        }
    }

    #[test]
    fn what_must_be_done_at_once_shares_a_slot() {
        let (organization, user, client, _) = ids();
        let address = ClientAddress { organization, user, client };
        let slot = |key: Key| Slot::for_key(key.name());

        assert_eq!(slot(Key::Log(organization)), slot(Key::Users(organization)));
        assert_eq!(slot(Key::Mailbox(organization, user, Day(1))), slot(Key::Mailbox(organization, user, Day(2))));
        assert_eq!(slot(Key::Fetched(address, Day(1))), slot(Key::Fetched(address, Day(2))));
    }

    #[test]
    fn a_day_is_kept_until_its_last_id_has_expired() {
        let retention = Duration::from_secs(14 * 86_400);
        let day = Day::of(UnixMillis(20_783 * DAY + 5));

        assert_eq!((day, Day::of(day.end()), Day::of(UnixMillis(day.end().0 + 1))), (Day(20_783), day, Day(20_784)));
        assert_eq!(kept_until(day.end(), retention), (20_784 + 15) * DAY - 1);
    }
}
