//! The form of the ledger's files: one JSON object a line, times in microseconds since 1970 by the ledger's clock.
//!
//! | file | written by | lines |
//! |---|---|---|
//! | `run.json` | the start | [`RunRecord`], the whole file |
//! | `sent.jsonl` | all writers, and readers for their receipts | [`WriteRecord`] |
//! | `held.jsonl` | all readers and auditors | `[number, record]`: the reader's place among the readers and then the auditors of the run, and a [`ReadRecord`] |

use countersign_protocol::body::ItemKind;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use serde::{Deserialize, Serialize};

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The organizations.
    pub organizations: Vec<OrganizationId>,
    /// The clients that read, each of which must hold everything that was promised to its user.
    #[serde(with = "addresses")]
    pub readers: Vec<ClientAddress>,
    /// The clients that look once, when all is over, as a new device of each user would.
    #[serde(with = "addresses")]
    pub auditors: Vec<ClientAddress>,
    /// When it began.
    pub at: u64,
}

/// An item that a writer is about to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its id.
    pub id: MessageId,
    /// What it is.
    pub kind: ItemKind,
    /// Who sends it.
    pub from: UserId,
    /// Who is to get it.
    pub to: Vec<UserId>,
    /// SHA-256 of its content. The same item under a later id has the same digest.
    pub digest: Sha256Digest,
    /// When its first attempt begins.
    pub at: u64,
}

/// What is written down of sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum WriteRecord {
    /// Before the first attempt under an id.
    Begun(Begun),
    /// The service promised to deliver it: 201, or 204 for a receipt.
    Accepted {
        /// Which.
        id: MessageId,
        /// When the answer came.
        at: u64,
    },
    /// The service will not deliver it under this id.
    Refused {
        /// Which.
        id: MessageId,
        /// The problem's name.
        problem: String,
        /// When.
        at: u64,
    },
}

/// An item that a reader holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its id.
    pub id: MessageId,
    /// What the listing said that it is.
    pub kind: ItemKind,
    /// Who sent it, as the listing said.
    pub from: UserId,
    /// SHA-256 of the content that was read.
    pub digest: Sha256Digest,
    /// When it was listed first.
    pub listed: u64,
    /// When its content was there.
    pub at: u64,
    /// The item with the same content from the same sender that this reader held already: this one is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<MessageId>,
}

/// An item that was listed after the service had said that it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// Which.
    pub id: MessageId,
    /// Whether a listing in between had left it out, so that the service had been seen to know.
    pub seen_confirmed: bool,
    /// When.
    pub at: u64,
}

/// What is written down of reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ReadRecord {
    /// Before it is confirmed.
    Held(Held),
    /// The service said that it knows that this client holds these.
    Confirmed {
        /// Which.
        ids: Vec<MessageId>,
        /// When the answer came.
        at: u64,
    },
    /// A confirmed item was listed again.
    Again(Again),
    /// An item was listed whose content is not there.
    Unreadable {
        /// Which.
        id: MessageId,
        /// When.
        at: u64,
    },
    /// A listing was refused, which never happens to a client in good standing.
    Refused {
        /// The problem's name.
        problem: String,
        /// When.
        at: u64,
    },
}

/// Addresses as `<organization>#<user>#<client>`.
mod addresses {
    use countersign_protocol::id::ClientAddress;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &[ClientAddress], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ClientAddress>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}
