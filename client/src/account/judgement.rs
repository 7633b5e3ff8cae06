//! What a content that the server hands out is: judged from its id, from the log and from what is in it.
//!
//! Refuses to know: where it is stored, and what the server is told about it.
//!
//! Invariant: what does not fit its id is never confirmed. The server may have altered it, and the right content may
//! still come; what does fit is kept, whatever it is.

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::body::Item;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::{Author, Certificate, open, recipient_keys};
use countersign_protocol::time::UnixMicros;

use super::Account;
use crate::envelope::{BYTES, Content, ConversationId, Envelope, InvalidEnvelope, TEXT, read};
use crate::error::Result;
use crate::gnupg::GnupgError;
use crate::log::PinnedLog;
use crate::store::name_of_ciphertext;
use crate::store::{EvidenceKind, Incoming, MessageState, NewEvidence, Receiving};

/// Most bytes that a message may unpack to.
const OPENED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far a sender's clock may be ahead of this one. A signature from the future beyond that is refused; a key that has
/// expired meanwhile is judged by when the signature was made, so nothing else depends on it.
const CLOCKS_APART: Duration = Duration::from_mins(5);

/// What is to be done with a content.
pub(super) enum Judgement {
    /// Keep it, and perhaps evidence beside it.
    Keep(Box<Receiving>, Option<NewEvidence>),
    /// It does not fit its id: keep the evidence alone, and do not confirm it.
    DoesNotFit(NewEvidence),
}

/// To whom a content was sent, as its id tells.
enum Addressees {
    /// Exactly these.
    Known(Vec<UserId>),
    /// Its recipients are hidden, so only its envelope can tell.
    Hidden,
    /// The id is of another content.
    Wrong,
    /// It is not encrypted to this user at all.
    Others(Vec<UserId>),
}

/// A content, with what the server says of it.
struct Judged<'a> {
    log: &'a PinnedLog,
    id: MessageId,
    from: UserId,
    content: &'a [u8],
    sha256: Sha256Digest,
    request: String,
}

impl Account {
    /// Judges a message's content.
    pub(super) async fn judge_message(&self, item: &Item, content: &[u8]) -> Result<Judgement> {
        let log = self.log();
        let (sha256, request) = (Sha256Digest::of(content), format!("GET {}/message/{}", self.user_path(), item.id));
        let judged = Judged { log: &log, id: item.id, from: item.from, content, sha256, request };
        let addressees = match self.addressees(&judged) {
            Addressees::Known(recipients) => Some(recipients),
            Addressees::Hidden => None,
            Addressees::Wrong => return Ok(Judgement::DoesNotFit(self.altered(&judged))),
            Addressees::Others(others) => {
                let note = format!("it is encrypted to {}, not to you", self.names_of(others));
                let evidence = self.testify(&judged, EvidenceKind::ReAddressed, &note);
                return Ok(self.refused(&judged, note, Some(content.to_vec()), evidence));
            }
        };
        let key = match self.environment.gnupg.message_key(content).await {
            Ok(key) => key,
            Err(error @ GnupgError::Missing { .. }) => return Err(error.into()),
            Err(error) => return Ok(self.sealed(&judged, error.to_string())),
        };
        let sent = UnixMicros::from(item.id.time());
        let signers = log.certificates_of(&item.from, sent);
        let time = self.now()?.max(sent).plus(CLOCKS_APART);
        let opened = match open(content, &key, &signers, time, OPENED_BYTES_MAX) {
            Ok(opened) => opened,
            Err(fault) => return Ok(self.sealed(&judged, fault.to_string())),
        };
        match read(opened.content) {
            Ok(Content::Plain(content)) => Ok(self.plain(&judged, addressees, content, opened.author)),
            Ok(Content::Enveloped(envelope, content)) => {
                Ok(self.enveloped(&judged, addressees.as_deref(), &envelope, content, (opened.author, &signers)))
            }
            // A later version of this program will know it.
            Err(error @ InvalidEnvelope::Version(_)) => Ok(self.sealed(&judged, error.to_string())),
            Err(error) => {
                let receiving =
                    self.stand_in(&judged, MessageState::Refused, error.to_string(), Some(content.to_vec()));
                Ok(Judgement::Keep(Box::new(receiving), None))
            }
        }
    }

    /// Finds out to whom a content was sent: its id is bound to them, and it names the keys that it is encrypted to.
    fn addressees(&self, judged: &Judged<'_>) -> Addressees {
        let (me, from) = (self.user(), judged.from);
        let organization = self.organization();
        let fits = |recipients: &[UserId]| {
            MessageId::of_message(&organization, &from, judged.id.time(), recipients, &judged.sha256) == judged.id
        };
        let keys = recipient_keys(judged.content).unwrap_or_default();
        let hidden = keys.iter().any(Option::is_none);
        let owners: Vec<Option<UserId>> = keys.iter().flatten().map(|key| judged.log.owner_of(key)).collect();
        let mut named: Vec<UserId> = owners.iter().copied().flatten().collect();
        named.sort_unstable();
        named.dedup();
        let with = |more: &[UserId]| named.iter().chain(more).copied().collect::<Vec<_>>();
        let without_sender = || named.iter().filter(|user| **user != from).copied().collect::<Vec<_>>();
        // People encrypt to themselves as well without sending it to themselves, and the other way round.
        let mut candidates =
            vec![named.clone(), without_sender(), with(&[me]), with(&[me, from]), vec![me], vec![me, from]];
        candidates.retain(|candidate| !candidate.is_empty() && candidate.contains(&me));
        let fitting = candidates.into_iter().find(|candidate| fits(candidate));
        match fitting {
            // Every key is somebody's, and none is this user's.
            Some(_) if !named.is_empty() && !hidden && !named.contains(&me) && owners.iter().all(Option::is_some) => {
                Addressees::Others(named)
            }
            Some(mut recipients) => {
                recipients.sort_unstable();
                recipients.dedup();
                Addressees::Known(recipients)
            }
            None if hidden => Addressees::Hidden,
            None => Addressees::Wrong,
        }
    }

    fn altered(&self, judged: &Judged<'_>) -> NewEvidence {
        let summary = format!("the content of message {} is not the one that its id was made for", judged.id);
        NewEvidence {
            kind: EvidenceKind::Content,
            summary,
            details: vec![
                format!("the server says it is from {}", self.name_of(&judged.from)),
                "it was altered, exchanged, or sent to others".to_owned(),
                "it was not taken for a message; the server is asked for it again".to_owned(),
            ],
            request: judged.request.clone(),
            raw: judged.content.to_vec(),
        }
    }

    fn testify(&self, judged: &Judged<'_>, kind: EvidenceKind, note: &str) -> NewEvidence {
        NewEvidence {
            kind,
            summary: format!("message {} is not what it pretends to be: {note}", judged.id),
            details: vec![
                format!("the server says it is from {}", self.name_of(&judged.from)),
                "it is kept, and not shown as a message".to_owned(),
            ],
            request: judged.request.clone(),
            raw: judged.content.to_vec(),
        }
    }

    /// What could not be opened.
    fn sealed(&self, judged: &Judged<'_>, why: String) -> Judgement {
        let receiving = self.stand_in(judged, MessageState::Sealed, why, Some(judged.content.to_vec()));
        Judgement::Keep(Box::new(receiving), None)
    }

    fn refused(
        &self,
        judged: &Judged<'_>,
        note: String,
        ciphertext: Option<Vec<u8>>,
        evidence: NewEvidence,
    ) -> Judgement {
        let receiving = self.stand_in(judged, MessageState::Refused, note, ciphertext);
        Judgement::Keep(Box::new(receiving), Some(evidence))
    }

    /// A message of which only is known what the server says.
    fn stand_in(
        &self,
        judged: &Judged<'_>,
        state: MessageState,
        note: String,
        ciphertext: Option<Vec<u8>>,
    ) -> Receiving {
        let recipients = vec![self.user()];
        let message = Incoming {
            sender: judged.from,
            name: name_of_ciphertext(&judged.sha256),
            conversation: ConversationId::among(&self.organization(), &[self.user(), judged.from]),
            recipients,
            time: judged.id.time().into(),
            content_type: BYTES.to_owned(),
            file_name: None,
            size: u64::try_from(judged.content.len()).unwrap_or(u64::MAX),
            parts: 1,
            sha256: None,
            outgoing: judged.from == self.user(),
            state,
            note: Some(note),
            log: None,
        };
        receiving(judged, message, 0, ciphertext, None, false)
    }

    /// What was encrypted by hand.
    fn plain(
        &self,
        judged: &Judged<'_>,
        recipients: Option<Vec<UserId>>,
        content: Vec<u8>,
        author: Author,
    ) -> Judgement {
        let signed = matches!(author, Author::Signer(_));
        let recipients = recipients.unwrap_or_else(|| vec![self.user()]);
        let people: Vec<UserId> = recipients.iter().copied().chain([judged.from]).collect();
        let note = match author {
            Author::Signer(_) => None,
            Author::Unsigned => Some("nobody signed it: it may be by anyone".to_owned()),
            Author::Unknown => Some("it is signed by somebody else than its sender: it may be by anyone".to_owned()),
            Author::Bad => Some("its signature is not good: it may be by anyone".to_owned()),
        };
        let message = Incoming {
            sender: judged.from,
            name: name_of_ciphertext(&judged.sha256),
            conversation: ConversationId::among(&self.organization(), &people),
            recipients,
            time: judged.id.time().into(),
            content_type: if std::str::from_utf8(&content).is_ok() { TEXT } else { BYTES }.to_owned(),
            file_name: None,
            size: u64::try_from(content.len()).unwrap_or(u64::MAX),
            parts: 1,
            sha256: None,
            outgoing: judged.from == self.user(),
            state: if signed { MessageState::Plain } else { MessageState::Unverified },
            note,
            log: None,
        };
        let acknowledge = signed && judged.from != self.user();
        Judgement::Keep(Box::new(receiving(judged, message, 0, None, Some(content), acknowledge)), None)
    }

    /// What one of our clients wrote.
    fn enveloped(
        &self,
        judged: &Judged<'_>,
        addressees: Option<&[UserId]>,
        envelope: &Envelope,
        content: Vec<u8>,
        (author, signers): (Author, &[Arc<Certificate>]),
    ) -> Judgement {
        let from = self.name_of(&judged.from);
        let Author::Signer(signer) = author else {
            let note = match author {
                Author::Unsigned => format!("it says it is by {from}, and nobody signed it"),
                _ => format!("it says it is by {from}, and {from} did not sign it"),
            };
            let evidence = self.testify(judged, EvidenceKind::Forged, &note);
            return self.refused(judged, note, Some(judged.content.to_vec()), evidence);
        };
        if let Some(note) = self.misdirected(judged, addressees, envelope) {
            let evidence = self.testify(judged, EvidenceKind::ReAddressed, &note);
            return self.refused(judged, note, Some(judged.content.to_vec()), evidence);
        }
        let present = judged.log.organization().certificate(&judged.from).map(|known| known.fingerprint());
        let replaced = signers.get(signer).map(|used| used.fingerprint()) != present;
        let active = judged.log.organization().user(&judged.from).is_some_and(|record| record.active);
        let note = match (replaced, active) {
            (true, _) => Some("signed with a certificate that its sender has replaced since".to_owned()),
            (false, false) => Some("its sender is not active in the organization any more".to_owned()),
            (false, true) => None,
        };
        let part = envelope.part;
        let message = Incoming {
            sender: envelope.sender,
            name: envelope.message,
            conversation: envelope.conversation,
            recipients: envelope.recipients.clone(),
            time: envelope.time,
            content_type: envelope.content_type.clone(),
            file_name: envelope.file_name.clone(),
            size: part.map_or_else(|| u64::try_from(content.len()).unwrap_or(u64::MAX), |part| part.size),
            parts: part.map_or(1, |part| part.count),
            sha256: part.filter(|part| part.count > 1).map(|part| part.sha256),
            outgoing: judged.from == self.user(),
            state: if judged.from == self.user() { MessageState::Sent } else { MessageState::Verified },
            note,
            log: envelope.log,
        };
        let index = part.map_or(0, |part| part.index);
        let acknowledge = judged.from != self.user();
        let evidence = self.compare_heads(judged, envelope);
        Judgement::Keep(Box::new(receiving(judged, message, index, None, Some(content), acknowledge)), evidence)
    }

    /// Says in what an envelope is not that of the message that it came in.
    fn misdirected(&self, judged: &Judged<'_>, addressees: Option<&[UserId]>, envelope: &Envelope) -> Option<String> {
        if envelope.organization != self.organization() {
            return Some("it was written in another organization".to_owned());
        }
        if envelope.sender != judged.from {
            let (wrote, sent) = (self.name_of(&envelope.sender), self.name_of(&judged.from));
            return Some(format!("{wrote} wrote it, and {sent} sent it"));
        }
        let names = || self.names_of(envelope.recipients.iter().copied());
        if !envelope.recipients.contains(&self.user()) {
            return Some(format!("it was written to {}, not to you", names()));
        }
        let fits = addressees.map_or_else(
            || {
                let (organization, time) = (self.organization(), judged.id.time());
                let id =
                    MessageId::of_message(&organization, &judged.from, time, &envelope.recipients, &judged.sha256);
                id == judged.id
            },
            |addressees| addressees == envelope.recipients,
        );
        (!fits).then(|| format!("it was written to {}, and sent to others", names()))
    }

    /// Compares where the log was for the sender with where it is here.
    fn compare_heads(&self, judged: &Judged<'_>, envelope: &Envelope) -> Option<NewEvidence> {
        let theirs = envelope.log?;
        let ours = judged.log.hash_at(theirs.sequence)?;
        if ours == theirs.hash {
            return None;
        }
        let from = self.name_of(&judged.from);
        Some(NewEvidence {
            kind: EvidenceKind::SplitView,
            summary: format!("the server shows {from} another log of the organization than it shows you"),
            details: vec![
                format!("for {from}, number {} of the log is {}", theirs.sequence, theirs.hash),
                format!("here it is {ours}"),
                "compare your logs with each other: countersign log show".to_owned(),
            ],
            request: judged.request.clone(),
            raw: judged.content.to_vec(),
        })
    }
}

fn receiving(
    judged: &Judged<'_>,
    message: Incoming,
    part: u32,
    ciphertext: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
    acknowledge: bool,
) -> Receiving {
    Receiving { message, part, id: judged.id, ciphertext_sha256: judged.sha256, ciphertext, content, acknowledge }
}
