//! Changes of the organization: drafting, signing, submitting, and asking another administrator inside Countersign.

use std::sync::Arc;

use bytes::Bytes;
use countersign_protocol::id::UserId;
use countersign_protocol::log::Head;
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::Refusal;
use http::Method;
use serde::Serialize;

use super::{Account, Body, Draft};
use crate::change::ChangeDraft;
use crate::connection::Call;
use crate::envelope::CHANGE;
use crate::error::{Error, Result};
use crate::store::MessageNumber;
use crate::words;

/// How far a drafted change has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeStanding {
    /// What it changes, in words.
    pub words: Vec<String>,
    /// Who signed it.
    pub signatures: Vec<String>,
    /// How many different administrators must sign.
    pub needed: usize,
    /// How many signatures there are.
    pub signed: usize,
    /// Whether this user has signed it.
    pub signed_by_me: bool,
    /// Why it cannot be submitted as it is; none if it can.
    pub obstacle: Option<String>,
}

impl Account {
    /// Drafts a change at the head of the log. Nobody has signed it yet.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn draft_change(&self, change: Change) -> Result<ChangeDraft> {
        self.extend_log().await?;
        let head = self.log().head().ok_or_else(|| Error::NotFound("the log is empty".to_owned()))?;
        // Whole seconds, as people read them; never before the statement that it follows.
        let now = UnixMicros(self.now()?.to_seconds() * 1_000_000);
        let statement = Statement::compose(self.organization(), head.sequence + 1, Some(head.hash), now, change);
        ChangeDraft::new(statement).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Says what a drafted change is, and how far it has come, as of the pinned log.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn standing(&self, draft: &ChangeDraft) -> Result<ChangeStanding> {
        let (log, now) = (self.log(), self.now()?);
        let supers = log.super_administrators();
        let administrators: Vec<_> =
            log.organization().users().filter(|record| record.administrator && record.active).collect();
        let obstacle = match log.organization().clone().extend(draft.entry(), now) {
            Ok(_) => None,
            Err(countersign_protocol::organization::LogRefusal::Refused(Refusal::LogMoved { .. })) => {
                Some("the log has moved on: draft the change again".to_owned())
            }
            Err(refusal) => Some(cause(&refusal)),
        };
        let own = words::certificate(&*self.certificate()?, now);
        let signatures = words::signatures(draft.entry(), log.organization(), supers, now);
        Ok(ChangeStanding {
            words: words::change(draft.statement(), log.organization(), now),
            signed_by_me: signatures.iter().any(|line| line.starts_with(&format!("signed by {own}"))),
            signatures,
            needed: if administrators.len() > 1 { 2 } else { 1 },
            signed: draft.entry().signatures.len(),
            obstacle,
        })
    }

    /// Signs a drafted change with this user's key.
    ///
    /// # Errors
    /// [`Error::Usage`] if this user's signature cannot count, or is there already.
    pub async fn sign_change(&self, draft: &mut ChangeDraft) -> Result<()> {
        if draft.statement().organization != self.organization() {
            return Err(Error::Usage("the change is of another organization".to_owned()));
        }
        let standing = self.standing(draft)?;
        if standing.signed_by_me {
            return Err(Error::Usage("you have signed this change already; somebody else must".to_owned()));
        }
        let me = self.person(&self.user());
        if !me.is_some_and(|me| me.administrator && me.active) {
            return Err(Error::Usage("only an administrator's signature counts, and you are none".to_owned()));
        }
        let certificate = self.certificate()?;
        sign(draft, &self.environment.gnupg, &certificate, self.now()?).await
    }

    /// Submits a change that has all its signatures, and extends the log by it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not complete; [`Error::Server`] if the server refuses it.
    pub async fn submit_change(&self, draft: &ChangeDraft) -> Result<Head> {
        self.extend_log().await?;
        let head = Head { sequence: draft.statement().sequence, hash: draft.statement().hash };
        // Submitted before, and the answer was lost.
        if self.log().hash_at(head.sequence) == Some(head.hash) {
            return Ok(head);
        }
        let standing = self.standing(draft)?;
        if let Some(obstacle) = standing.obstacle {
            return Err(Error::Usage(format!("this change cannot be submitted: {obstacle}")));
        }
        self.server.submit(&submission(draft)).await?;
        self.extend_log().await?;
        if self.log().hash_at(head.sequence) == Some(head.hash) {
            Ok(head)
        } else {
            Err(Error::NotFound("the server took the change and does not show it in the log".to_owned()))
        }
    }

    /// Sends a drafted change to another administrator inside Countersign, so that they countersign it there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn request_countersignature(&self, draft: &ChangeDraft, to: &UserId) -> Result<MessageNumber> {
        let person = self.person(to).filter(|person| person.administrator && person.active);
        let person = person.ok_or_else(|| Error::Usage(format!("{} is no administrator", self.name_of(to))))?;
        let text = draft.to_text(&self.standing(draft)?.words);
        self.send(Draft {
            recipients: vec![person.user],
            body: Body::Bytes(text.into_bytes(), CHANGE.to_owned()),
            file_name: None,
            conversation: None,
        })
        .await
    }

    /// Reads the change that a message asks to be countersigned.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has none.
    pub fn change_in(&self, number: MessageNumber) -> Result<ChangeDraft> {
        let message = self.message(number)?;
        let content = self.content(number, 0)?.filter(|_| message.content_type == CHANGE);
        let content = content.ok_or_else(|| Error::Usage(format!("message {} has no change", number.0)))?;
        let text = String::from_utf8_lossy(&content);
        ChangeDraft::parse(&text).map_err(|error| Error::Usage(error.to_string()))
    }
}

/// Signs a drafted change with the key of a certificate: an administrator's, or a super-administrator's.
///
/// # Errors
/// [`Error::Gnupg`].
pub async fn sign(
    draft: &mut ChangeDraft,
    gnupg: &crate::gnupg::Gnupg,
    certificate: &Arc<Certificate>,
    now: UnixMicros,
) -> Result<()> {
    let document = draft.entry().statement.clone();
    draft.add_signature(gnupg.sign_armored(certificate, document.as_bytes(), now).await?);
    Ok(())
}

/// Writes the request that submits a change.
pub(crate) fn submission(draft: &ChangeDraft) -> Call {
    let statement = draft.statement();
    let organization = statement.organization;
    let (method, target) = match &statement.change {
        Change::CreateOrganization { .. } => (Method::POST, format!("/{organization}")),
        Change::AddUser { user, .. } => (Method::POST, format!("/{organization}/{user}")),
        Change::UpdateUser { user, .. } => (Method::PUT, format!("/{organization}/{user}")),
    };
    let body = serde_json::to_vec(draft.entry()).unwrap_or_default();
    Call::with_body(method, target, Bytes::from(body), "application/json")
}

fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}
