//! Creating an organization: the one change that is made before there is an account.

use std::sync::Arc;

use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::organization::Organization;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;

use crate::account::{Environment, sign_with, submission};
use crate::change::ChangeDraft;
use crate::connection::{HttpClient, RetryBudget, ServerUrl, Trust, submit};
use crate::entropy::random_id;
use crate::error::{Error, Result};
use crate::invitation::Invitation;
use crate::words;

/// Drafts the first statement of a new organization, with `certificate` as its first administrator's.
///
/// # Errors
/// [`Error::Usage`] for a certificate that cannot be used.
pub fn draft(certificate: &Certificate, environment: &Environment) -> Result<ChangeDraft> {
    let now = UnixMicros(environment.clock.now().to_seconds() * 1_000_000);
    certificate
        .check_usable(now)
        .map_err(|fault| Error::Usage(format!("the certificate cannot be used: {fault}")))?;
    let organization = OrganizationId::from(random_id(&*environment.entropy));
    let user = UserId::from(random_id(&*environment.entropy));
    let change = Change::CreateOrganization { user, certificate: certificate.to_armored() };
    let statement = Statement::compose(organization, 0, None, now, change);
    ChangeDraft::new(statement).map_err(|error| Error::Usage(error.to_string()))
}

/// Says what a first statement is, and who signed it.
#[must_use]
pub fn describe(
    draft: &ChangeDraft,
    super_administrators: &[Certificate],
    now: UnixMicros,
) -> (Vec<String>, Vec<String>) {
    let nothing = Organization::new(draft.statement().organization, Vec::new());
    let words = words::change(draft.statement(), &nothing, now);
    (words, words::signatures(draft.entry(), &nothing, super_administrators, now))
}

/// Signs a first statement with a super-administrator's key.
///
/// # Errors
/// [`Error::Gnupg`].
pub async fn sign(draft: &mut ChangeDraft, certificate: &Certificate, environment: &Environment) -> Result<()> {
    sign_with(draft, &environment.gnupg, &Arc::new(certificate.clone()), environment.clock.now()).await
}

/// Submits a first statement that both super-administrators signed, and returns the invitation of its administrator.
///
/// # Errors
/// [`Error::Usage`] if signatures are missing or not theirs; [`Error::Server`] if the server refuses it.
pub async fn submit_creation(
    draft: &ChangeDraft,
    server: ServerUrl,
    trust: &Trust,
    super_administrators: &[Certificate],
    environment: &Environment,
) -> Result<Invitation> {
    let statement = draft.statement();
    let Change::CreateOrganization { user, .. } = &statement.change else {
        return Err(Error::Usage("this change creates no organization".to_owned()));
    };
    let trusted = super_administrators.iter().cloned().map(Arc::new).collect();
    let judged = Organization::new(statement.organization, trusted).extend(draft.entry(), environment.clock.now());
    if let Err(refusal) = judged {
        let why = std::error::Error::source(&refusal).map_or_else(|| refusal.to_string(), ToString::to_string);
        return Err(Error::Usage(format!("the organization cannot be created yet: {why}")));
    }
    let http = HttpClient::new(server.clone(), trust)?;
    let budget = RetryBudget::full();
    submit(&http, &submission(draft), &environment.retries, &budget, &*environment.entropy).await?;
    Ok(Invitation {
        server,
        organization: statement.organization,
        genesis: statement.hash,
        user: Some(*user),
        super_administrators: super_administrators.to_vec(),
    })
}
