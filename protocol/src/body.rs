//! JSON bodies of requests and answers.
//!
//! Unknown fields are refused in requests and ignored in answers (section 3).

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{ClientId, OrganizationId, UserId};
use crate::json::object;
use crate::log::{Head, LogEntry};
use crate::message_id::MessageId;

/// Answer of `GET /<organization>`: a page of its users, ordered by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPage {
    /// The organization.
    pub organization: OrganizationId,
    /// Where its log is.
    pub head: Head,
    /// The users.
    pub users: Vec<User>,
    /// The last user of this page, to ask for the next one with `after=`; none if this was the last page.
    pub next: Option<UserId>,
}

/// A user as a listing shows them; the answer of `GET /<organization>/<user>` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user.
    pub user: UserId,
    /// The fingerprint of their certificate, in upper-case hexadecimal.
    pub fingerprint: String,
    /// Their armored certificate.
    pub certificate: String,
    /// Whether they are an administrator.
    pub administrator: bool,
    /// Whether they are active.
    pub active: bool,
    /// How many clients they may have.
    pub client_limit: u32,
}

/// Answer of `GET /<organization>/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// Entries after the sequence asked for, oldest first; perhaps not all up to the head.
    pub entries: Vec<AnsweredEntry>,
    /// Where the log is.
    pub head: Head,
}

/// A log entry in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredEntry {
    /// The statement's JSON text.
    pub statement: String,
    /// The armored signatures.
    pub signatures: Vec<String>,
}

impl From<LogEntry> for AnsweredEntry {
    fn from(LogEntry { statement, signatures }: LogEntry) -> Self {
        Self { statement, signatures }
    }
}

impl From<AnsweredEntry> for LogEntry {
    fn from(AnsweredEntry { statement, signatures }: AnsweredEntry) -> Self {
        Self { statement, signatures }
    }
}

/// Answer of `GET …/client`: the user's registered clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientList {
    /// The clients, ordered by their place.
    pub clients: Vec<RegisteredClient>,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredClient {
    /// The client.
    pub client: ClientId,
    /// RFC 3339 time of its registration.
    pub since: String,
}

/// Answer of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The message's id.
    pub id: MessageId,
}

/// What an item of a mailbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A message.
    Message,
    /// A receipt for a message that this user sent.
    Receipt,
}

/// An item of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: MessageId,
    /// What it is.
    pub kind: ItemKind,
    /// Who sent it; of a receipt, who acknowledges.
    pub from: UserId,
    /// The message that a receipt acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<MessageId>,
    /// Bytes of its content; of a receipt, of the signature.
    pub size: u64,
}

/// Answer of `GET …/message`: what is new for a client, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What is new.
    pub messages: Vec<Item>,
    /// Whether there is more than this.
    pub more: bool,
    /// The time, in RFC 3339, from which the client may have missed messages: it was away for longer than they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
}

/// Body of `POST …/fetched`: the messages that the client now holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Their ids, at most 10000.
    pub messages: Vec<MessageId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FetchedFields {
    messages: Vec<MessageId>,
}

impl<'de> Deserialize<'de> for Fetched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let FetchedFields { messages } = object(deserializer)?;
        Ok(Self { messages })
    }
}
