//! An account: one user's place in one organization, on this device. Everything that a program does with Countersign.
//!
//! Owns: bringing the parts together. Each file has one concern: the log, people, the outbox, the inbox, receipts,
//! changes, clients, waiting.
//!
//! Refuses to know: terminals, colours, exit codes.
//!
//! Invariant: whatever talks to the server extends the log and verifies it first. What comes from the server is used only
//! after it was compared with the log.

mod changes;
mod clients;
mod inbox;
mod judgement;
mod log;
mod outbox;
mod people;
mod receipts;
mod watch;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::time::UnixMicros;
use tokio::sync::broadcast;

pub(crate) use changes::submission;
pub use changes::{ChangeStanding, sign as sign_with};
pub use inbox::SyncReport;
pub use log::{LogLine, LogUpdate};
pub use outbox::{Body, Draft, FlushReport};
pub use people::Person;
pub use watch::Waited;

use crate::clock::{Clock, SystemClock};
use crate::connection::{HttpClient, RetryPolicy, Server, ServerUrl, Trust};
use crate::entropy::{Entropy, SystemEntropy, random_id};
use crate::error::{Error, Refused, Result};
use crate::gnupg::Gnupg;
use crate::log::{Lie, PinnedLog};
use crate::profile::Profile;
use crate::store::{
    ConversationSummary, Evidence, Membership, MessageNumber, NewEvidence, Preferences, Store, StoredMessage,
    StoredReceipt,
};

/// What an account takes from outside.
#[derive(Clone, Debug)]
pub struct Environment {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Who has the secret keys.
    pub gnupg: Gnupg,
    /// How often requests are tried again.
    pub retries: RetryPolicy,
}

impl Default for Environment {
    fn default() -> Self {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Self { clock, entropy, gnupg: Gnupg::system(), retries: RetryPolicy::default() }
    }
}

/// What happens in an account while somebody looks on.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrived, or one that was sealed was opened.
    Arrived(MessageNumber),
    /// A message's state or marks changed: it was sent, failed, or somebody received it.
    Changed(MessageNumber),
    /// The organization changed.
    LogExtended(LogUpdate),
    /// This device was away for longer than the server keeps messages: from this time on some may be missing.
    Gap(String),
    /// The server did what it must not do.
    Refused(Box<Refused>),
    /// The server answers, or does not.
    Online(bool),
    /// Work that takes a while: what, how much of it is done, how much there is.
    Progress {
        /// What is done.
        what: Progress,
        /// How much of it is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
}

/// Work that takes a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Parts being signed and encrypted.
    Preparing,
    /// Parts being sent.
    Sending,
    /// Messages being fetched.
    Receiving,
    /// Receipts being signed and sent.
    Acknowledging,
}

/// One user's place in one organization, on this device.
#[derive(Debug)]
pub struct Account {
    profile: Profile,
    store: Arc<Store>,
    membership: Membership,
    log: RwLock<Arc<PinnedLog>>,
    server: Server,
    environment: Environment,
    events: broadcast::Sender<Event>,
    /// What whoever looks on was told of last.
    told_gap: Mutex<Option<String>>,
}

impl Account {
    /// Makes a profile for a place in an organization, and opens it. Nothing is sent.
    ///
    /// # Errors
    /// [`Error`]; an existing profile is left as it is, and where the server's address or authorities cannot be used,
    /// none is made.
    pub fn create(profile: &Profile, membership: &Membership, environment: Environment) -> Result<Self> {
        connect(membership)?;
        profile.make_folder()?;
        // Under another name until it is whole: an interrupted start leaves no profile.
        let unfinished = profile.folder().join("store.new");
        let _ = std::fs::remove_file(&unfinished);
        Store::open(&unfinished)?.set_membership(membership)?;
        let path = profile.store_path();
        std::fs::rename(&unfinished, &path).map_err(|source| Error::File { path, source })?;
        Self::open(profile, environment)
    }

    /// Says where a profile's server is from now on, or which authorities vouch for it. What is pinned stays: another
    /// server must show the same log. It need not be possible to open the profile.
    ///
    /// # Errors
    /// [`Error`], after which nothing is changed.
    pub fn move_to(profile: &Profile, server: Option<&ServerUrl>, authorities: Option<Trust>) -> Result<()> {
        let store = Store::open(&profile.existing()?.store_path())?;
        let mut membership = store.membership()?;
        if let Some(server) = server {
            server.as_str().clone_into(&mut membership.server);
        }
        match authorities {
            Some(Trust::System) => membership.authorities = None,
            Some(Trust::File(path)) => membership.authorities = Some(path),
            None => {}
        }
        connect(&membership)?;
        Ok(store.set_membership(&membership)?)
    }

    /// Opens a profile. Nothing is sent.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(profile: &Profile, environment: Environment) -> Result<Self> {
        let store = Arc::new(Store::open(&profile.existing()?.store_path())?);
        let membership = store.membership()?;
        let log = PinnedLog::load(&membership, &store.log()?)?;
        let server = Server::new(crate::connection::ServerParts {
            http: connect(&membership)?,
            address: membership.address(),
            store: Arc::clone(&store),
            profile: profile.clone(),
            gnupg: environment.gnupg.clone(),
            clock: Arc::clone(&environment.clock),
            entropy: Arc::clone(&environment.entropy),
            policy: environment.retries,
        });
        let (events, _) = broadcast::channel(1024);
        let log = RwLock::new(Arc::new(log));
        Ok(Self {
            profile: profile.clone(),
            store,
            membership,
            log,
            server,
            environment,
            events,
            told_gap: Mutex::default(),
        })
    }

    /// Returns the profile.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns this user.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.membership.user
    }

    /// Returns this client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.membership.client
    }

    /// Returns the organization's id.
    #[must_use]
    pub const fn organization(&self) -> OrganizationId {
        self.membership.organization
    }

    /// Returns what was pinned when the profile was made.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Returns what happens from now on. A reader that falls behind misses the oldest events, never a message: the store
    /// has them all.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Returns a number that changes when another process changed this account's store, such as `countersign send` in
    /// another terminal.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn changes_elsewhere(&self) -> Result<i64> {
        Ok(self.store.changes_elsewhere()?)
    }

    /// Returns the log as it is pinned.
    #[must_use]
    pub fn log(&self) -> Arc<PinnedLog> {
        Arc::clone(&self.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what the owner of the profile chose.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn preferences(&self) -> Result<Preferences> {
        Ok(self.store.preferences()?)
    }

    /// Sets what the owner of the profile chose.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_preferences(&self, preferences: &Preferences) -> Result<()> {
        Ok(self.store.set_preferences(preferences)?)
    }

    /// Returns all conversations, the one with the newest message first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn conversations(&self) -> Result<Vec<ConversationSummary>> {
        Ok(self.store.conversations()?)
    }

    /// Returns messages, oldest first: at most `limit` of the newest, of one conversation or of all, perhaps only those
    /// before a number.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn messages(
        &self,
        conversation: Option<crate::envelope::ConversationId>,
        before: Option<MessageNumber>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>> {
        Ok(self.store.messages(conversation, before, false, limit)?)
    }

    /// Returns what arrived and was not read, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn unread(&self, limit: u32) -> Result<Vec<StoredMessage>> {
        Ok(self.store.messages(None, None, true, limit)?)
    }

    /// Returns one message.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn message(&self, number: MessageNumber) -> Result<StoredMessage> {
        let message = self.store.message(number)?;
        message.ok_or_else(|| Error::NotFound(format!("there is no message {}", number.0)))
    }

    /// Returns the content of one part of a message, from 0; none where it is not here or could not be opened.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn content(&self, number: MessageNumber, part: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.store.content(number, part)?)
    }

    /// Marks a message as read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn mark_read(&self, number: MessageNumber) -> Result<()> {
        Ok(self.store.mark_seen(number)?)
    }

    /// Returns the receipts for a message that this user sent.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn receipts(&self, number: MessageNumber) -> Result<Vec<StoredReceipt>> {
        Ok(self.store.receipts_of(number)?)
    }

    /// Returns what servers did that they must not do.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn evidence(&self) -> Result<Vec<Evidence>> {
        Ok(self.store.evidence()?)
    }

    /// Returns the server's time as this client reckons it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn now(&self) -> Result<UnixMicros> {
        Ok(self.server.now()?)
    }

    /// Returns what to add to this machine's clock to get the server's, in microseconds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn clock_offset(&self) -> Result<i64> {
        Ok(self.store.clock_offset()?)
    }

    /// Returns the certificate with which this user signs: the log's, or before the log is known the profile's.
    ///
    /// # Errors
    /// [`Error::Usage`] if the profile's cannot be read.
    pub fn certificate(&self) -> Result<Arc<Certificate>> {
        if let Some(certificate) = self.log().organization().certificate(&self.user()) {
            return Ok(Arc::clone(certificate));
        }
        let parsed = Certificate::parse(&self.membership.certificate);
        parsed.map(Arc::new).map_err(|fault| Error::Usage(format!("the profile's certificate: {fault}")))
    }

    fn organization_path(&self) -> String {
        format!("/{}", self.organization())
    }

    fn user_path(&self) -> String {
        format!("/{}/{}", self.organization(), self.user())
    }

    fn random_id(&self) -> uuid::Uuid {
        random_id(&*self.environment.entropy)
    }

    fn emit(&self, event: Event) {
        // Nobody may be looking.
        let _ = self.events.send(event);
    }

    fn progress(&self, what: Progress, done: u64, total: u64) {
        self.emit(Event::Progress { what, done, total });
    }

    /// Keeps a piece of evidence and says so to whoever looks on.
    fn refuse(&self, what: NewEvidence) -> Result<Refused> {
        let evidence = self.store.keep_evidence(&what, self.environment.clock.now())?;
        let refused = Refused { evidence, what };
        self.emit(Event::Refused(Box::new(refused.clone())));
        Ok(refused)
    }

    /// Keeps what a server said that it may not say, with the bytes as they came.
    fn refuse_lie(&self, lie: Lie, request: String, raw: &[u8]) -> Result<Refused> {
        let Lie { kind, summary, mut details } = lie;
        details.push("nothing was changed here".to_owned());
        self.refuse(NewEvidence { kind, summary, details, request, raw: raw.to_vec() })
    }
}

/// Prepares connections to a profile's server. Nothing is sent.
fn connect(membership: &Membership) -> Result<HttpClient> {
    let url: ServerUrl =
        membership.server.parse().map_err(|error| Error::Usage(format!("{}: {error}", membership.server)))?;
    let trust = membership.authorities.clone().map_or(Trust::System, Trust::File);
    Ok(HttpClient::new(url, &trust)?)
}
