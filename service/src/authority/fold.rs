//! What a pod keeps in memory of an organization: its head, and of each user what every request needs to know.
//!
//! Certificates are not kept here, so that an organization of 100 000 users takes some 20 MB and not 300.

use std::collections::HashMap;

use countersign_protocol::id::UserId;
use countersign_protocol::log::Head;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::UserRecord;

/// What every request needs to know of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The fingerprint of their certificate.
    pub fingerprint: Fingerprint,
    /// Whether they are an administrator.
    pub administrator: bool,
    /// Whether they are active.
    pub active: bool,
    /// How many clients they may have, if a statement says.
    pub client_limit: Option<u32>,
    /// The sequence of the last statement that ended their sessions.
    pub sessions_since: u64,
}

/// An organization folded from its records and the end of its log.
#[derive(Clone, Debug)]
pub struct Fold {
    /// Where the log is.
    pub head: Head,
    /// The time of its last statement.
    pub time: UnixMicros,
    /// When the log was last read to its end.
    pub checked: UnixMicros,
    members: HashMap<UserId, Member>,
    holders: HashMap<Fingerprint, UserId>,
}

impl Fold {
    /// Begins with users' records and the head that they belong to.
    #[must_use]
    pub fn new(head: Head, time: UnixMicros, checked: UnixMicros) -> Self {
        Self { head, time, checked, members: HashMap::new(), holders: HashMap::new() }
    }

    /// Takes in a user's newer record.
    pub fn insert(&mut self, record: &UserRecord) {
        let member = Member {
            fingerprint: record.fingerprint.clone(),
            administrator: record.administrator,
            active: record.active,
            client_limit: record.client_limit,
            sessions_since: record.sessions_since,
        };
        self.holders.insert(record.fingerprint.clone(), record.user);
        if let Some(before) = self.members.insert(record.user, member)
            && before.fingerprint != record.fingerprint
        {
            self.holders.remove(&before.fingerprint);
        }
    }

    /// Returns a user.
    #[must_use]
    pub fn member(&self, user: &UserId) -> Option<&Member> {
        self.members.get(user)
    }

    /// Returns who has a certificate.
    #[must_use]
    pub fn holder(&self, fingerprint: &Fingerprint) -> Option<UserId> {
        self.holders.get(fingerprint).copied()
    }

    /// Returns the active administrators, in order.
    #[must_use]
    pub fn administrators(&self) -> Vec<UserId> {
        let active = self.members.iter().filter(|(_, member)| member.administrator && member.active);
        let mut users: Vec<UserId> = active.map(|(user, _)| *user).collect();
        users.sort_unstable();
        users
    }

    /// Returns how many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there are no users, which no organization that exists is without.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
