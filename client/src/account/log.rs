//! The log: asking what comes next, judging it, pinning it.

use std::sync::{Arc, PoisonError};

use countersign_protocol::body::{LogPage, User, UserPage};
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::statement::Statement;
use countersign_protocol::time::UnixMicros;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Account, Event};
use crate::connection::{Answer, Call, ServerError};
use crate::error::{Error, Result};
use crate::log::{Lie, PinnedLog};
use crate::store::EvidenceKind;
use crate::words;

/// An entry of the log, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Its place.
    pub sequence: u64,
    /// Its hash.
    pub hash: countersign_protocol::digest::Sha256Digest,
    /// When it was made.
    #[serde(serialize_with = "crate::store::rfc3339")]
    pub time: UnixMicros,
    /// What it changed.
    pub change: Vec<String>,
    /// Who signed it.
    pub signatures: Vec<String>,
}

/// What an extension of the log brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogUpdate {
    /// The new entries.
    pub entries: Vec<LogLine>,
}

impl Account {
    /// Asks what comes after the pinned log, judges it and pins it.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server shows what does not follow: then nothing is taken over.
    pub async fn extend_log(&self) -> Result<LogUpdate> {
        self.reload_log()?;
        let mut update = LogUpdate::default();
        loop {
            let log = self.log();
            let after = log.head().map_or_else(|| "-1".to_owned(), |head| head.sequence.to_string());
            let call = Call::get(format!("{}/log?after={after}", self.organization_path()));
            let certificate = self.certificate()?;
            let answer = self.server.call(&call, &certificate).await?;
            let page: LogPage = json(&answer)?;
            let now = self.now()?;
            let (extended, entries) = match log.extended(&page, now) {
                Ok(extended) => extended,
                // Another process of this profile may be ahead of this one, and the server of both.
                Err(_) if self.reload_log()? => continue,
                Err(lie) => {
                    return Err(Error::Refused(Box::new(self.refuse_lie(lie, described(&call), &answer.body)?)));
                }
            };
            if !self.store.pin(&entries)? {
                self.reload_log()?;
                let lie = Lie {
                    kind: EvidenceKind::Fork,
                    summary: "the server shows two logs to two runs of this client".to_owned(),
                    details: Vec::new(),
                };
                return Err(Error::Refused(Box::new(self.refuse_lie(lie, described(&call), &answer.body)?)));
            }
            update.entries.extend(lines(&log, &entries, now));
            let reached = extended.head().map(|head| head.sequence);
            self.set_log(extended);
            if reached >= Some(page.head.sequence) {
                break;
            }
        }
        if !update.entries.is_empty() {
            self.emit(Event::LogExtended(update.clone()));
        }
        Ok(update)
    }

    /// Takes over what another process pinned. Returns whether there was anything.
    pub(super) fn reload_log(&self) -> Result<bool> {
        let here = self.log().head().map_or(0, |head| head.sequence + 1);
        if self.store.log_length()? <= here {
            return Ok(false);
        }
        self.set_log(PinnedLog::load(&self.membership, &self.store.log()?)?);
        Ok(true)
    }

    fn set_log(&self, log: PinnedLog) {
        let mut current = self.log.write().unwrap_or_else(PoisonError::into_inner);
        // Of two that extend it at once the one that is further on stays.
        if log.head().map(|head| head.sequence) >= current.head().map(|head| head.sequence) {
            *current = Arc::new(log);
        }
    }

    /// Returns the pinned log in words.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn log_lines(&self) -> Result<Vec<LogLine>> {
        let empty = PinnedLog::load(&self.membership, &[])?;
        let entries = self.store.log()?;
        let headed: Vec<(Head, LogEntry)> = entries
            .into_iter()
            .filter_map(|entry| {
                let statement = Statement::parse(&entry.statement).ok()?;
                Some((Head { sequence: statement.sequence, hash: statement.hash }, entry))
            })
            .collect();
        Ok(lines(&empty, &headed, self.now()?))
    }

    /// Judges the whole pinned log again, signatures and all, and compares the server's listing of users with it.
    ///
    /// # Errors
    /// [`Error::Refused`] says what is not in order.
    pub async fn verify_log(&self) -> Result<Head> {
        self.extend_log().await?;
        let entries = self.store.log()?;
        let verified = self.log().verify(&entries, self.now()?);
        let head = match verified {
            Ok(head) => head,
            Err(lie) => {
                let raw = serde_json::to_vec(&entries).unwrap_or_default();
                return Err(Error::Refused(Box::new(self.refuse_lie(lie, "the pinned log".to_owned(), &raw)?)));
            }
        };
        self.check_listing().await?;
        head.ok_or_else(|| Error::NotFound("the log is empty".to_owned()))
    }

    /// Compares the server's listing of users with the log.
    ///
    /// # Errors
    /// [`Error::Refused`] says in what they differ.
    pub async fn check_listing(&self) -> Result<()> {
        // A change may land between the two questions: then they are asked once more.
        let mut first = true;
        loop {
            self.extend_log().await?;
            let (listed, heads, raw, request) = self.list_users().await?;
            let log = self.log();
            let moved = heads.iter().any(|head| Some(*head) != log.head());
            if moved && first {
                first = false;
                continue;
            }
            return match log.check_listing(&listed, self.now()?) {
                Ok(()) => Ok(()),
                Err(lie) => Err(Error::Refused(Box::new(self.refuse_lie(lie, request, &raw)?))),
            };
        }
    }

    async fn list_users(&self) -> Result<(Vec<User>, Vec<Head>, Vec<u8>, String)> {
        let (mut users, mut heads, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        let mut after = String::new();
        let mut request = String::new();
        loop {
            let call = Call::get(format!("{}?limit=1000{after}", self.organization_path()));
            let answer = self.server.call(&call, &*self.certificate()?).await?;
            let page: UserPage = json(&answer)?;
            request = if request.is_empty() { described(&call) } else { request };
            raw.extend_from_slice(&answer.body);
            raw.push(b'\n');
            heads.push(page.head);
            let last = page.users.last().map(|user| user.user);
            users.extend(page.users);
            match page.next {
                // A page must get on, or a server could keep this going for ever.
                Some(next) if last.is_some() => after = format!("&after={next}"),
                _ => return Ok((users, heads, raw, request)),
            }
        }
    }
}

/// Puts entries in words, each compared with the organization as it was before.
fn lines(before: &PinnedLog, entries: &[(Head, LogEntry)], now: UnixMicros) -> Vec<LogLine> {
    let mut known = before.organization().clone();
    let supers = before.super_administrators();
    let mut lines = Vec::new();
    for (head, entry) in entries {
        let Ok(statement) = Statement::parse(&entry.statement) else {
            continue;
        };
        lines.push(LogLine {
            sequence: head.sequence,
            hash: head.hash,
            time: statement.time,
            change: words::change(&statement, &known, now),
            signatures: words::signatures(entry, &known, supers, now),
        });
        let _ = known.replay(entry);
    }
    lines
}

/// Describes a request for the evidence.
pub(super) fn described(call: &Call) -> String {
    format!("{} {}", call.method, call.target)
}

/// Reads a JSON answer.
pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T> {
    let parsed = serde_json::from_slice(&answer.body);
    parsed.map_err(|error| Error::Server(ServerError::NotCountersign(error.to_string())))
}
