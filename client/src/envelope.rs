//! Envelopes: what stands inside the encryption, under the sender's signature (docs/envelope.md).
//!
//! Owns: the format. One line of JSON, a line feed, then the content's bytes.
//!
//! Refuses to know: encryption, and whether an envelope is to be believed. The inbox compares it with the message that
//! it came in.
//!
//! Invariant: an envelope names its sender and all its recipients, so a message that a server or a recipient hands on to
//! other people cannot pass for one that was sent to them.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::log::Head;
use countersign_protocol::time::{UnixMicros, parse_rfc3339};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The content type of a change that asks for a countersignature.
pub const CHANGE: &str = "application/vnd.countersign.change";

/// The content type of what is of no known type.
pub const BYTES: &str = "application/octet-stream";

const VERSION: u32 = 1;

/// Longest first line that is read, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// A conversation: messages that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConversationId(pub Uuid);

impl ConversationId {
    /// Returns the conversation that these people have without saying which one they mean: the same for all of them,
    /// whoever writes first.
    ///
    /// # Panics
    /// Never: a SHA-256 has more bytes than a UUID.
    #[must_use]
    pub fn among(organization: &OrganizationId, people: &[UserId]) -> Self {
        let mut people = people.to_vec();
        people.sort_unstable();
        people.dedup();
        let mut hash =
            Sha256::new().chain_update(b"countersign 1 conversation\n").chain_update(organization.as_bytes());
        for user in &people {
            hash.update(user.as_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(hash.first_chunk::<16>().expect("32 bytes begin with 16"));
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl std::fmt::Display for ConversationId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

/// Which part of a split file a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which one, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// Bytes of the whole.
    pub size: u64,
    /// SHA-256 of the whole.
    pub sha256: Sha256Digest,
}

/// What the sender says of a message, inside its encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The organization.
    pub organization: OrganizationId,
    /// Who wrote it.
    pub sender: UserId,
    /// Everyone it was sent to, sorted; the sender too, where their other clients get a copy.
    pub recipients: Vec<UserId>,
    /// When it was written.
    pub time: UnixMicros,
    /// The conversation that it belongs to.
    pub conversation: ConversationId,
    /// The message's name among the sender's: all parts of one file share it.
    pub message: Uuid,
    /// The media type of the content.
    pub content_type: String,
    /// What a file was called, without folders.
    pub file_name: Option<String>,
    /// Which part of a split file this is.
    pub part: Option<Part>,
    /// Where the organization's log was for the sender. A server that shows two people different logs is found out by
    /// the first message between them.
    pub log: Option<Head>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    countersign_envelope: u32,
    organization: OrganizationId,
    sender: UserId,
    recipients: Vec<UserId>,
    time: String,
    conversation: ConversationId,
    message: Uuid,
    #[serde(rename = "type")]
    content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<Head>,
}

#[derive(Deserialize)]
struct Version {
    countersign_envelope: u32,
}

/// What a decrypted content turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// An envelope, and what is in it.
    Enveloped(Box<Envelope>, Vec<u8>),
    /// Something else, such as what was encrypted by hand.
    Plain(Vec<u8>),
}

/// Why an envelope cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvelope {
    /// A later version.
    #[error("its envelope is of version {0}, which this program does not know; update it")]
    Version(u32),
    /// Its first line is not the JSON of an envelope.
    #[error("its envelope cannot be read")]
    Json(#[source] serde_json::Error),
    /// Its time is malformed.
    #[error("the time in its envelope cannot be read")]
    Time,
    /// Its part is none.
    #[error("the part in its envelope is none of the whole")]
    Part,
    /// A file name that is a path.
    #[error("the file name in its envelope is not a plain name")]
    FileName,
}

impl Envelope {
    /// Writes the envelope with its content: the bytes that are signed and encrypted.
    ///
    /// # Panics
    /// Never: all of an envelope can be written as JSON.
    #[must_use]
    pub fn seal_in(&self, content: &[u8]) -> Vec<u8> {
        let line = Line {
            countersign_envelope: VERSION,
            organization: self.organization,
            sender: self.sender,
            recipients: self.recipients.clone(),
            time: self.time.to_string(),
            conversation: self.conversation,
            message: self.message,
            content_type: self.content_type.clone(),
            file_name: self.file_name.clone(),
            part: self.part,
            log: self.log,
        };
        let mut bytes = serde_json::to_vec(&line).expect("an envelope has nothing that JSON cannot hold");
        bytes.push(b'\n');
        bytes.extend_from_slice(content);
        bytes
    }
}

/// Reads what was decrypted. What does not begin as an envelope does is plain.
///
/// # Errors
/// [`InvalidEnvelope`] if it begins as an envelope does, and is none that is known here.
pub fn read(mut bytes: Vec<u8>) -> Result<Content, InvalidEnvelope> {
    const BEGINNING: &[u8] = br#"{"countersign_envelope":"#;
    if !bytes.starts_with(BEGINNING) {
        return Ok(Content::Plain(bytes));
    }
    let end = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n').unwrap_or(bytes.len().min(LINE_MAX));
    let content = bytes.split_off((end + 1).min(bytes.len()));
    bytes.truncate(end);

    // The version first: a later one may have other fields.
    let version: Version = serde_json::from_slice(&bytes).map_err(InvalidEnvelope::Json)?;
    if version.countersign_envelope != VERSION {
        return Err(InvalidEnvelope::Version(version.countersign_envelope));
    }
    let line: Line = serde_json::from_slice(&bytes).map_err(InvalidEnvelope::Json)?;
    if line.part.is_some_and(|part| part.index >= part.count) {
        return Err(InvalidEnvelope::Part);
    }
    if line.file_name.as_deref().is_some_and(|name| !is_plain_name(name)) {
        return Err(InvalidEnvelope::FileName);
    }
    let mut recipients = line.recipients;
    recipients.sort_unstable();
    recipients.dedup();
    let envelope = Envelope {
        organization: line.organization,
        sender: line.sender,
        recipients,
        time: parse_rfc3339(&line.time).map_err(|_| InvalidEnvelope::Time)?,
        conversation: line.conversation,
        message: line.message,
        content_type: line.content_type,
        file_name: line.file_name,
        part: line.part,
        log: line.log,
    };
    Ok(Content::Enveloped(Box::new(envelope), content))
}

/// Tells whether a file may be called so: a name that stays in its folder and hides nothing from a terminal.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let bad = |character: char| character == '/' || character == '\\' || character.is_control();
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn envelope() -> Envelope {
        Envelope {
            organization: OrganizationId::from_bytes([9; 16]),
            sender: user(1),
            recipients: vec![user(1), user(2)],
            time: UnixMicros(1_795_400_000_123_456),
            conversation: ConversationId(Uuid::from_bytes([3; 16])),
            message: Uuid::from_bytes([4; 16]),
            content_type: TEXT.to_owned(),
            file_name: None,
            part: None,
            log: None,
        }
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let part = Part { index: 1, count: 3, size: 7, sha256: Sha256Digest::of(b"x") };
        let head = Head { sequence: 4, hash: Sha256Digest::of(b"y") };
        let full = Envelope { file_name: Some("plan.pdf".into()), part: Some(part), log: Some(head), ..envelope() };
        for written in [envelope(), full] {
            for content in [&b""[..], b"a\nb\n", &[0, 255, 10]] {
                let read = read(written.seal_in(content)).unwrap();
                assert_eq!(read, Content::Enveloped(Box::new(written.clone()), content.to_vec()));
            }
        }
    }

    #[test]
    fn what_is_no_envelope_is_plain() {
        for content in [&b""[..], b"hello", b"{\"countersign\":1}\nx"] {
            assert_eq!(read(content.to_vec()).unwrap(), Content::Plain(content.to_vec()));
        }
    }

    #[test]
    fn envelopes_that_cannot_be_meant_are_refused() {
        let with = |change: fn(&mut Envelope)| {
            let mut envelope = envelope();
            change(&mut envelope);
            read(envelope.seal_in(b"x"))
        };
        for name in ["../x", "a/b", "", "..", "a\u{1b}[2J"] {
            let mut envelope = envelope();
            envelope.file_name = Some(name.to_owned());
            assert!(matches!(read(envelope.seal_in(b"x")), Err(InvalidEnvelope::FileName)), "{name:?}");
        }
        let past = |envelope: &mut Envelope| {
            envelope.part = Some(Part { index: 3, count: 3, size: 1, sha256: Sha256Digest::of(b"") });
        };
        assert!(matches!(with(past), Err(InvalidEnvelope::Part)));
        let later = br#"{"countersign_envelope":2,"new":true}"#.to_vec();
        assert!(matches!(read(later), Err(InvalidEnvelope::Version(2))));
        let cut = br#"{"countersign_envelope":1,"sender":"#.to_vec();
        assert!(matches!(read(cut), Err(InvalidEnvelope::Json(_))));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut bytes = envelope().seal_in(b"x");
        let rest = bytes.split_off(br#"{"countersign_envelope":1"#.len());
        bytes.extend_from_slice(br#","new":[1]"#);
        bytes.extend(rest);
        assert!(matches!(read(bytes).unwrap(), Content::Enveloped(..)));
    }

    #[test]
    fn a_conversation_is_the_same_for_all_who_are_in_it() {
        let organization = OrganizationId::from_bytes([9; 16]);
        let one = ConversationId::among(&organization, &[user(1), user(2)]);
        assert_eq!(one, ConversationId::among(&organization, &[user(2), user(1), user(2)]));
        assert_ne!(one, ConversationId::among(&organization, &[user(1), user(3)]));
    }
}
