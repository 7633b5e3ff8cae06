//! `countersign read`.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use countersign_client::store::{MessageNumber, MessageState, StoredMessage};
use countersign_client::words::printable;
use countersign_client::{Account, Error};
use countersign_protocol::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

use super::{Context, Ended, inbox};
use crate::cli::Read;
use crate::exit::{DONE, Failure, PARTLY};
use crate::output::{Output, bold, dim};

pub(super) fn run(context: &Context, read: &Read) -> Ended {
    let account = context.account()?;
    let output = context.output;
    let messages: Vec<StoredMessage> = if read.numbers.is_empty() {
        account.unread(u32::MAX)?
    } else {
        let find = |number: &i64| account.message(MessageNumber(*number));
        read.numbers.iter().map(find).collect::<Result<_, _>>()?
    };
    if read.output.is_some() && messages.len() > 1 && !read.output.as_deref().is_some_and(Path::is_dir) {
        return Err(Failure::usage("several messages can only be saved into a folder"));
    }
    let mut code = DONE;
    for message in &messages {
        match show(output, &account, message, read) {
            Ok(()) if !read.peek => account.mark_read(message.number)?,
            Ok(()) => {}
            Err(failure) if messages.len() > 1 => {
                failure.show(output);
                code = PARTLY;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(code)
}

fn show(output: Output, account: &Account, message: &StoredMessage, read: &Read) -> Result<(), Failure> {
    check_readable(message)?;
    if message.state == MessageState::Unverified {
        output.warn(message.note.as_deref().unwrap_or("it is not verified"));
    }
    let target = read.output.as_deref().map(|path| target(path, message)).transpose()?;
    if output.is_json() {
        let mut value = inbox::value(account, message);
        if let Some(path) = &target {
            save(account, message, path)?;
            value["saved"] = serde_json::json!(path);
        }
        output.value(&value);
        return Ok(());
    }
    match target {
        Some(path) => {
            save(account, message, &path)?;
            if path != Path::new("-") {
                output.line(&format!("Saved {}.", path.display()));
            }
        }
        None => print(output, account, message)?,
    }
    Ok(())
}

fn check_readable(message: &StoredMessage) -> Result<(), Failure> {
    let note = message.note.as_deref().unwrap_or_default();
    let number = message.number.0;
    match message.state {
        MessageState::Refused => {
            Err(Failure::new(crate::exit::REFUSED, format!("message {number} was refused: {note}")))
        }
        MessageState::Sealed => {
            Err(Failure::new(crate::exit::NOT_ALLOWED, format!("message {number} is not opened yet: {note}")))
        }
        MessageState::Incomplete => {
            let (done, parts) = (message.parts_done, message.parts);
            Err(Failure::new(PARTLY, format!("only {done} of {parts} parts of message {number} are here yet")))
        }
        _ => Ok(()),
    }
}

/// Prints a message for a person. A terminal gets text only, without what could rule it.
fn print(output: Output, account: &Account, message: &StoredMessage) -> Result<(), Failure> {
    let number = message.number.0;
    if !std::io::stdout().is_terminal() {
        return save(account, message, Path::new("-"));
    }
    let recipients = account.names_of(message.recipients.iter().map(|recipient| recipient.user));
    output.line(&bold(&format!("{} to {recipients}", account.name_of(&message.sender))));
    output.line(&dim(&format!("{}  message {number}", message.time)));
    if let Some(text) = inbox::text(account, message) {
        for line in text.lines() {
            output.line(&printable(&line.replace('\t', "    ")));
        }
    } else {
        let name = message.file_name.as_deref().unwrap_or(&message.content_type);
        let bytes = crate::output::size(message.size);
        output.line(&format!("{name} ({bytes}): save it with countersign read {number} --output <file>"));
    }
    output.line("");
    Ok(())
}

/// Returns the file to save to: in a folder, the name that the sender gave, or another if that is taken.
fn target(path: &Path, message: &StoredMessage) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let name = message.file_name.clone().unwrap_or_else(|| format!("message-{}", message.number.0));
    let first = path.join(&name);
    if !first.exists() {
        return Ok(first);
    }
    let numbered = path.join(format!("{}-{name}", message.number.0));
    if numbered.exists() {
        return Err(Failure::new(crate::exit::FILE, format!("{} exists already", numbered.display())));
    }
    Ok(numbered)
}

/// Writes the content, part by part, and checks that the whole is what its sender signed.
fn save(account: &Account, message: &StoredMessage, path: &Path) -> Result<(), Failure> {
    if path == Path::new("-") {
        return copy(account, message, &mut std::io::stdout().lock(), path);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let unfinished = path.with_file_name(name);
    let failed = |source| Failure::from(Error::File { path: path.to_owned(), source });
    let mut file = std::fs::File::create(&unfinished).map_err(failed)?;
    let written = copy(account, message, &mut file, path);
    let written = written.and_then(|()| file.sync_all().map_err(failed));
    let written = written.and_then(|()| std::fs::rename(&unfinished, path).map_err(failed));
    written.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}

fn copy(account: &Account, message: &StoredMessage, target: &mut dyn Write, path: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::from(Error::File { path: path.to_owned(), source });
    let mut hash = Sha256::new();
    for part in 0..message.parts {
        let content = account.content(message.number, part)?;
        let content = content.ok_or_else(|| Failure::new(PARTLY, "a part of the message is not here"))?;
        hash.update(&content);
        target.write_all(&content).map_err(failed)?;
    }
    target.flush().map_err(failed)?;
    match message.sha256 {
        Some(sha256) if sha256 != Sha256Digest::from_bytes(hash.finalize().into()) => {
            Err(Failure::new(crate::exit::REFUSED, "the parts do not make the whole that their sender signed"))
        }
        _ => Ok(()),
    }
}
