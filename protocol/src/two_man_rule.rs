//! The two-man rule (section 4): the same code in the service and in every client, and the reason that a client need
//! not trust the service.
//!
//! Invariant I-4: [`judge`] answers from its arguments alone, so all who know the same log judge alike.
//!
//! Invariant I-5: the signatures are judged before the log's position. Who cannot sign learns nothing of an
//! organization, not even whether it exists.

use std::sync::Arc;

use crate::id::UserId;
use crate::limits::Limits;
use crate::log::{Head, LogEntry};
use crate::openpgp::{
    Certificate, CertificateFault, Fingerprint, SignatureEncoding, SignatureFault, SignatureTerms, verify_detached,
};
use crate::problem::ProblemType;
use crate::statement::{Change, InvalidStatement, Statement};
use crate::time::UnixMicros;

/// What the log says of one user: their record after the last statement about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The user.
    pub user: UserId,
    /// Their armored certificate.
    pub certificate: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether they are an administrator.
    pub administrator: bool,
    /// Whether they are active.
    pub active: bool,
    /// How many clients they may have; the service's default if no statement says.
    pub client_limit: Option<u32>,
    /// The sequence of the last statement about them.
    pub changed: u64,
    /// The sequence of the last statement that ended their sessions: a session begun under an earlier one is over.
    pub sessions_since: u64,
}

/// What the rule needs to know of an organization before a change.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Where its log is; none if it does not exist.
    pub head: Option<Head>,
    /// The time of its last statement.
    pub time: UnixMicros,
    /// The certificates of its active administrators; of an organization that does not exist, none.
    pub administrators: Vec<Arc<Certificate>>,
    /// The record of the user whom the change is about.
    pub subject: Option<UserRecord>,
    /// Which user has the certificate that the change brings.
    pub certificate_holder: Option<UserId>,
}

/// What an accepted statement makes of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The new head.
    pub head: Head,
    /// The statement's time.
    pub time: UnixMicros,
    /// The new record of the user whom it is about.
    pub record: UserRecord,
}

/// Why a statement is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no statement.
    #[error(transparent)]
    Invalid(#[from] InvalidStatement),
    /// One of its signatures is refused; counted from 1.
    #[error("signature {number} is refused: {fault}")]
    Signature {
        /// Which one, from 1.
        number: usize,
        /// Why.
        fault: SignatureFault,
    },
    /// All signatures are good, but there are too few by different signers.
    #[error("{good} good signature(s) by different signers, and {needed} are needed")]
    TooFew {
        /// Different signers who signed.
        good: usize,
        /// Different signers who must.
        needed: usize,
    },
    /// There is no signature at all.
    #[error("the statement is not signed")]
    Unsigned,
    /// Another statement stands there, or one before it is missing.
    #[error("the statement does not follow the head of the log; read the log, then sign a statement that does")]
    LogMoved {
        /// Where the log is.
        head: Option<Head>,
    },
    /// It is dated before the statement that it follows.
    #[error("the statement's time is before that of the statement that it follows")]
    TimeWentBack,
    /// Too old or too far in the future to be appended.
    #[error("the statement's time is more than 7 days behind or 30 s ahead of the server's clock; sign a new one")]
    Expired,
    /// The organization exists.
    #[error("the organization exists already")]
    OrganizationExists,
    /// The user exists.
    #[error("the user exists already")]
    UserExists,
    /// There is no such user.
    #[error("the organization has no such user")]
    UnknownUser,
    /// No active administrator would be left.
    #[error("the change would leave no active administrator")]
    LastAdministrator,
    /// The certificate that it brings cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateFault),
    /// The certificate that it brings is another user's.
    #[error("another user of the organization has this certificate")]
    CertificateTaken,
}

impl Refusal {
    /// Returns the problem that a service answers with.
    #[must_use]
    pub const fn problem_type(&self) -> ProblemType {
        match self {
            Self::Invalid(_) => ProblemType::MalformedRequest,
            Self::Signature { .. } | Self::TooFew { .. } | Self::Unsigned => ProblemType::TwoManRule,
            Self::LogMoved { .. } => ProblemType::LogMoved,
            Self::TimeWentBack | Self::Expired => ProblemType::StatementExpired,
            Self::OrganizationExists | Self::UserExists => ProblemType::Exists,
            Self::UnknownUser => ProblemType::NotFound,
            Self::LastAdministrator => ProblemType::LastAdministrator,
            Self::Certificate(_) | Self::CertificateTaken => ProblemType::BadCertificate,
        }
    }
}

/// Judges one statement against an organization as it stood before it.
///
/// `now` is the verifier's clock, ahead of which no signature may have been made by more than 30 s. Whether the
/// statement's own age lets it be appended is [`check_age`]'s question, for the service at the time of appending.
///
/// # Errors
/// [`Refusal`] says why the statement does not count.
pub fn judge(
    standing: &Standing,
    super_administrators: &[Arc<Certificate>],
    statement: &Statement,
    entry: &LogEntry,
    now: UnixMicros,
) -> Result<Verdict, Refusal> {
    let creates = statement.sequence == 0;
    let signers = if creates { super_administrators } else { &standing.administrators };
    let good = count_signers(signers, statement, entry, now)?;
    let needed = if !creates && signers.len() == 1 { 1 } else { 2 };
    if good < needed {
        return Err(Refusal::TooFew { good, needed });
    }

    match standing.head {
        Some(_) if creates => return Err(Refusal::OrganizationExists),
        Some(head) if follows(statement, head) => {}
        None if creates => {}
        head => return Err(Refusal::LogMoved { head }),
    }
    if statement.time < standing.time {
        return Err(Refusal::TimeWentBack);
    }

    let certificate = statement.change.certificate().map(Certificate::parse).transpose()?;
    if let Some(certificate) = &certificate {
        certificate.check_usable(statement.time)?;
        if standing.certificate_holder.is_some_and(|holder| holder != statement.change.user()) {
            return Err(Refusal::CertificateTaken);
        }
    }
    let before = standing.subject.as_ref();
    let record = changed_record(statement, before, certificate.as_ref())?;
    let was_administrator = before.is_some_and(|before| before.administrator && before.active);
    let is_administrator = record.administrator && record.active;
    if was_administrator && !is_administrator && standing.administrators.len() == 1 {
        return Err(Refusal::LastAdministrator);
    }
    Ok(Verdict { head: Head { sequence: statement.sequence, hash: statement.hash }, time: statement.time, record })
}

fn follows(statement: &Statement, head: Head) -> bool {
    head.sequence.checked_add(1) == Some(statement.sequence) && statement.previous == Some(head.hash)
}

/// Checks that a statement may still be appended: at most 30 s ahead of `now` and at most 7 days behind it.
///
/// # Errors
/// [`Refusal::Expired`].
pub fn check_age(statement: &Statement, now: UnixMicros) -> Result<(), Refusal> {
    let ahead = statement.time > now.plus(Limits::STATEMENT_SKEW);
    let behind = statement.time.plus(Limits::STATEMENT_AGE) < now;
    if ahead || behind { Err(Refusal::Expired) } else { Ok(()) }
}

/// Counts the different signers. One bad signature refuses all.
fn count_signers(
    signers: &[Arc<Certificate>],
    statement: &Statement,
    entry: &LogEntry,
    now: UnixMicros,
) -> Result<usize, Refusal> {
    if entry.signatures.is_empty() {
        return Err(Refusal::Unsigned);
    }
    let skew = Limits::STATEMENT_SKEW;
    let terms = SignatureTerms {
        certificate_at: statement.time,
        not_before: statement.time.minus(skew),
        not_after: now.plus(skew),
    };
    let mut who = Vec::new();
    for (index, signature) in entry.signatures.iter().enumerate() {
        let document = entry.statement.as_bytes();
        let signer = verify_detached(signature.as_bytes(), SignatureEncoding::Armored, document, signers, &terms)
            .map_err(|fault| Refusal::Signature { number: index + 1, fault })?;
        // Two entries of one certificate among the super-administrators are still one signer.
        who.extend(signers.get(signer).map(|certificate| certificate.fingerprint()));
    }
    who.sort_unstable();
    who.dedup();
    Ok(who.len())
}

/// Applies a statement to the record of the user whom it is about, without asking who signed it.
///
/// `subject` is that user's record before it. [`judge`] asks everything else; a service that rolls forward its own log,
/// which it judged when it appended, needs only this.
///
/// # Errors
/// [`Refusal::UserExists`], [`Refusal::UnknownUser`] or [`Refusal::Certificate`].
pub fn apply(statement: &Statement, subject: Option<&UserRecord>) -> Result<UserRecord, Refusal> {
    let certificate = statement.change.certificate().map(Certificate::parse).transpose()?;
    changed_record(statement, subject, certificate.as_ref())
}

fn changed_record(
    statement: &Statement,
    subject: Option<&UserRecord>,
    certificate: Option<&Certificate>,
) -> Result<UserRecord, Refusal> {
    let sequence = statement.sequence;
    let added = |user: UserId, text: &str, administrator: bool, client_limit: Option<u32>| {
        if subject.is_some() {
            return Err(Refusal::UserExists);
        }
        let fingerprint = certificate.ok_or(CertificateFault::Malformed)?.fingerprint().clone();
        Ok(UserRecord {
            user,
            certificate: text.to_owned(),
            fingerprint,
            administrator,
            active: true,
            client_limit,
            changed: sequence,
            sessions_since: sequence,
        })
    };
    match &statement.change {
        Change::CreateOrganization { user, certificate } => added(*user, certificate, true, None),
        Change::AddUser { user, certificate, administrator, client_limit } => {
            added(*user, certificate, *administrator, *client_limit)
        }
        Change::UpdateUser { user: _, certificate: text, administrator, active, client_limit } => {
            let before = subject.ok_or(Refusal::UnknownUser)?;
            let mut after = before.clone();
            after.changed = sequence;
            if let (Some(text), Some(certificate)) = (text, certificate) {
                after.certificate.clone_from(text);
                after.fingerprint = certificate.fingerprint().clone();
            }
            after.administrator = administrator.unwrap_or(before.administrator);
            after.active = active.unwrap_or(before.active);
            after.client_limit = client_limit.or(before.client_limit);
            if !after.active || after.certificate != before.certificate {
                after.sessions_since = sequence;
            }
            Ok(after)
        }
    }
}
