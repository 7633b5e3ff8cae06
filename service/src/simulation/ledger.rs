//! What is true of a story, kept apart from all that the service believes, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::log::Head;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;

use super::history::Consistency;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// Whatever was answered as stored is listed to each client of each recipient until it is confirmed.
    NothingLost,
    /// Nothing is listed after it was confirmed, once every read sees the confirmation.
    NothingTwice,
    /// Last known good never passes a stored message that the client has not confirmed.
    KnownGood,
    /// Only what was sent is delivered, to whom it was sent to, as it was sent.
    OnlyWhatWasSent,
    /// What is listed can be read, where reads and writes overlap.
    ContentFirst,
    /// A nonce is admitted once, while it is remembered.
    NonceOnce,
    /// A request that its client signed is not refused for a nonce that nobody else used.
    NothingForged,
    /// A user has no more clients than were ever allowed.
    ClientLimit,
    /// There is one log; whoever was told that their statement stands in it finds it there, and another verifier accepts
    /// all of it.
    OneLog,
    /// With everything well again, clients get what they ask for.
    Recovery,
}

/// An invariant that did not hold, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

/// Something that a client made an id for.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    pub(crate) recipients: Vec<UserId>,
    pub(crate) content: Bytes,
}

/// The truth.
#[derive(Debug)]
pub(crate) struct Ledger {
    consistency: Consistency,
    pub(crate) composed: BTreeMap<MessageId, Composed>,
    /// What was answered as stored.
    pub(crate) accepted: BTreeSet<MessageId>,
    /// What clients have asked to be confirmed, whether they got an answer or not.
    confirming: BTreeMap<ClientAddress, BTreeSet<MessageId>>,
    /// Requests that were admitted by nobody's memory, in a broken variant.
    pub(crate) admitted: BTreeSet<(ClientAddress, Nonce)>,
    attempted: BTreeMap<ClientAddress, Vec<Nonce>>,
    /// Statements that were answered as standing in the log.
    pub(crate) standing: Vec<Head>,
    violation: Option<Violation>,
}

impl Ledger {
    pub(crate) fn new(consistency: Consistency) -> Self {
        Self {
            consistency,
            composed: BTreeMap::new(),
            accepted: BTreeSet::new(),
            confirming: BTreeMap::new(),
            admitted: BTreeSet::new(),
            attempted: BTreeMap::new(),
            standing: Vec::new(),
            violation: None,
        }
    }

    /// Writes down that something does not hold; what was first counts.
    pub(crate) fn violated(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.clone()
    }

    pub(crate) fn compose(&mut self, id: MessageId, recipients: Vec<UserId>, content: Bytes) {
        self.composed.insert(id, Composed { recipients, content });
    }

    pub(crate) fn confirming(&mut self, client: &ClientAddress, ids: &[MessageId]) {
        self.confirming.entry(*client).or_default().extend(ids);
    }

    pub(crate) fn asked_to_confirm(&self, client: &ClientAddress) -> BTreeSet<MessageId> {
        self.confirming.get(client).cloned().unwrap_or_default()
    }

    pub(crate) fn has_asked_to_confirm(&self, client: &ClientAddress, id: &MessageId) -> bool {
        self.confirming.get(client).is_some_and(|ids| ids.contains(id))
    }

    /// A listing is answered. `settled` is what every read saw confirmed before it began.
    pub(crate) fn listed(&mut self, client: &ClientAddress, items: &[Item], settled: &BTreeSet<MessageId>) {
        for Item { id, .. } in items {
            if settled.contains(id) {
                self.violated(Invariant::NothingTwice, format!("{id} is listed to {client}, which has confirmed it"));
            }
            if !self.composed.get(id).is_some_and(|composed| composed.recipients.contains(&client.user)) {
                self.violated(
                    Invariant::OnlyWhatWasSent,
                    format!("{id} is listed to {client}; it was not sent there"),
                );
            }
        }
    }

    pub(crate) fn read(&mut self, id: MessageId, content: &Bytes) {
        if self.composed.get(&id).is_none_or(|composed| composed.content != *content) {
            self.violated(Invariant::OnlyWhatWasSent, format!("{id} has another content than it was sent with"));
        }
    }

    pub(crate) fn not_found(&mut self, client: &ClientAddress, id: MessageId) {
        if self.consistency == Consistency::Quorum {
            self.violated(Invariant::ContentFirst, format!("{id} was listed to {client} and has no content"));
        }
    }

    /// A request that its client signed is about to be looked at.
    pub(crate) fn attempted(&mut self, client: &ClientAddress, nonce: Nonce) {
        self.attempted.entry(*client).or_default().push(nonce);
    }

    /// Nonces are no longer remembered.
    pub(crate) fn memory_lost(&mut self) {
        self.admitted.clear();
    }

    /// A request that its client signed was refused for its nonce.
    pub(crate) fn refused(&mut self, client: &ClientAddress, nonce: Nonce) {
        let as_great = self.attempted.get(client).into_iter().flatten().filter(|attempted| **attempted >= nonce);
        if as_great.count() <= 1 {
            self.violated(
                Invariant::NothingForged,
                format!("nonce {nonce} of {client} is refused, and was not used"),
            );
        }
    }
}
