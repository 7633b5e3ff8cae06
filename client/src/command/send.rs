//! `countersign send`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use countersign_client::account::{Body, Draft};
use countersign_client::envelope::BYTES;
use countersign_client::store::{MessageNumber, MessageState, StoredMessage};
use countersign_client::{Account, Error};
use serde_json::json;

use super::{Context, Ended};
use crate::cli::Send;
use crate::exit::{DONE, FAILED, Failure, PARTLY, QUEUED};
use crate::output::{Output, size};
use crate::progress::shown;

pub(super) async fn run(context: &Context, send: Send) -> Ended {
    let account = context.account()?;
    let output = context.output;
    // Before names are looked up: somebody may have joined.
    match shown(&account, output, account.extend_log()).await {
        Ok(_) => {}
        Err(Error::Server(error)) if error.is_passing() && account.log().head().is_some() => {
            output.warn(&error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    let mut recipients = Vec::new();
    for text in &send.to {
        recipients.push(account.find_person(text)?.user);
    }
    let conversation = match send.reply {
        Some(number) => Some(account.message(MessageNumber(number))?.conversation),
        None => None,
    };
    let mut numbers = Vec::new();
    for body in bodies(&send)? {
        let draft = Draft { recipients: recipients.clone(), body, file_name: send.name.clone(), conversation };
        numbers.push(shown(&account, output, account.compose(draft)).await?);
    }
    if !send.later {
        match shown(&account, output, account.flush()).await {
            Ok(_) => {}
            // It is in the outbox; the exit code says so.
            Err(Error::Server(error)) if error.is_passing() => output.warn(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    report(output, &account, &numbers)
}

/// What is sent: one message for each file, or one text.
fn bodies(send: &Send) -> Result<Vec<Body>, Failure> {
    if let Some(text) = &send.message {
        return Ok(vec![Body::text(text.clone())]);
    }
    if send.file.is_empty() {
        return Ok(vec![from_stdin(None)?]);
    }
    if send.name.is_some() && send.file.len() > 1 {
        return Err(Failure::usage("--name names one file, and these are several"));
    }
    send.file
        .iter()
        .map(|path| {
            if path == Path::new("-") {
                from_stdin(Some(BYTES))
            } else if path.is_file() {
                Ok(Body::File(path.clone()))
            } else {
                Err(Failure::new(crate::exit::NOT_FOUND, format!("there is no file {}", path.display())))
            }
        })
        .collect()
}

/// Reads standard input: text if it is, bytes if not.
fn from_stdin(content_type: Option<&str>) -> Result<Body, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|source| Error::File { path: PathBuf::from("-"), source })?;
    if bytes.is_empty() {
        return Err(Failure::usage("there is nothing to send: standard input was empty"));
    }
    let is_text = std::str::from_utf8(&bytes).is_ok();
    let content_type = content_type.unwrap_or(if is_text { countersign_client::envelope::TEXT } else { BYTES });
    Ok(Body::Bytes(bytes, content_type.to_owned()))
}

fn report(output: Output, account: &Account, numbers: &[MessageNumber]) -> Ended {
    let messages: Vec<StoredMessage> =
        numbers.iter().map(|number| account.message(*number)).collect::<Result<_, _>>()?;
    let me = account.user();
    output.either(&json!({"messages": messages}), |output| {
        for message in &messages {
            let others = message.recipients.iter().map(|recipient| recipient.user).filter(|user| *user != me);
            let names = account.names_of(others);
            let what = message.file_name.as_deref().unwrap_or("message");
            let state = match message.state {
                MessageState::Sent => "sent".to_owned(),
                MessageState::Failed => format!("NOT sent: {}", message.note.as_deref().unwrap_or("refused")),
                _ => "in the outbox; the next run sends it".to_owned(),
            };
            let (number, bytes) = (message.number.0, size(message.size));
            output.line(&format!("{number}  {what} to {names} ({bytes}): {state}"));
        }
    });
    let codes: Vec<u8> = messages.iter().map(code_of).collect();
    Ok(match codes.as_slice() {
        [] => DONE,
        [first, rest @ ..] if rest.iter().all(|code| code == first) => *first,
        _ => PARTLY,
    })
}

/// Returns the exit code that a message's state stands for.
pub(super) fn code_of(message: &StoredMessage) -> u8 {
    match message.state {
        MessageState::Failed => FAILED,
        MessageState::Queued | MessageState::Preparing => QUEUED,
        _ => DONE,
    }
}
