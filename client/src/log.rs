//! The organization's log as this client pins it.
//!
//! Owns: folding what is pinned, and judging what a server says comes next. Refuses to know: how it was asked for, and
//! where it is kept.
//!
//! Invariant: certificates and roles come from here alone. A page is judged whole: of one that is refused nothing is
//! taken over, however much of it was in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_protocol::body::{LogPage, User};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::limits::Limits;
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::openpgp::{Certificate, KeyName};
use countersign_protocol::organization::{LogRefusal, Organization};
use countersign_protocol::statement::Statement;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::Refusal;

use crate::store::{EvidenceKind, Membership};
use crate::words;

/// A certificate that a user has or had.
#[derive(Clone, Debug)]
struct Held {
    certificate: Arc<Certificate>,
    since: UnixMicros,
    until: Option<UnixMicros>,
}

/// The log, folded, with what else is asked of it.
#[derive(Clone, Debug)]
pub struct PinnedLog {
    organization: Organization,
    /// The hash of each entry.
    hashes: Vec<Sha256Digest>,
    held: BTreeMap<UserId, Vec<Held>>,
    super_administrators: Vec<Certificate>,
    genesis: Option<Sha256Digest>,
}

/// What a server says of the log and must not: not yet kept as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// What kind.
    pub kind: EvidenceKind,
    /// What happened, in one sentence.
    pub summary: String,
    /// What was proposed, and by whom it was signed or not.
    pub details: Vec<String>,
}

/// Why a pinned log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PinnedLogError {
    /// A pinned certificate is none.
    #[error("a super-administrator's certificate in the profile cannot be read")]
    SuperAdministrator(#[source] countersign_protocol::openpgp::CertificateFault),
    /// An entry that was pinned does not follow.
    #[error("the pinned log cannot be read: the profile's store was changed by something else")]
    Entry(#[source] LogRefusal),
}

impl PinnedLog {
    /// Folds what is pinned. Its signatures were judged when it was pinned.
    ///
    /// # Errors
    /// [`PinnedLogError`].
    pub fn load(membership: &Membership, entries: &[LogEntry]) -> Result<Self, PinnedLogError> {
        let parse = |armored: &String| Certificate::parse(armored).map_err(PinnedLogError::SuperAdministrator);
        let super_administrators: Vec<Certificate> =
            membership.super_administrators.iter().map(parse).collect::<Result<_, _>>()?;
        let trusted = super_administrators.iter().cloned().map(Arc::new).collect();
        let mut log = Self {
            organization: Organization::new(membership.organization, trusted),
            hashes: Vec::new(),
            held: BTreeMap::new(),
            super_administrators,
            genesis: membership.genesis,
        };
        for entry in entries {
            let head = log.organization.replay(entry).map_err(PinnedLogError::Entry)?;
            log.note(head, entry);
        }
        Ok(log)
    }

    /// Returns the organization.
    #[must_use]
    pub const fn organization(&self) -> &Organization {
        &self.organization
    }

    /// Returns the certificates of the super-administrators that are known here.
    #[must_use]
    pub fn super_administrators(&self) -> &[Certificate] {
        &self.super_administrators
    }

    /// Returns where the pinned log is; none before the first entry.
    #[must_use]
    pub const fn head(&self) -> Option<Head> {
        self.organization.head()
    }

    /// Returns the hash of an entry.
    #[must_use]
    pub fn hash_at(&self, sequence: u64) -> Option<Sha256Digest> {
        usize::try_from(sequence).ok().and_then(|index| self.hashes.get(index).copied())
    }

    /// Returns the certificates that a user's signatures of a time may be of: the present one first, then one that was
    /// replaced later.
    #[must_use]
    pub fn certificates_of(&self, user: &UserId, at: UnixMicros) -> Vec<Arc<Certificate>> {
        let skew = Limits::STATEMENT_SKEW;
        let held = self.held.get(user).map(Vec::as_slice).unwrap_or_default();
        let valid =
            |held: &&Held| held.until.is_none_or(|until| at <= until.plus(skew)) && held.since.minus(skew) <= at;
        let present = held.iter().rev().find(|held| held.until.is_none());
        let past = held.iter().rev().filter(|held| held.until.is_some()).filter(valid);
        present.into_iter().chain(past).map(|held| Arc::clone(&held.certificate)).collect()
    }

    /// Returns whose key a message names as its recipient's.
    #[must_use]
    pub fn owner_of(&self, key: &KeyName) -> Option<UserId> {
        let owns = |held: &Held| held.certificate.has_key(key);
        self.held.iter().find(|(_, held)| held.iter().any(owns)).map(|(user, _)| *user)
    }

    /// Judges a page that a server answered to the question what comes after the pinned head. Returns the log extended by
    /// it, and the entries to pin.
    ///
    /// # Errors
    /// [`Lie`] says what the server may not say.
    pub fn extended(&self, page: &LogPage, now: UnixMicros) -> Result<(Self, Vec<(Head, LogEntry)>), Lie> {
        let mut log = self.clone();
        let mut entries = Vec::new();
        for answered in &page.entries {
            let entry = LogEntry::from(answered.clone());
            let head = log.judge(&entry, now).map_err(|refusal| log.lie(&entry, &refusal, now))?;
            log.note(head, &entry);
            entries.push((head, entry));
        }
        log.check_head(page, entries.is_empty())?;
        Ok((log, entries))
    }

    /// Judges all entries again, from the first, signatures and all.
    ///
    /// # Errors
    /// [`Lie`] names the first that is not in order.
    pub fn verify(&self, entries: &[LogEntry], now: UnixMicros) -> Result<Option<Head>, Lie> {
        let trusted = self.super_administrators.iter().cloned().map(Arc::new).collect();
        let mut log = Self {
            organization: Organization::new(self.organization.id(), trusted),
            hashes: Vec::new(),
            held: BTreeMap::new(),
            super_administrators: self.super_administrators.clone(),
            genesis: self.genesis,
        };
        for entry in entries {
            let head = log.judge(entry, now).map_err(|refusal| log.lie(entry, &refusal, now))?;
            log.note(head, entry);
        }
        Ok(log.head())
    }

    fn judge(&mut self, entry: &LogEntry, now: UnixMicros) -> Result<Head, LogRefusal> {
        let is_first = self.organization.head().is_none();
        if let Some(genesis) = self.genesis.filter(|_| is_first) {
            if Sha256Digest::of(entry.statement.as_bytes()) != genesis {
                return Err(Refusal::LogMoved { head: None }.into());
            }
            // Whoever wrote the invitation vouches for the first statement by its hash; where they named the
            // super-administrators too, their signatures are judged as well.
            if self.super_administrators.len() < 2 {
                return self.organization.replay(entry);
            }
        }
        self.organization.extend(entry, now).map(|verdict| verdict.head)
    }

    /// Notes what an accepted entry brings.
    fn note(&mut self, head: Head, entry: &LogEntry) {
        self.hashes.push(head.hash);
        let Ok(statement) = Statement::parse(&entry.statement) else {
            return;
        };
        let user = statement.change.user();
        if statement.change.certificate().is_some()
            && let Some(certificate) = self.organization.certificate(&user)
        {
            let held = self.held.entry(user).or_default();
            if let Some(last) = held.last_mut() {
                last.until = Some(statement.time);
            }
            held.push(Held { certificate: Arc::clone(certificate), since: statement.time, until: None });
        }
    }

    /// Compares the head that a server names with what its entries lead to.
    fn check_head(&self, page: &LogPage, nothing_new: bool) -> Result<(), Lie> {
        let Some(pinned) = self.head() else {
            let summary = "the server has no log of this organization".to_owned();
            return Err(Lie { kind: EvidenceKind::Rollback, summary, details: Vec::new() });
        };
        let details = vec![
            format!("here the log is at number {} ({})", pinned.sequence, pinned.hash),
            format!("the server says it is at number {} ({})", page.head.sequence, page.head.hash),
        ];
        let lie = |kind, summary: &str| Err(Lie { kind, summary: summary.to_owned(), details });
        if page.head.sequence < pinned.sequence {
            return lie(EvidenceKind::Rollback, "the server's log is shorter than it was: a change is taken back");
        }
        if page.head.sequence == pinned.sequence && page.head.hash != pinned.hash {
            return lie(EvidenceKind::Fork, "the server's log has another last entry than the one known here");
        }
        if page.head.sequence > pinned.sequence && nothing_new {
            return lie(EvidenceKind::Withheld, "the server's log goes on, and the server does not show how");
        }
        Ok(())
    }

    fn lie(&self, entry: &LogEntry, refusal: &LogRefusal, now: UnixMicros) -> Lie {
        let mut details = Vec::new();
        let statement = Statement::parse(&entry.statement);
        match &statement {
            Ok(statement) => {
                details.push("the server proposed:".to_owned());
                let said = words::change(statement, &self.organization, now);
                details.extend(said.into_iter().map(|line| format!("  {line}")));
                let signed = words::signatures(entry, &self.organization, &self.super_administrators, now);
                details.extend(signed);
            }
            Err(error) => details.push(format!("the server proposed what is no statement: {error}")),
        }
        let expected = self.head().map_or(0, |head| head.sequence + 1);
        let (kind, summary) = match refusal {
            LogRefusal::OtherOrganization(_) => {
                (EvidenceKind::Fork, "the server answered with the log of another organization".to_owned())
            }
            LogRefusal::Refused(Refusal::LogMoved { .. } | Refusal::OrganizationExists) => {
                let sequence = statement.as_ref().map_or(expected, |statement| statement.sequence);
                if sequence > expected {
                    let missing = format!("the server withholds number {expected} of the log and shows {sequence}");
                    (EvidenceKind::Withheld, missing)
                } else {
                    let fork = "the server shows another log than the one known here: it does not follow";
                    (EvidenceKind::Fork, fork.to_owned())
                }
            }
            LogRefusal::Refused(refusal) => {
                details.push(format!("why it is refused: {refusal}"));
                (EvidenceKind::TwoManRule, "the server proposed a change that nobody may make like this".to_owned())
            }
        };
        if let Some(head) = self.head() {
            details.push(format!("here the log is at number {} ({})", head.sequence, head.hash));
        } else if let Some(genesis) = self.genesis {
            details.push(format!("the first entry must have the hash {genesis}, as the invitation says"));
        }
        Lie { kind, summary, details }
    }

    /// Compares a server's listing of users, whole, with the log.
    ///
    /// # Errors
    /// [`Lie`] says in what it differs.
    pub fn check_listing(&self, listed: &[User], now: UnixMicros) -> Result<(), Lie> {
        let mut details = Vec::new();
        let mut listed: BTreeMap<UserId, &User> = listed.iter().map(|user| (user.user, user)).collect();
        for record in self.organization.users() {
            let name = self.organization.certificate(&record.user).map(|known| words::certificate(known, now));
            let name = name.unwrap_or_else(|| record.user.to_string());
            let Some(user) = listed.remove(&record.user) else {
                details.push(format!("the listing leaves out {name}"));
                continue;
            };
            let fingerprint = record.fingerprint.to_string();
            let listed_fingerprint =
                Certificate::parse(&user.certificate).map(|listed| listed.fingerprint().to_string());
            if user.fingerprint != fingerprint || listed_fingerprint.as_ref() != Ok(&fingerprint) {
                details.push(format!("the listing gives {name} the certificate {}", user.fingerprint));
                details.push(format!("in the log it is {fingerprint}"));
            }
            let differs = |what: &str, listed: bool, logged: bool| {
                (listed != logged).then(|| format!("the listing says of {name}: {what}: {listed}; the log: {logged}"))
            };
            details.extend(differs("administrator", user.administrator, record.administrator));
            details.extend(differs("active", user.active, record.active));
            if let Some(limit) = record.client_limit.filter(|limit| *limit != user.client_limit) {
                details.push(format!("the listing allows {name} {} clients; the log {limit}", user.client_limit));
            }
        }
        details.extend(listed.into_keys().map(|user| format!("the listing adds user {user}, who is not in the log")));
        if details.is_empty() {
            return Ok(());
        }
        let summary = "the server's listing of users is not what the log says".to_owned();
        Err(Lie { kind: EvidenceKind::Listing, summary, details })
    }
}
