//! The inbox: what is new is fetched, judged, stored, and only then confirmed.
//!
//! Invariants: a content is on the disk before the server is told that this client holds it. Ended at any point, the next
//! run finds it listed again, and what is here already is confirmed and not shown twice.

use std::sync::PoisonError;

use bytes::Bytes;
use countersign_protocol::body::{Fetched, Item, ItemKind, Listing};
use countersign_protocol::message_id::MessageId;
use http::Method;
use serde::Serialize;

use super::judgement::Judgement;
use super::log::json;
use super::{Account, Event, Progress};
use crate::connection::Call;
use crate::error::{Refused, Result};
use crate::log::Lie;
use crate::store::{EvidenceKind, MessageNumber};

/// Items of one listing: enough to be quick, few enough to confirm before too much is fetched again after a crash.
const PAGE: usize = 200;

/// What a synchronization did.
#[derive(Clone, Debug, Default)]
pub struct SyncReport {
    /// Entries that the log was extended by.
    pub log: super::LogUpdate,
    /// What the outbox did.
    pub outbox: super::FlushReport,
    /// Messages that arrived, or of which a part did.
    pub arrived: Vec<MessageNumber>,
    /// How many receipts arrived.
    pub receipts: usize,
    /// How many receipts were sent.
    pub acknowledged: usize,
    /// From when on messages may be missing here: this device was away for longer than the server keeps them. None if
    /// nothing can be missing.
    pub gap: Option<String>,
    /// What the server did that it must not do. Everything else was done all the same.
    pub refused: Vec<Refused>,
}

/// A summary of a synchronization, as `--json` writes it.
#[derive(Serialize)]
struct Summary<'a> {
    log: &'a super::LogUpdate,
    outbox: &'a super::FlushReport,
    arrived: &'a [MessageNumber],
    receipts: usize,
    acknowledged: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<&'a str>,
    refused: Vec<i64>,
}

impl Serialize for SyncReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let refused = self.refused.iter().map(|refused| refused.evidence).collect();
        let Self { log, outbox, arrived, receipts, acknowledged, .. } = self;
        let (receipts, acknowledged, gap) = (*receipts, *acknowledged, self.gap.as_deref());
        Summary { log, outbox, arrived, receipts, acknowledged, gap, refused }.serialize(serializer)
    }
}

impl Account {
    /// Does everything that is to be done: extends the log, sends the outbox, fetches what is new, and sends receipts.
    ///
    /// # Errors
    /// [`crate::Error`]; what was done until then stays done.
    pub async fn sync(&self) -> Result<SyncReport> {
        let mut report = SyncReport { log: self.extend_log().await?, ..SyncReport::default() };
        report.outbox = self.flush().await?;
        let _lock = self.profile.lock("inbox").await?;
        self.open_sealed(&mut report).await?;
        let mut before: Option<Vec<MessageId>> = None;
        loop {
            let listing = self.list(None).await?;
            report.gap = report.gap.take().or_else(|| listing.gap.clone());
            let ids: Vec<MessageId> = listing.messages.iter().map(|item| item.id).collect();
            // What is refused stays listed: a page that is the same again brings nothing new.
            if ids.is_empty() || before.as_ref() == Some(&ids) {
                break;
            }
            self.take(&listing, &mut report).await?;
            before = Some(ids);
            if !listing.more {
                break;
            }
        }
        self.judge_pending_receipts(&mut report)?;
        report.acknowledged = self.acknowledge().await?;
        Ok(report)
    }

    /// Asks what is new, perhaps waiting for it.
    pub(super) async fn list(&self, wait: Option<u64>) -> Result<Listing> {
        let target = format!("{}/message?limit={PAGE}", self.user_path());
        let call = Call { wait, ..Call::get(target) };
        let listing: Listing = json(&self.server.call(&call, &*self.certificate()?).await?)?;
        if let Some(gap) = &listing.gap {
            // The server says it again for some hours.
            let mut told = self.told_gap.lock().unwrap_or_else(PoisonError::into_inner);
            if told.as_ref() != Some(gap) {
                self.emit(Event::Gap(gap.clone()));
                *told = Some(gap.clone());
            }
        }
        Ok(listing)
    }

    /// Tells whether a listing has anything that is not here and was not refused before.
    pub(super) fn is_news(&self, listing: &Listing) -> Result<bool> {
        for item in &listing.messages {
            if self.store.holds(&item.id)? || !self.store.was_refused(&item.id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fetches, judges, stores and confirms what a listing has.
    async fn take(&self, listing: &Listing, report: &mut SyncReport) -> Result<()> {
        let total = u64::try_from(listing.messages.len()).unwrap_or(u64::MAX);
        let mut held = Vec::new();
        for (done, item) in (0..).zip(&listing.messages) {
            self.progress(Progress::Receiving, done, total);
            if self.store.holds(&item.id)? || self.fetch(item, report).await? {
                held.push(item.id);
            }
        }
        self.progress(Progress::Receiving, total, total);
        self.confirm(&held).await
    }

    /// Fetches one item. Returns whether it is held now.
    async fn fetch(&self, item: &Item, report: &mut SyncReport) -> Result<bool> {
        let call = Call::get(format!("{}/message/{}", self.user_path(), item.id));
        let answer = self.server.call(&call, &*self.certificate()?).await?;
        match item.kind {
            ItemKind::Receipt => self.take_receipt(item, &answer.body, report),
            ItemKind::Message => {
                // The listing may be of a time when the sender's certificate, or the sender, was not in the log yet.
                if self.log().organization().user(&item.from).is_none() {
                    let update = self.extend_log().await?;
                    report.log.entries.extend(update.entries);
                }
                self.take_message(item, &answer.body, report).await
            }
        }
    }

    async fn take_message(&self, item: &Item, content: &Bytes, report: &mut SyncReport) -> Result<bool> {
        match self.judge_message(item, content).await? {
            Judgement::Keep(receiving, evidence) => {
                if let Some(evidence) = evidence {
                    report.refused.push(self.refuse(evidence)?);
                }
                if let Some(number) = self.store.receive(&receiving, self.environment.clock.now())? {
                    note_arrival(report, number);
                    self.emit(Event::Arrived(number));
                }
                self.check_gossip(&receiving.message, item, content, report).await?;
                Ok(true)
            }
            Judgement::DoesNotFit(evidence) => {
                report.refused.push(self.refuse(evidence)?);
                self.store.note_refused(&item.id)?;
                Ok(false)
            }
        }
    }

    /// If a sender's log is further on than this one, the server must show how it goes on.
    async fn check_gossip(
        &self,
        message: &crate::store::Incoming,
        item: &Item,
        content: &Bytes,
        report: &mut SyncReport,
    ) -> Result<()> {
        let Some(theirs) = message.log else {
            return Ok(());
        };
        if self.log().head().is_some_and(|ours| ours.sequence >= theirs.sequence) {
            return Ok(());
        }
        let update = self.extend_log().await?;
        report.log.entries.extend(update.entries);
        let log = self.log();
        if log.hash_at(theirs.sequence) == Some(theirs.hash) {
            return Ok(());
        }
        let from = self.name_of(&item.from);
        let here = log.head().map_or_else(|| "empty".to_owned(), |head| format!("at number {}", head.sequence));
        let lie = Lie {
            kind: EvidenceKind::SplitView,
            summary: format!("the server shows {from} more of the organization's log, or another, than it shows you"),
            details: vec![
                format!("for {from}, number {} of the log is {}", theirs.sequence, theirs.hash),
                format!("here the log is {here}"),
            ],
        };
        let request = format!("GET {}/message/{}", self.user_path(), item.id);
        report.refused.push(self.refuse_lie(lie, request, content)?);
        Ok(())
    }

    /// Tries again to open what could not be opened before.
    async fn open_sealed(&self, report: &mut SyncReport) -> Result<()> {
        for sealed in self.store.sealed_parts()? {
            let item = Item {
                id: sealed.id,
                kind: ItemKind::Message,
                from: sealed.sender,
                of: None,
                size: u64::try_from(sealed.ciphertext.len()).unwrap_or(u64::MAX),
            };
            let Judgement::Keep(receiving, evidence) = self.judge_message(&item, &sealed.ciphertext).await? else {
                continue;
            };
            if receiving.message.state == crate::store::MessageState::Sealed {
                continue;
            }
            if let Some(evidence) = evidence {
                report.refused.push(self.refuse(evidence)?);
            }
            let now = self.environment.clock.now();
            if let Some(number) = self.store.open_sealed(sealed.number, &receiving, now)? {
                note_arrival(report, number);
                self.emit(Event::Arrived(number));
            }
        }
        Ok(())
    }

    /// Tells the server what this client holds.
    async fn confirm(&self, held: &[MessageId]) -> Result<()> {
        if held.is_empty() {
            return Ok(());
        }
        let body = serde_json::to_vec(&Fetched { messages: held.to_vec() }).unwrap_or_default();
        let target = format!("{}/client/{}/fetched", self.user_path(), self.client());
        let call = Call::with_body(Method::POST, target, Bytes::from(body), "application/json");
        self.server.call(&call, &*self.certificate()?).await?;
        Ok(())
    }
}

fn note_arrival(report: &mut SyncReport, number: MessageNumber) {
    if !report.arrived.contains(&number) {
        report.arrived.push(number);
    }
}
