//! `countersign change`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use countersign_client::Account;
use countersign_client::account::ChangeStanding;
use countersign_client::change::ChangeDraft;
use countersign_client::creation::describe;
use countersign_client::store::MessageNumber;
use countersign_protocol::statement::Change;
use serde_json::json;

use super::{Context, Ended, read_text, write_file};
use crate::cli::{ChangeCommand, ChangeDraftCommand};
use crate::exit::{DONE, Failure};
use crate::output::{Output, bold, doubtful, good};
use crate::progress::shown;

pub(super) async fn run(context: &Context, command: ChangeCommand) -> Ended {
    let output = context.output;
    match command {
        ChangeCommand::Draft(command) => draft(context, command).await,
        ChangeCommand::Show { change } => show(context, &change).await,
        ChangeCommand::Sign { change, submit, output: file, yes } => sign(context, &change, submit, file, yes).await,
        ChangeCommand::Submit { change } => {
            let account = context.account()?;
            let (draft, _) = load(&account, &change).await?;
            let head = shown(&account, output, account.submit_change(&draft)).await?;
            done(output, head.sequence);
            Ok(DONE)
        }
        ChangeCommand::Request { change, to } => {
            let account = context.account()?;
            let (draft, _) = load(&account, &change).await?;
            super::user::request(output, &account, &draft, &to, draft.statement().change.user()).await
        }
    }
}

fn done(output: Output, sequence: u64) {
    output.either(&json!({"state": "done", "sequence": sequence}), |output| {
        output.line(&format!("Done: number {sequence} of the log."));
    });
}

async fn draft(context: &Context, command: ChangeDraftCommand) -> Ended {
    let account = context.account()?;
    shown(&account, context.output, account.extend_log()).await?;
    let (change, way) = match command {
        ChangeDraftCommand::Add(add) => (super::user::addition(context, &account, &add)?, add.way),
        ChangeDraftCommand::Update(update) => (super::user::update_of(&account, &update)?, update.way),
    };
    let draft = account.draft_change(change).await?;
    let words = account.standing(&draft)?.words;
    let path = way.output.unwrap_or_else(|| format!("change-{}.change", draft.statement().sequence).into());
    write_file(&path, draft.to_text(&words).as_bytes())?;
    context.output.either(&json!({"state": "drafted", "draft": path, "words": words}), |output| {
        for line in &words {
            output.line(line);
        }
        output.line(&format!("Drafted, and signed by nobody yet: {}", path.display()));
    });
    Ok(DONE)
}

/// Loads a change from a file, or from the message that asks to countersign it.
async fn load(account: &Account, change: &str) -> Result<(ChangeDraft, Option<MessageNumber>), Failure> {
    if let (Ok(number), false) = (change.parse::<i64>(), Path::new(change).exists()) {
        let number = MessageNumber(number);
        account.extend_log().await?;
        return Ok((account.change_in(number)?, Some(number)));
    }
    let text = read_text(Path::new(change))?;
    Ok((ChangeDraft::parse(&text).map_err(|error| Failure::data(&error))?, None))
}

async fn show(context: &Context, change: &str) -> Ended {
    let output = context.output;
    // The first statement of an organization is shown without a profile: nobody has one yet.
    if Path::new(change).exists() {
        let draft = ChangeDraft::parse(&read_text(Path::new(change))?).map_err(|error| Failure::data(&error))?;
        if matches!(draft.statement().change, Change::CreateOrganization { .. }) {
            let (words, _) = describe(&draft, &[], context.environment.clock.now());
            let signed = draft.entry().signatures.len();
            output.either(&json!({"words": words, "signed": signed, "needed": 2}), |output| {
                for line in &words {
                    output.line(line);
                }
                output
                    .line(&format!("{signed} of 2 signatures; whose they are is judged with --super-administrators"));
            });
            return Ok(DONE);
        }
    }
    let account = context.account()?;
    let (draft, number) = load(&account, change).await?;
    if number.is_none() {
        // Words are about the organization as it is now; without a server, as it was when it was last reached.
        match account.extend_log().await {
            Err(countersign_client::Error::Server(error)) if error.is_passing() => output.warn(&error.to_string()),
            other => drop(other?),
        }
    }
    print_standing(output, &account.standing(&draft)?);
    Ok(DONE)
}

fn print_standing(output: Output, standing: &ChangeStanding) {
    output.either(standing, |output| {
        for line in &standing.words {
            output.line(&bold(line));
        }
        for line in &standing.signatures {
            output.line(line);
        }
        output.line(&format!("{} of {} signatures", standing.signed, standing.needed));
        match &standing.obstacle {
            None => output.line(&good("It can be submitted.")),
            Some(obstacle) => output.line(&doubtful(&format!("It cannot be submitted yet: {obstacle}"))),
        }
    });
}

async fn sign(context: &Context, change: &str, submit: bool, file: Option<PathBuf>, yes: bool) -> Ended {
    let output = context.output;
    let account = context.account()?;
    let (mut draft, number) = load(&account, change).await?;
    if number.is_none() {
        shown(&account, output, account.extend_log()).await?;
    }
    let before = account.standing(&draft)?;
    if !yes && !output.is_json() {
        print_standing(output, &before);
    }
    if !yes && !confirmed(output)? {
        return Err(Failure::new(crate::exit::FAILED, "not signed"));
    }
    account.sign_change(&mut draft).await?;
    let standing = account.standing(&draft)?;
    if submit {
        let head = shown(&account, output, account.submit_change(&draft)).await?;
        if let Some(number) = number {
            account.mark_read(number)?;
        }
        done(output, head.sequence);
        return Ok(DONE);
    }
    let path = match (file, number) {
        (Some(path), _) => path,
        (None, None) => PathBuf::from(change),
        (None, Some(_)) => PathBuf::from(format!("change-{}.change", draft.statement().sequence)),
    };
    write_file(&path, draft.to_text(&standing.words).as_bytes())?;
    output.either(&json!({"state": "signed", "draft": path, "standing": standing}), |output| {
        output.line(&format!("Signed: {}", path.display()));
        if standing.obstacle.is_none() {
            output.note("It has its signatures: countersign change submit <file>");
        }
    });
    Ok(DONE)
}

/// Asks whether to sign. Where nobody can be asked, `--yes` must be given.
fn confirmed(output: Output) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        return Err(Failure::usage("there is nobody to ask whether to sign: read the change first, then give --yes"));
    }
    let _ = write!(anstream::stderr(), "Sign this? [y/N] ");
    let _ = anstream::stderr().flush();
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|source| countersign_client::Error::File { path: "-".into(), source })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
