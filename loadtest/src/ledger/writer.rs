//! A writer: sends what it is asked to, and writes down each intention and each promise.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use countersign_client::clock::Clock;
use countersign_protocol::body::ItemKind;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::problem::ProblemType;
use tokio::sync::{Mutex, mpsc, watch};

use super::book::Book;
use super::records::{Begun, WriteRecord};
use super::tally::Tally;
use crate::random::Random;
use crate::wire::{Device, Reply};

/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 3;

/// What the ledger asks its writers for: one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket;

/// Tickets of all writers: whoever is free takes the next.
pub(super) type Tickets = Arc<Mutex<mpsc::Receiver<Ticket>>>;

/// What all writers and readers share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) sent: Arc<Book>,
    pub(super) tally: Arc<Tally>,
    pub(super) clock: Arc<dyn Clock>,
    /// Readers of each user.
    pub(super) readers_each: usize,
}

impl Shared {
    /// Writes an intention down, before the first attempt.
    pub(super) fn begin(&self, begun: &Begun) -> Result<()> {
        self.sent.append(&WriteRecord::Begun(begun.clone()))?;
        Ok(())
    }

    /// Writes a promise down, on disk.
    pub(super) async fn accept(&self, begun: &Begun) -> Result<()> {
        let at = self.clock.now().0;
        self.sent.append_synced(&WriteRecord::Accepted { id: begun.id, at }).await?;
        self.tally.accepted(begun.id, begun.to.len() * self.readers_each, at);
        Ok(())
    }

    /// Writes a refusal down.
    pub(super) fn refuse(&self, begun: &Begun, problem: ProblemType) -> Result<()> {
        let at = self.clock.now().0;
        let problem = problem.name().to_owned();
        self.sent.append(&WriteRecord::Refused { id: begun.id, problem, at })?;
        Ok(())
    }
}

/// Waits between attempts, longer each time and never in step with others.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// Returns how long to wait now: between half and all of what it would be.
    pub(super) fn step(&mut self, random: &mut Random) -> Duration {
        let wait = random.duration(&(self.next / 2..=self.next));
        self.next = (self.next * 2).min(Self::LONGEST);
        wait
    }
}

/// A writer.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) device: Device,
    pub(super) shared: Shared,
    pub(super) users: Arc<Vec<UserId>>,
    pub(super) bytes: RangeInclusive<usize>,
    pub(super) random: Random,
    pub(super) tickets: Tickets,
    /// True once no more is to be begun. What was begun is still sent.
    pub(super) stopped: watch::Receiver<bool>,
}

impl Writer {
    /// Sends until it is stopped.
    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            let tickets = Arc::clone(&self.tickets);
            let next = async move { tickets.lock().await.recv().await };
            let ticket = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => None,
                ticket = next => ticket,
            };
            let Some(Ticket) = ticket else { return Ok(()) };
            self.send_one().await?;
        }
    }

    async fn send_one(&mut self) -> Result<()> {
        let recipients = self.draw_recipients();
        let content = self.draw_content();
        let digest = Sha256Digest::of(&content);
        let mut begun = self.issue(&recipients, digest)?;
        let mut backoff = Backoff::new();
        loop {
            match self.device.send(&begun.id, &recipients, content.clone()).await {
                Reply::Done(_) => return self.shared.accept(&begun).await,
                // The same message under the same id: nothing is stored twice.
                Reply::Again(why) => {
                    self.shared.tally.again(why);
                    tokio::time::sleep(backoff.step(&mut self.random)).await;
                }
                Reply::Refused(problem) => {
                    self.shared.refuse(&begun, problem.kind)?;
                    if problem.kind != ProblemType::IdOutOfWindow {
                        return Ok(());
                    }
                    // The same content under a later id, which recipients drop if they hold it already.
                    self.shared.tally.reissued();
                    begun = self.issue(&recipients, digest)?;
                }
            }
        }
    }

    fn issue(&self, recipients: &[UserId], digest: Sha256Digest) -> Result<Begun> {
        let ClientAddress { organization, user: from, .. } = *self.device.address();
        let id = MessageId::of_message(&organization, &from, self.device.now().to_millis(), recipients, &digest);
        let at = self.shared.clock.now().0;
        let begun = Begun { id, kind: ItemKind::Message, from, to: recipients.to_vec(), digest, at };
        self.shared.begin(&begun)?;
        Ok(begun)
    }

    fn draw_recipients(&mut self) -> Vec<UserId> {
        let count = self.random.within(&(1..=RECIPIENTS_MAX));
        let mut recipients = Vec::with_capacity(count);
        for _ in 0..count {
            if let Some(user) = self.random.one_of(&self.users)
                && !recipients.contains(user)
            {
                recipients.push(*user);
            }
        }
        recipients
    }

    /// Random bytes, as ciphertext looks; no two alike.
    fn draw_content(&mut self) -> Bytes {
        let mut content = vec![0; self.random.within(&self.bytes)];
        self.random.fill(&mut content);
        content.into()
    }
}
