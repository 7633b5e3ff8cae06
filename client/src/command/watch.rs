//! `countersign watch`.

use std::collections::HashSet;
use std::process::Stdio;

use countersign_client::account::{Event, LogUpdate};
use countersign_client::store::{MessageNumber, MessageState, StoredMessage};
use countersign_client::{Account, Error, words};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::broadcast::error::RecvError;

use super::{Context, Ended, inbox};
use crate::cli::Watch;
use crate::exit::DONE;
use crate::output::Output;

pub(super) async fn run(context: &Context, watch: &Watch) -> Ended {
    let account = context.account()?;
    let output = context.output;
    let mut events = account.events();
    let interrupt = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let work = account.run(interrupt, |_| ());
    tokio::pin!(work);
    let mut shown = Shown { known: HashSet::new(), count: 0 };
    shown.what_is_unread(&account, output, watch).await?;
    loop {
        if watch.count.is_some_and(|count| shown.count >= count) {
            return Ok(DONE);
        }
        tokio::select! {
            ended = &mut work => {
                ended?;
                return Ok(DONE);
            }
            event = events.recv() => match event {
                Ok(Event::Arrived(_)) | Err(RecvError::Lagged(_)) => {
                    shown.what_is_unread(&account, output, watch).await?;
                }
                Ok(Event::LogExtended(update)) => log_lines(output, &update),
                Ok(Event::Refused(refused)) => output.refused(&refused),
                Ok(Event::Gap(from)) => output.warn(&words::gap(&from)),
                Ok(Event::Online(false)) => output.warn("the server cannot be reached; trying again"),
                Ok(Event::Changed(_) | Event::Online(true) | Event::Progress { .. }) | Err(RecvError::Closed) => {}
            },
        }
    }
}

fn log_lines(output: Output, update: &LogUpdate) {
    for entry in &update.entries {
        output.note(&format!("the organization changed: {}", entry.change.join("; ")));
    }
}

/// What was shown already.
struct Shown {
    known: HashSet<MessageNumber>,
    count: u64,
}

impl Shown {
    /// Shows everything that is unread, and marks it as read once it was shown or its command succeeded.
    async fn what_is_unread(&mut self, account: &Account, output: Output, watch: &Watch) -> Result<(), Error> {
        for message in account.unread(u32::MAX)? {
            if watch.count.is_some_and(|count| self.count >= count) {
                return Ok(());
            }
            // Not before all of it is here.
            if message.state == MessageState::Incomplete || !self.known.insert(message.number) {
                continue;
            }
            let done = if let Some(command) = &watch.exec {
                execute(account, output, &message, command).await?
            } else {
                if output.is_json() {
                    output.value(&inbox::value(account, &message));
                } else {
                    output.line(&inbox::line(account, &message));
                }
                true
            };
            if done {
                account.mark_read(message.number)?;
                self.count += 1;
            }
        }
        Ok(())
    }
}

/// Runs a command for a message. Returns whether it succeeded.
async fn execute(account: &Account, output: Output, message: &StoredMessage, command: &str) -> Result<bool, Error> {
    let failed = |source| Error::File { path: "sh".into(), source };
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("COUNTERSIGN_NUMBER", message.number.0.to_string())
        .env("COUNTERSIGN_FROM", account.name_of(&message.sender))
        .env("COUNTERSIGN_USER", message.sender.to_string())
        .env("COUNTERSIGN_TYPE", &message.content_type)
        .env("COUNTERSIGN_FILE_NAME", message.file_name.as_deref().unwrap_or_default())
        .env("COUNTERSIGN_STATE", message.state.name())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take()
        && message.state != MessageState::Refused
    {
        for part in 0..message.parts {
            let content = account.content(message.number, part)?.unwrap_or_default();
            // A command may end before it has read everything.
            if stdin.write_all(&content).await.is_err() {
                break;
            }
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        output.warn(&format!("the command ended with {status}; message {} stays unread", message.number.0));
    }
    Ok(status.success())
}
