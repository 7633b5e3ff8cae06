//! `countersign inbox`.

use countersign_client::account::{Person, SyncReport};
use countersign_client::envelope::{CHANGE, ConversationId, TEXT};
use countersign_client::store::{MessageState, StoredMessage};
use countersign_client::words::printable;
use countersign_client::{Account, Error, words};
use serde_json::{Value, json};

use super::{Context, Ended};
use crate::cli::Inbox;
use crate::exit::{DONE, REFUSED, UNREACHABLE};
use crate::output::{Output, bold, dim, doubtful, good, size};
use crate::progress::shown;

pub(super) async fn run(context: &Context, inbox: &Inbox) -> Ended {
    let account = context.account()?;
    let output = context.output;
    let mut code = DONE;
    let mut report = SyncReport::default();
    if !inbox.offline {
        match shown(&account, output, account.sync()).await {
            Ok(synced) => report = synced,
            // What is here is shown all the same.
            Err(Error::Server(error)) if error.is_passing() => {
                output.warn(&error.to_string());
                code = UNREACHABLE;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let with = inbox.with.as_deref().map(|text| account.find_person(text)).transpose()?;
    let messages = match with.as_ref().map(|person| conversation(&account, person)) {
        Some(conversation) => account.messages(Some(conversation), None, inbox.limit)?,
        None if inbox.all => account.messages(None, None, inbox.limit)?,
        None => account.unread(inbox.limit)?,
    };
    if output.is_json() {
        let values: Vec<Value> = messages.iter().map(|message| value(&account, message)).collect();
        output.value(&json!({"messages": values, "sync": report}));
    } else {
        if messages.is_empty() {
            output.note("Nothing new.");
        }
        for message in &messages {
            output.line(&line(&account, message));
        }
    }
    if let Some(from) = report.gap.as_deref().filter(|_| !output.is_json()) {
        output.warn(&words::gap(from));
    }
    for refused in &report.refused {
        if !output.is_json() {
            output.refused(refused);
        }
        code = REFUSED;
    }
    Ok(code)
}

fn conversation(account: &Account, person: &Person) -> ConversationId {
    ConversationId::among(&account.organization(), &[account.user(), person.user])
}

/// Writes a message as a program reads it.
pub(super) fn value(account: &Account, message: &StoredMessage) -> Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    value["from"] = json!(account.name_of(&message.sender));
    value["text"] = json!(text(account, message));
    value
}

/// Returns the text of a message that has one and may be shown.
pub(super) fn text(account: &Account, message: &StoredMessage) -> Option<String> {
    let is_text = message.content_type.starts_with("text/") || message.content_type == TEXT;
    if !is_text || message.parts > 1 || message.state == MessageState::Refused {
        return None;
    }
    let content = account.content(message.number, 0).ok().flatten()?;
    String::from_utf8(content).ok()
}

/// Writes a message as one line for people.
pub(super) fn line(account: &Account, message: &StoredMessage) -> String {
    let who = if message.outgoing {
        let others = message.recipients.iter().map(|recipient| recipient.user).filter(|user| *user != account.user());
        format!("to {}", account.names_of(others))
    } else {
        account.name_of(&message.sender)
    };
    let time = message.time.to_string();
    let time = time.get(..16).unwrap_or(&time).replace('T', " ");
    let what = match (message.state, &message.file_name) {
        (MessageState::Refused | MessageState::Sealed, _) => String::new(),
        (_, Some(name)) => format!("file {name} ({})", size(message.size)),
        (_, None) if message.content_type == CHANGE => {
            format!("asks you to countersign a change: countersign change show {}", message.number.0)
        }
        (_, None) => first_line(&text(account, message).unwrap_or_else(|| message.content_type.clone())),
    };
    let number = message.number.0;
    let mark = mark(message);
    format!("{number:>4}  {}  {}  {mark}{what}", dim(&time), bold(&who))
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(100).collect();
    let more = if short.len() < text.trim_end().len() { " …" } else { "" };
    format!("{}{more}", printable(&short))
}

/// Says how far a message has come, where that is not as usual.
fn mark(message: &StoredMessage) -> String {
    let note = message.note.as_deref().unwrap_or_default();
    match message.state {
        MessageState::Queued | MessageState::Preparing => doubtful("[in the outbox] "),
        MessageState::Failed => doubtful(&format!("[NOT sent: {note}] ")),
        MessageState::Sent => {
            let received = message.recipients.iter().filter(|recipient| recipient.received).count();
            if received == 0 { String::new() } else { good(&format!("[received by {received}] ")) }
        }
        MessageState::Incomplete => doubtful(&format!("[{} of {} parts] ", message.parts_done, message.parts)),
        MessageState::Sealed => doubtful(&format!("[not opened: {note}]")),
        MessageState::Refused => doubtful(&format!("[REFUSED: {note}]")),
        MessageState::Unverified => doubtful(&format!("[NOT VERIFIED: {note}] ")),
        MessageState::Plain => dim("[signed by hand] "),
        MessageState::Verified if note.is_empty() => String::new(),
        MessageState::Verified => doubtful(&format!("[{note}] ")),
    }
}

/// Prints what servers did that they must not do, and returns the code for it.
pub(super) fn refusals(output: Output, report: &SyncReport) -> u8 {
    for refused in &report.refused {
        output.refused(refused);
    }
    if report.refused.is_empty() { DONE } else { REFUSED }
}
