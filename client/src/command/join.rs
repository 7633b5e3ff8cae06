//! `countersign join` and `countersign invite`.

use std::path::PathBuf;

use countersign_client::account::Account;
use countersign_client::connection::{ServerError, TransportError};
use countersign_client::entropy::random_id;
use countersign_client::invitation::{Invitation, JoinRequest};
use countersign_client::store::Membership;
use countersign_client::{Error, qr};
use countersign_protocol::id::UserId;
use countersign_protocol::openpgp::Certificate;
use serde_json::json;

use super::{Context, Ended, read_text, text_or_file};
use crate::cli::{Invite, Join};
use crate::exit::{DONE, Failure};
use crate::progress::shown;

pub(super) async fn join(context: &Context, join: Join) -> Ended {
    let text = match (&join.text, &join.invitation, &join.qr) {
        (Some(text), ..) => text_or_file(text, |text| text.trim_start().starts_with("countersign:"))?,
        (None, Some(path), _) => read_text(path)?,
        (None, None, Some(picture)) => qr::read_picture(picture)?,
        (None, None, None) => return Err(Failure::usage("give an invitation")),
    };
    let mut invitation = Invitation::parse(&text).map_err(|error| Failure::data(&error))?;
    let certificate = own_certificate(context, join.key.as_deref()).await?;
    let invited = invitation.user;
    let user = *invitation.user.get_or_insert_with(|| UserId::from(random_id(&*context.environment.entropy)));
    let account = make_profile(context, &invitation, &certificate, join.authorities)?;
    let name = account.profile().name().to_owned();
    if invited.is_none() {
        let request = JoinRequest { organization: invitation.organization, user, certificate }.to_text();
        context.output.either(&json!({"profile": name, "user": user, "request": request}), |output| {
            output.note(&format!(
                "Profile {name:?} is ready. Send this to an administrator, who types: countersign user add '…'"
            ));
            output.line(&request);
        });
        return Ok(DONE);
    }
    // What the invitation pins is compared with what the server shows before anybody relies on it.
    match shown(&account, context.output, account.extend_log()).await {
        Ok(_) => {}
        // Nothing came of it, so it may be tried again with the right authorities.
        Err(Error::Server(ServerError::Unreachable(error @ TransportError::Untrusted { .. }))) => {
            account.profile().remove().map_err(Error::from)?;
            return Err(Error::from(error).into());
        }
        Err(Error::Server(error)) if error.is_passing() => {
            context.output.warn(&format!("{error}; the log is verified when the server can be reached"));
        }
        Err(error) => return Err(error.into()),
    }
    let person = account.person(&user);
    if person.as_ref().is_some_and(|person| Some(&person.fingerprint) != fingerprint(&account).as_ref()) {
        context.output.warn("the organization has another certificate of yours than this key; choose it with --key");
    }
    let value = json!({"profile": name, "user": user, "organization": invitation.organization, "person": person});
    context.output.either(&value, |output| {
        let person = person.map_or_else(|| user.to_string(), |person| person.user_id);
        output.line(&format!("Joined as {person}. Profile {name:?} is ready."));
    });
    Ok(DONE)
}

fn fingerprint(account: &Account) -> Option<String> {
    account.membership().fingerprint().map(|fingerprint| fingerprint.to_string())
}

/// Finds the person's key: the one that is named, or the only one there is.
async fn own_certificate(context: &Context, key: Option<&str>) -> Result<Certificate, Failure> {
    let gnupg = &context.environment.gnupg;
    let key = if let Some(text) = key {
        gnupg.find_secret_key(text).await.map_err(Error::from)?
    } else {
        let mut keys = gnupg.secret_keys().await.map_err(Error::from)?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => key,
            (None, _) => return Err(Failure::usage("GnuPG has no secret key; make one: gpg --full-generate-key")),
            (Some(_), false) => return Err(Failure::usage("GnuPG has several secret keys; choose one with --key")),
        }
    };
    Ok(gnupg.certificate(&key.fingerprint).await.map_err(Error::from)?)
}

/// A relative path would mean another file from another folder.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Makes the profile of an invited user.
pub(super) fn make_profile(
    context: &Context,
    invitation: &Invitation,
    certificate: &Certificate,
    authorities: Option<PathBuf>,
) -> Result<Account, Failure> {
    let user = invitation.user.ok_or_else(|| Failure::usage("the invitation names no user"))?;
    let authorities = authorities.map(absolute);
    let membership = Membership {
        server: invitation.server.to_string(),
        authorities,
        organization: invitation.organization,
        genesis: Some(invitation.genesis),
        super_administrators: invitation.super_administrators.iter().map(Certificate::to_armored).collect(),
        user,
        client: random_id(&*context.environment.entropy).into(),
        certificate: certificate.to_armored(),
    };
    Ok(Account::create(&context.profile()?, &membership, context.environment.clone())?)
}

pub(super) async fn invite(context: &Context, invite: &Invite) -> Ended {
    let account = context.account()?;
    shown(&account, context.output, account.extend_log()).await?;
    let person = invite.person.as_deref().map(|text| account.find_person(text)).transpose()?;
    let log = account.log();
    let genesis = log.hash_at(0).ok_or_else(|| Failure::usage("the organization's log is empty"))?;
    let invitation = Invitation {
        server: account.membership().server.parse().map_err(|error| Failure::data(&error))?,
        organization: account.organization(),
        genesis,
        user: person.as_ref().map(|person| person.user),
        super_administrators: log.super_administrators().to_vec(),
    };
    let (text, short) = (invitation.to_text(), invitation.to_short_text());
    if let Some(path) = &invite.picture {
        qr::write_picture(&short, path)?;
    }
    let code = qr::for_terminal(&short)?;
    context.output.either(
        &json!({"text": text, "short": short, "person": person, "picture": invite.picture}),
        |output| {
            if !invite.text {
                output.line(&code);
            }
            output.line(&text);
            if let Some(path) = &invite.picture {
                output.note(&format!("The QR code is in {}.", path.display()));
            }
        },
    );
    Ok(DONE)
}
