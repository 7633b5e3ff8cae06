//! `countersign profile`.

use countersign_client::connection::Trust;
use countersign_client::{Account, Error};
use serde_json::json;

use super::{Context, Ended};
use crate::cli::ProfileCommand;
use crate::exit::{DONE, Failure};
use crate::output::bold;

pub(super) async fn run(context: &Context, command: ProfileCommand) -> Ended {
    match command {
        ProfileCommand::Create(join) => return super::join::join(context, join).await,
        ProfileCommand::List => list(context),
        ProfileCommand::Use { name } => {
            context.directories.choose(&name).map_err(Error::from)?;
            context.output.either(&json!({"profile": name}), |output| output.line(&format!("Using profile {name}.")));
        }
        ProfileCommand::Set { receipts, copies, server, authorities } => {
            if server.is_some() || authorities.is_some() {
                let authorities = authorities.map(|path| match path.to_str() {
                    Some("system") => Trust::System,
                    _ => Trust::File(super::join::absolute(path)),
                });
                Account::move_to(&context.profile()?, server.as_ref(), authorities)?;
            }
            set(context, receipts, copies)?;
        }
    }
    Ok(DONE)
}

fn list(context: &Context) {
    let current = context.profile.clone().unwrap_or_else(|| context.directories.current());
    let mut rows = Vec::new();
    for (name, profile) in context.directories.profiles() {
        // One that cannot be opened is listed all the same: the list is how its owner finds it.
        let account = Account::open(&profile, context.environment.clone()).ok();
        let person = account.as_ref().map(|account| account.name_of(&account.user()));
        let server = account.as_ref().map(|account| account.membership().server.clone());
        let organization = account.as_ref().map(Account::organization);
        rows.push(json!({
            "profile": name, "current": name == current, "person": person, "server": server,
            "organization": organization, "user": account.as_ref().map(Account::user),
        }));
    }
    context.output.either(&json!({"profiles": rows}), |output| {
        if rows.is_empty() {
            output.note("There is no profile yet: countersign join --help");
        }
        for row in &rows {
            let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
            let name = text("profile");
            let (mark, name) = if row["current"] == true { ("*", bold(&name)) } else { (" ", name) };
            output.line(&format!("{mark} {name}  {} at {}", text("person"), text("server")));
        }
    });
}

fn set(context: &Context, receipts: Option<bool>, copies: Option<bool>) -> Result<(), Failure> {
    let account = context.account()?;
    let mut preferences = account.preferences()?;
    preferences.receipts = receipts.unwrap_or(preferences.receipts);
    preferences.copies = copies.unwrap_or(preferences.copies);
    if receipts.is_some() || copies.is_some() {
        account.set_preferences(&preferences)?;
    }
    let membership = account.membership();
    let value = json!({
        "receipts": preferences.receipts, "copies": preferences.copies,
        "server": membership.server, "authorities": membership.authorities,
    });
    context.output.either(&value, |output| {
        let on = |yes: bool| if yes { "on" } else { "off" };
        output.line(&format!("receipts {}", on(preferences.receipts)));
        output.line(&format!("copies   {}", on(preferences.copies)));
        output.line(&format!("server   {}", membership.server));
        if let Some(path) = &membership.authorities {
            output.line(&format!("vouched for by {}", path.display()));
        }
    });
    Ok(())
}
