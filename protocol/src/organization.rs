//! An organization as its log makes it: what a client pins and extends, entry by entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{OrganizationId, UserId};
use crate::log::{Head, LogEntry};
use crate::openpgp::{Certificate, Fingerprint};
use crate::statement::Statement;
use crate::time::UnixMicros;
use crate::two_man_rule::{Refusal, Standing, UserRecord, Verdict, apply, judge};

/// An organization folded from its log.
#[derive(Clone, Debug)]
pub struct Organization {
    id: OrganizationId,
    super_administrators: Vec<Arc<Certificate>>,
    head: Option<Head>,
    time: UnixMicros,
    users: BTreeMap<UserId, UserRecord>,
    certificates: BTreeMap<UserId, Arc<Certificate>>,
}

/// Why a log is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LogRefusal {
    /// An entry is about another organization.
    #[error("the entry at sequence {0} is about another organization")]
    OtherOrganization(u64),
    /// An entry does not satisfy the rule.
    #[error("an entry of the log is refused")]
    Refused(#[from] Refusal),
}

impl Organization {
    /// Begins with an empty log. `super_administrators` are those whom the verifier trusts to create organizations.
    #[must_use]
    pub fn new(id: OrganizationId, super_administrators: Vec<Arc<Certificate>>) -> Self {
        Self {
            id,
            super_administrators,
            head: None,
            time: UnixMicros(0),
            users: BTreeMap::new(),
            certificates: BTreeMap::new(),
        }
    }

    /// Extends the log by one entry, if the two-man rule allows it; else nothing is changed. `now` is the verifier's
    /// clock.
    ///
    /// # Errors
    /// [`LogRefusal`] says why the entry is not accepted.
    pub fn extend(&mut self, entry: &LogEntry, now: UnixMicros) -> Result<Verdict, LogRefusal> {
        let statement = Statement::parse(&entry.statement).map_err(Refusal::from)?;
        if statement.organization != self.id {
            return Err(LogRefusal::OtherOrganization(statement.sequence));
        }
        let standing = self.standing(&statement);
        let verdict = judge(&standing, &self.super_administrators, &statement, entry, now)?;
        if let Some(certificate) = statement.change.certificate() {
            let certificate = Certificate::parse(certificate).map_err(Refusal::from)?;
            self.certificates.insert(verdict.record.user, Arc::new(certificate));
        }
        self.head = Some(verdict.head);
        self.time = verdict.time;
        self.users.insert(verdict.record.user, verdict.record.clone());
        Ok(verdict)
    }

    /// Extends the log by an entry that this verifier accepted before, without judging who signed it.
    ///
    /// For what a client pinned itself, and for a first statement whose hash it pinned.
    ///
    /// # Errors
    /// [`LogRefusal`] if the entry is no statement, does not follow, or cannot be applied.
    pub fn replay(&mut self, entry: &LogEntry) -> Result<Head, LogRefusal> {
        let statement = Statement::parse(&entry.statement).map_err(Refusal::from)?;
        if statement.organization != self.id {
            return Err(LogRefusal::OtherOrganization(statement.sequence));
        }
        let expected = self.head.map_or(Some(0), |head| head.sequence.checked_add(1));
        if expected != Some(statement.sequence) || statement.previous != self.head.map(|head| head.hash) {
            return Err(Refusal::LogMoved { head: self.head }.into());
        }
        let user = statement.change.user();
        let record = apply(&statement, self.users.get(&user))?;
        if let Some(certificate) = statement.change.certificate() {
            let certificate = Certificate::parse(certificate).map_err(Refusal::from)?;
            self.certificates.insert(user, Arc::new(certificate));
        }
        let head = Head { sequence: statement.sequence, hash: statement.hash };
        self.head = Some(head);
        self.time = statement.time;
        self.users.insert(user, record);
        Ok(head)
    }

    /// Returns the organization.
    #[must_use]
    pub const fn id(&self) -> OrganizationId {
        self.id
    }

    /// Returns where the log is; none if it is empty.
    #[must_use]
    pub const fn head(&self) -> Option<Head> {
        self.head
    }

    /// Returns a user's record.
    #[must_use]
    pub fn user(&self, user: &UserId) -> Option<&UserRecord> {
        self.users.get(user)
    }

    /// Returns a user's parsed certificate.
    #[must_use]
    pub fn certificate(&self, user: &UserId) -> Option<&Arc<Certificate>> {
        self.certificates.get(user)
    }

    /// Returns all users' records, ordered by user.
    pub fn users(&self) -> impl Iterator<Item = &UserRecord> {
        self.users.values()
    }

    fn standing(&self, statement: &Statement) -> Standing {
        let fingerprint = statement
            .change
            .certificate()
            .and_then(|armored| Certificate::parse(armored).ok())
            .map(|certificate| certificate.fingerprint().clone());
        Standing {
            head: self.head,
            time: self.time,
            administrators: self
                .users
                .values()
                .filter(|record| record.administrator && record.active)
                .filter_map(|record| self.certificates.get(&record.user).cloned())
                .collect(),
            subject: self.users.get(&statement.change.user()).cloned(),
            certificate_holder: fingerprint
                .and_then(|fingerprint| self.holder(&fingerprint, statement.change.user())),
        }
    }

    /// Finds a user other than `but` who has a certificate; or `but`, if only they have it.
    fn holder(&self, fingerprint: &Fingerprint, but: UserId) -> Option<UserId> {
        let mut holders = self.users.values().filter(|record| record.fingerprint == *fingerprint);
        holders.find(|record| record.user != but).map(|record| record.user)
    }
}
