//! `countersign user`.

use std::path::Path;

use countersign_client::Account;
use countersign_client::account::Person;
use countersign_client::change::ChangeDraft;
use countersign_client::entropy::random_id;
use countersign_client::invitation::JoinRequest;
use countersign_protocol::id::UserId;
use countersign_protocol::statement::Change;
use serde_json::json;

use super::{Context, Ended, read_certificate, text_or_file, write_file};
use crate::cli::{UserAdd, UserCommand, UserUpdate, Way};
use crate::exit::{DATA, DONE, Failure};
use crate::output::{Output, bold, dim};
use crate::progress::shown;

pub(super) async fn run(context: &Context, command: UserCommand) -> Ended {
    let account = context.account()?;
    match command {
        UserCommand::Add(add) => {
            let change = addition(context, &account, &add)?;
            propose(context, &account, change, &add.way).await
        }
        UserCommand::Update(update) => {
            shown(&account, context.output, account.extend_log()).await?;
            let change = update_of(&account, &update)?;
            propose(context, &account, change, &update.way).await
        }
        UserCommand::List => {
            shown(&account, context.output, account.check_listing()).await?;
            let people = account.people();
            context.output.either(&json!({"users": people}), |output| {
                for person in &people {
                    output.line(&described(person));
                }
            });
            Ok(DONE)
        }
        UserCommand::Show { person } => {
            shown(&account, context.output, account.extend_log()).await?;
            show(context.output, &account, &person)
        }
    }
}

fn described(person: &Person) -> String {
    let mut line = format!("{}  {}", person.user, bold(&person.user_id));
    for (is, word) in [(person.me, "you"), (person.administrator, "administrator"), (!person.active, "not active")] {
        if is {
            line.push_str("  ");
            line.push_str(word);
        }
    }
    line
}

fn show(output: Output, account: &Account, text: &str) -> Ended {
    let person = account.find_person(text)?;
    let log = account.log();
    let certificate = log.organization().certificate(&person.user).map(|certificate| certificate.to_armored());
    let mut value = serde_json::to_value(&person).unwrap_or_default();
    value["certificate"] = json!(certificate);
    output.either(&value, |output| {
        output.line(&described(&person));
        output.line(&format!("fingerprint {}", person.fingerprint));
        if let Some(limit) = person.client_limit {
            output.line(&format!("clients allowed: {limit}"));
        }
        output.line(&dim(certificate.as_deref().unwrap_or_default()));
    });
    Ok(DONE)
}

/// Makes the change that adds somebody.
pub(super) fn addition(context: &Context, account: &Account, add: &UserAdd) -> Result<Change, Failure> {
    let (user, certificate) = if JoinRequest::is_one(&add.who) || !is_certificate_file(&add.who) {
        let text = text_or_file(&add.who, JoinRequest::is_one)?;
        let request = JoinRequest::parse(&text).map_err(|error| Failure::data(&error))?;
        if request.organization != account.organization() {
            return Err(Failure::new(DATA, "this request is for another organization"));
        }
        (request.user, request.certificate)
    } else {
        let user = add.id.unwrap_or_else(|| UserId::from(random_id(&*context.environment.entropy)));
        (user, read_certificate(Path::new(&add.who))?)
    };
    certificate
        .check_usable(account.now()?)
        .map_err(|fault| Failure::new(DATA, format!("the certificate: {fault}")))?;
    let certificate = certificate.to_armored();
    Ok(Change::AddUser { user, certificate, administrator: add.administrator, client_limit: add.client_limit })
}

fn is_certificate_file(path: &str) -> bool {
    std::fs::read_to_string(path).map_or(true, |text| !JoinRequest::is_one(&text))
}

/// Makes the change that changes somebody.
pub(super) fn update_of(account: &Account, update: &UserUpdate) -> Result<Change, Failure> {
    let person = account.find_person(&update.person)?;
    let certificate = update.certificate.as_deref().map(read_certificate).transpose()?;
    if let Some(certificate) = &certificate {
        let usable = certificate.check_usable(account.now()?);
        usable.map_err(|fault| Failure::new(DATA, format!("the certificate: {fault}")))?;
    }
    let UserUpdate { administrator, active, client_limit, .. } = *update;
    if certificate.is_none() && administrator.is_none() && active.is_none() && client_limit.is_none() {
        return Err(Failure::usage("say what to change: --certificate, --administrator, --active or --client-limit"));
    }
    let certificate = certificate.map(|certificate| certificate.to_armored());
    Ok(Change::UpdateUser { user: person.user, certificate, administrator, active, client_limit })
}

/// Drafts a change, signs it, and does with it what the organization needs: submits it, or passes it on.
async fn propose(context: &Context, account: &Account, change: Change, way: &Way) -> Ended {
    let output = context.output;
    let user = change.user();
    let mut draft = shown(account, output, account.draft_change(change)).await?;
    account.sign_change(&mut draft).await?;
    let standing = account.standing(&draft)?;
    if standing.signed >= standing.needed && way.request.is_none() && way.output.is_none() {
        let head = shown(account, output, account.submit_change(&draft)).await?;
        output.either(&json!({"state": "done", "user": user, "head": head}), |output| {
            for line in &standing.words {
                output.line(line);
            }
            output.line(&format!("Done: number {} of the log.", head.sequence));
        });
        return Ok(DONE);
    }
    if let Some(administrator) = &way.request {
        return request(output, account, &draft, administrator, user).await;
    }
    let path = way.output.clone().unwrap_or_else(|| format!("change-{}.change", draft.statement().sequence).into());
    write_file(&path, draft.to_text(&standing.words).as_bytes())?;
    output.either(&json!({"state": "drafted", "user": user, "draft": path, "signed": standing.signed, "needed": standing.needed}), |output| {
        for line in &standing.words {
            output.line(line);
        }
        output.line(&format!("Signed by you. A second administrator must sign it too: {}", path.display()));
        output.note("They type: countersign change sign <file> --submit");
    });
    Ok(DONE)
}

/// Sends a signed draft to another administrator.
pub(super) async fn request(
    output: Output,
    account: &Account,
    draft: &ChangeDraft,
    administrator: &str,
    user: UserId,
) -> Ended {
    let to = account.find_person(administrator)?;
    let number = shown(account, output, account.request_countersignature(draft, &to.user)).await?;
    let message = account.message(number)?;
    output.either(&json!({"state": "requested", "user": user, "to": to.user, "message": message}), |output| {
        output.line(&format!("{} is asked to countersign.", to.name));
    });
    Ok(super::send::code_of(&message))
}
