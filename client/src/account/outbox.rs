//! The outbox: what a person sends is signed, encrypted and on the disk before the first byte of it leaves.
//!
//! Invariants: whoever was told that a message is in the outbox need not do anything more: every later run sends what is
//! left. A retry is the same message under the same id; where the server takes that id no more, the same ciphertext gets
//! a new one, and receivers drop what they have.

use std::io::Read as _;
use std::path::PathBuf;

use bytes::Bytes;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::limits::Limits;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::{Certificate, seal};
use countersign_protocol::problem::ProblemType;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;

use super::{Account, Event, Progress};
use crate::connection::{Call, ServerError};
use crate::envelope::{BYTES, ConversationId, Envelope, Part, TEXT, is_plain_name};
use crate::error::{Error, Result};
use crate::store::{MessageNumber, MessageState, NewPart, Outgoing, QueuedPart};

/// Bytes of content in one part of a split file: what is left of the server's limit after the envelope and a hundred
/// recipients with large RSA keys.
pub(super) const PART_BYTES: usize = 896 * 1024;

/// How long an id is used: less than the 60 s that the server takes it for, since the request takes time as well.
const ID_AGE: Duration = Duration::from_secs(45);

/// What a message says.
#[derive(Clone, Debug)]
pub enum Body {
    /// Bytes, and their media type.
    Bytes(Vec<u8>, String),
    /// A file, whatever its size.
    File(PathBuf),
}

impl Body {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into_bytes(), TEXT.to_owned())
    }
}

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct Draft {
    /// To whom.
    pub recipients: Vec<UserId>,
    /// What it says.
    pub body: Body,
    /// What a file is to be called; its own name if there is none here.
    pub file_name: Option<String>,
    /// The conversation; the one among all who are named if there is none here.
    pub conversation: Option<ConversationId>,
}

/// What a run of the outbox did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlushReport {
    /// Messages of which all parts are stored by the server now.
    pub sent: Vec<MessageNumber>,
    /// Messages that cannot be sent.
    pub failed: Vec<MessageNumber>,
}

/// Where the bytes of a message come from, a part at a time.
enum Source {
    Memory(std::io::Cursor<Vec<u8>>),
    File(std::fs::File),
}

impl Source {
    fn read_part(&mut self) -> std::io::Result<Vec<u8>> {
        let mut part = Vec::new();
        let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
        match self {
            Self::Memory(cursor) => cursor.take(limit).read_to_end(&mut part)?,
            Self::File(file) => file.take(limit).read_to_end(&mut part)?,
        };
        Ok(part)
    }
}

/// What is known of a content before it is read for sending.
struct Measured {
    source: Source,
    size: u64,
    parts: u32,
    sha256: Sha256Digest,
}

impl Account {
    /// Signs and encrypts a message and puts it into the outbox. When this returns, it will be sent, whatever happens.
    ///
    /// # Errors
    /// [`Error::Usage`] for recipients who cannot get it, [`Error::Gnupg`], [`Error::Encryption`], [`Error::File`].
    pub async fn compose(&self, draft: Draft) -> Result<MessageNumber> {
        let (recipients, certificates) = self.check_recipients(&draft.recipients)?;
        let mut people = recipients.clone();
        people.push(self.user());
        let conversation = draft.conversation.unwrap_or_else(|| ConversationId::among(&self.organization(), &people));
        let (content_type, own_name) = match &draft.body {
            Body::Bytes(_, content_type) => (content_type.clone(), None),
            Body::File(path) => (BYTES.to_owned(), path.file_name().map(|name| name.to_string_lossy().into_owned())),
        };
        let file_name = draft.file_name.or(own_name);
        if let Some(name) = file_name.as_deref().filter(|name| !is_plain_name(name)) {
            return Err(Error::Usage(format!(
                "a file cannot be sent under the name {name:?}; give another with --name"
            )));
        }
        let path = match &draft.body {
            Body::File(path) => path.clone(),
            Body::Bytes(..) => PathBuf::new(),
        };
        let failed = |source| Error::File { path: path.clone(), source };
        let mut measured = measure(draft.body).map_err(failed)?;
        let now = self.now()?;
        let outgoing = Outgoing {
            sender: self.user(),
            name: self.random_id(),
            conversation,
            recipients: recipients.clone(),
            time: now,
            content_type,
            file_name,
            size: measured.size,
            parts: measured.parts,
            sha256: (measured.parts > 1).then_some(measured.sha256),
        };

        // Others may prepare at the same time; whoever cleans up waits until nobody does.
        let _preparing = self.profile.lock_shared("prepare").await?;
        let number = self.store.begin_outgoing(&outgoing, self.environment.clock.now())?;
        let mut hash = Sha256::new();
        for part in 0..measured.parts {
            self.progress(Progress::Preparing, u64::from(part), u64::from(measured.parts));
            let content = measured.source.read_part().map_err(failed)?;
            hash.update(&content);
            let ciphertext = self.seal_part(&outgoing, &measured, part, &content, &certificates).await?;
            self.store.add_part(number, &self.user(), &NewPart { part, ciphertext, content })?;
        }
        self.progress(Progress::Preparing, u64::from(measured.parts), u64::from(measured.parts));
        if Sha256Digest::from_bytes(hash.finalize().into()) != measured.sha256 {
            return Err(Error::Usage("the file changed while it was read; send it again".to_owned()));
        }
        self.store.finish_outgoing(number)?;
        self.emit(Event::Changed(number));
        Ok(number)
    }

    /// Puts a message into the outbox and sends it. If the server cannot be reached the message stays in the outbox, and
    /// its state says so.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Server`] only for what no later attempt can mend.
    pub async fn send(&self, draft: Draft) -> Result<MessageNumber> {
        match self.extend_log().await {
            Ok(_) => {}
            // The pinned certificates will do; the message waits until the server is back.
            Err(Error::Server(error)) if error.is_passing() && self.log().head().is_some() => {}
            Err(error) => return Err(error),
        }
        let number = self.compose(draft).await?;
        match self.flush().await {
            Ok(_) => Ok(number),
            Err(Error::Server(error)) if error.is_passing() => Ok(number),
            Err(error) => Err(error),
        }
    }

    /// Sends what is in the outbox, in the order in which it was written.
    ///
    /// # Errors
    /// [`Error`]; what could not be sent stays.
    pub async fn flush(&self) -> Result<FlushReport> {
        let mut report = FlushReport::default();
        if let Some(_nobody_prepares) = self.profile.try_lock("prepare") {
            self.store.discard_preparing()?;
        }
        let _lock = self.profile.lock("outbox").await?;
        let queued = self.store.queued_parts()?;
        let total = u64::try_from(queued.len()).unwrap_or(u64::MAX);
        for (done, part) in (0..).zip(&queued) {
            self.progress(Progress::Sending, done, total);
            if report.failed.contains(&part.message) {
                continue;
            }
            match self.send_part(part).await {
                Ok(()) => {
                    if self.store.part_sent(part.message, part.part)? {
                        report.sent.push(part.message);
                        self.emit(Event::Changed(part.message));
                    }
                }
                Err(Error::Server(ServerError::Problem(problem))) if is_final(problem.kind) => {
                    let unknown = problem.recipients.iter().map(|user| self.name_of(user)).collect::<Vec<_>>();
                    let why = if unknown.is_empty() {
                        problem.detail.clone()
                    } else {
                        format!("not in the organization any more: {}", unknown.join(", "))
                    };
                    self.store.fail(part.message, &why)?;
                    report.failed.push(part.message);
                    self.emit(Event::Changed(part.message));
                }
                Err(error) => return Err(error),
            }
        }
        self.progress(Progress::Sending, total, total);
        Ok(report)
    }

    /// Returns the messages that are in the outbox.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn outbox(&self) -> Result<Vec<MessageNumber>> {
        let mut numbers: Vec<MessageNumber> = self.store.queued_parts()?.iter().map(|part| part.message).collect();
        numbers.dedup();
        Ok(numbers)
    }

    /// Sorts the recipients, adds this user where their other clients get copies, and finds everyone's certificate.
    fn check_recipients(&self, named: &[UserId]) -> Result<(Vec<UserId>, Vec<Arc<Certificate>>)> {
        let mut recipients = named.to_vec();
        recipients.sort_unstable();
        recipients.dedup();
        if recipients.is_empty() {
            return Err(Error::Usage("a message needs a recipient".to_owned()));
        }
        let limit = Limits::default().recipients;
        if recipients.len() > limit {
            return Err(Error::Usage(format!(
                "a message can have {limit} recipients, and these are {}",
                recipients.len()
            )));
        }
        if self.store.preferences()?.copies && recipients.len() < limit && !recipients.contains(&self.user()) {
            recipients.push(self.user());
            recipients.sort_unstable();
        }
        let log = self.log();
        let mut certificates = Vec::new();
        for user in &recipients {
            let active = log.organization().user(user).is_some_and(|record| record.active);
            let certificate = log.organization().certificate(user).filter(|_| active);
            let certificate = certificate.ok_or_else(|| {
                Error::NotFound(format!("{} is not an active user of the organization", self.name_of(user)))
            })?;
            certificates.push(Arc::clone(certificate));
        }
        Ok((recipients, certificates))
    }

    async fn seal_part(
        &self,
        outgoing: &Outgoing,
        measured: &Measured,
        part: u32,
        content: &[u8],
        certificates: &[Arc<Certificate>],
    ) -> Result<Vec<u8>> {
        let Measured { size, parts, sha256, .. } = measured;
        let envelope = Envelope {
            organization: self.organization(),
            sender: outgoing.sender,
            recipients: outgoing.recipients.clone(),
            time: outgoing.time,
            conversation: outgoing.conversation,
            message: outgoing.name,
            content_type: outgoing.content_type.clone(),
            file_name: outgoing.file_name.clone(),
            part: (*parts > 1).then_some(Part { index: part, count: *parts, size: *size, sha256: *sha256 }),
            log: self.log().head(),
        };
        let document = envelope.seal_in(content);
        let now = self.now()?;
        let signature = self.environment.gnupg.sign(&*self.certificate()?, &document, now).await?;
        seal(&document, &signature, certificates, now).map_err(|source| {
            let names: Vec<String> = outgoing.recipients.iter().map(|user| self.name_of(user)).collect();
            Error::Encryption { to: names.join(", "), source }
        })
    }

    async fn send_part(&self, queued: &QueuedPart) -> Result<()> {
        let Some(ciphertext) = self.store.ciphertext(queued.message, queued.part)? else {
            return Ok(());
        };
        let content = Bytes::from(ciphertext);
        let mut id = queued.id;
        let mut renewed = 0;
        loop {
            let now = self.now()?.to_millis();
            let usable = id.filter(|id| now.since(id.time()) < ID_AGE && id.time().since(now) < ID_AGE);
            let current = if let Some(id) = usable {
                id
            } else {
                let address = self.server.address();
                let (organization, user) = (&address.organization, &address.user);
                let id = MessageId::of_message(organization, user, now, &queued.recipients, &queued.sha256);
                self.store.add_id(queued.message, queued.part, &id)?;
                id
            };
            let call = Call::send_message(self.server.address(), &current, &queued.recipients, content.clone());
            match self.server.call(&call, &*self.certificate()?).await {
                Ok(_) => return Ok(()),
                // It took longer than the id is good for, or the clock was corrected meanwhile.
                Err(ServerError::Problem(problem)) if problem.kind == ProblemType::IdOutOfWindow && renewed < 5 => {
                    renewed += 1;
                    id = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns whether everything that this user sent has arrived at the server.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn is_sent(&self, number: MessageNumber) -> Result<bool> {
        Ok(self.message(number)?.state == MessageState::Sent)
    }
}

/// Tells whether the server will never take a message that it refused with this.
const fn is_final(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::UnknownRecipient
            | ProblemType::ContentTooLarge
            | ProblemType::WrongId
            | ProblemType::MalformedRequest
    )
}

/// Finds out how large a content is and what its digest is.
fn measure(body: Body) -> std::io::Result<Measured> {
    use std::io::Seek as _;
    let (source, size, sha256) = match body {
        Body::Bytes(bytes, _) => {
            let (size, sha256) = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), Sha256Digest::of(&bytes));
            (Source::Memory(std::io::Cursor::new(bytes)), size, sha256)
        }
        Body::File(path) => {
            let mut file = std::fs::File::open(path)?;
            let mut hash = Sha256::new();
            let mut size = 0;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = file.read(&mut buffer)?;
                let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                    break;
                };
                hash.update(bytes);
                size += u64::try_from(read).unwrap_or(u64::MAX);
            }
            file.rewind()?;
            (Source::File(file), size, Sha256Digest::from_bytes(hash.finalize().into()))
        }
    };
    let part = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    let parts = u32::try_from(size.div_ceil(part).max(1));
    let parts = parts.map_err(|_| std::io::Error::other("it is too large to be sent"))?;
    Ok(Measured { source, size, parts, sha256 })
}
