//! `countersign organization`.

use std::path::Path;

use countersign_client::change::ChangeDraft;
use countersign_client::connection::{ServerUrl, Trust};
use countersign_client::creation::{describe, draft, sign, submit_creation};
use countersign_client::invitation::Invitation;
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::statement::Change;
use serde_json::json;

use super::{Context, Ended, read_certificate, read_certificates, read_text, write_file};
use crate::cli::{OrganizationCommand, OrganizationCreate};
use crate::exit::{DONE, Failure};
use crate::output::Output;

pub(super) async fn run(context: &Context, command: OrganizationCommand) -> Ended {
    let OrganizationCommand::Create(create) = command;
    let server: ServerUrl = create.server.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let supers = read_certificates(&create.super_administrators)?;
    let mut draft = match &create.draft {
        Some(path) => ChangeDraft::parse(&read_text(path)?).map_err(|error| Failure::data(&error))?,
        None => new_draft(context, create.administrator.as_deref().unwrap_or_default()).await?,
    };
    let now = context.environment.clock.now();
    let output = context.output;
    if !output.is_json() {
        for line in describe(&draft, &supers, now).0 {
            output.note(&line);
        }
    }
    sign_with_those_here(context, &mut draft, &supers).await?;
    let (words, signatures) = describe(&draft, &supers, now);
    let signed = signatures.iter().filter(|line| line.starts_with("signed by ")).count();
    if signed < 2 {
        return unfinished(output, &create, &draft, &words, signed);
    }
    let trust = create.authorities.clone().map_or(Trust::System, Trust::File);
    let invitation = submit_creation(&draft, server, &trust, &supers, &context.environment).await?;
    created(context, &create, &draft, &invitation).await
}

/// Drafts the first statement for a certificate in a file, or for a key in GnuPG.
async fn new_draft(context: &Context, administrator: &str) -> Result<ChangeDraft, Failure> {
    let path = Path::new(administrator);
    let certificate = if path.is_file() {
        read_certificate(path)?
    } else {
        let gnupg = &context.environment.gnupg;
        let key = gnupg.find_secret_key(administrator).await.map_err(countersign_client::Error::from)?;
        gnupg.certificate(&key.fingerprint).await.map_err(countersign_client::Error::from)?
    };
    Ok(draft(&certificate, &context.environment)?)
}

/// Signs with the key of each super-administrator that is in this GnuPG and has not signed, until two have.
async fn sign_with_those_here(
    context: &Context,
    draft: &mut ChangeDraft,
    supers: &[Certificate],
) -> Result<(), Failure> {
    let keys = context.environment.gnupg.secret_keys().await.map_err(countersign_client::Error::from)?;
    for certificate in supers {
        let now = context.environment.clock.now();
        let signatures = describe(draft, supers, now).1;
        let name = countersign_client::words::certificate(certificate, now);
        let has_signed = signatures.iter().any(|line| line.starts_with(&format!("signed by {name}")));
        let is_here = keys.iter().any(|key| key.fingerprint == *certificate.fingerprint());
        if is_here && !has_signed && draft.entry().signatures.len() < 2 {
            sign(draft, certificate, &context.environment).await?;
            context.output.note(&format!("signed by {name}"));
        }
    }
    Ok(())
}

fn unfinished(
    output: Output,
    create: &OrganizationCreate,
    draft: &ChangeDraft,
    words: &[String],
    signed: usize,
) -> Ended {
    let path = create.draft.as_ref().filter(|_| create.output == Path::new("organization.change"));
    let path = path.unwrap_or(&create.output);
    write_file(path, draft.to_text(words).as_bytes())?;
    output.either(&json!({"draft": path, "signatures": signed, "needed": 2}), |output| {
        output.line(&format!("{signed} of 2 super-administrators have signed. Pass this on: {}", path.display()));
        output.note("The other one signs and submits it: countersign organization create --draft <file> …");
    });
    Ok(DONE)
}

async fn created(
    context: &Context,
    create: &OrganizationCreate,
    draft: &ChangeDraft,
    invitation: &Invitation,
) -> Ended {
    let text = invitation.to_text();
    let profile = context.profile()?;
    // The first administrator's own machine: the profile can be made at once.
    let Change::CreateOrganization { certificate, .. } = &draft.statement().change else {
        return Err(Failure::usage("this change creates no organization"));
    };
    let certificate = Certificate::parse(certificate).map_err(|error| Failure::data(&error))?;
    let keys = context.environment.gnupg.secret_keys().await.map_err(countersign_client::Error::from)?;
    let is_here = keys.iter().any(|key| key.fingerprint == *certificate.fingerprint());
    let mut made = None;
    if is_here && !profile.exists() {
        super::join::make_profile(context, invitation, &certificate, create.authorities.clone())?;
        made = Some(profile.name().to_owned());
    }
    let value = json!({"organization": invitation.organization, "genesis": invitation.genesis,
        "user": invitation.user, "invitation": text, "profile": made});
    context.output.either(&value, |output| {
        output.line(&format!("Created organization {}.", invitation.organization));
        if let Some(name) = &made {
            output.line(&format!("Its first administrator's profile on this device is {name:?}."));
        } else {
            output.note("Its first administrator joins with this invitation:");
            output.line(&text);
        }
    });
    Ok(DONE)
}
