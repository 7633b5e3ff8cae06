//! Every key and channel, built in one place.
//!
//! All that belongs to a user has the hash tag `{organization#user}`, so that one function may touch all of it. The
//! number is the layout's: a version of the service that wrote other values under these names would raise it, so that
//! pods of both can run side by side.

use countersign_protocol::id::{OrganizationId, UserId};

/// What every name begins with; an access-control list may be given this and nothing else.
pub(super) const PREFIX: &str = "countersign:1:";

/// A name in Valkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A hash: sessions, nonces, hints and marks of the user's clients.
    Clients(OrganizationId, UserId),
    /// A stream: the user's arrivals.
    Arrivals(OrganizationId, UserId),
    /// A sharded channel: wakes who waits for something to arrive for the user.
    WakeUps(OrganizationId, UserId),
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (organization, user, what) = match self {
            Self::Clients(organization, user) => (organization, user, "clients"),
            Self::Arrivals(organization, user) => (organization, user, "arrivals"),
            Self::WakeUps(organization, user) => (organization, user, "wake-ups"),
        };
        write!(formatter, "{PREFIX}{{{organization}#{user}}}:{what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_what_they_are() {
        let organization = OrganizationId::from_bytes([0x1a; 16]);
        let user = UserId::from_bytes([0x2b; 16]);
        let tag = "{1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a#2b2b2b2b-2b2b-2b2b-2b2b-2b2b2b2b2b2b}";

        for (key, name) in [
            (Key::Clients(organization, user), "clients"),
            (Key::Arrivals(organization, user), "arrivals"),
            (Key::WakeUps(organization, user), "wake-ups"),
        ] {
            assert_eq!(key.to_string(), format!("countersign:1:{tag}:{name}"));
        }
    }
}
