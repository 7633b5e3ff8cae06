//! A writer: sends what it is asked to, and writes down each intention and each promise.

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
use crate::clock::Stopwatch;
use crate::random::Random;
use crate::wire::{Device, Observer, Reply};

/// What the ledger asks a user's writers for: one message.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// When it was to be sent, after the start of the run.
    pub(super) intended: Duration,
    /// Whom to.
    pub(super) to: Vec<UserId>,
    /// Bytes of its content.
    pub(super) bytes: usize,
}

/// Tickets of a user: whoever of its writers is free takes the next.
pub(super) type Tickets = Arc<Mutex<mpsc::Receiver<Ticket>>>;

/// What all writers and readers share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) sent: Arc<Book>,
    pub(super) tally: Arc<Tally>,
    pub(super) clock: Arc<dyn Clock>,
    /// Readers of each user.
    pub(super) readers_each: usize,
    /// Time since the start of the run.
    pub(super) watch: Stopwatch,
    pub(super) observer: Arc<dyn Observer>,
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
    pub(super) random: Random,
}

impl Writer {
    /// Sends what it is asked to until it is stopped. What was begun by then is still sent.
    pub(super) async fn run(mut self, tickets: Tickets, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let mut free = self.shared.watch.elapsed();
        loop {
            let tickets = Arc::clone(&tickets);
            let next = async move { tickets.lock().await.recv().await };
            let ticket = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                ticket = next => ticket,
            };
            let Some(ticket) = ticket else {
                // There is nothing more to send. It ends when all do, so that one that ended earlier is seen to have failed.
                let _ = stopped.wait_for(|stopped| *stopped).await;
                return Ok(());
            };
            // Later than it was due, and later than this writer was free for it: that is nobody's fault but ours.
            let lag = self.shared.watch.elapsed().saturating_sub(ticket.intended.max(free));
            self.shared.observer.began(lag);
            self.send_one(&ticket).await?;
            free = self.shared.watch.elapsed();
        }
    }

    /// Sends one message, again and again until it is answered.
    pub(super) async fn send_one(&mut self, ticket: &Ticket) -> Result<()> {
        let content = self.draw_content(ticket.bytes);
        let digest = Sha256Digest::of(&content);
        let mut begun = self.issue(&ticket.to, digest)?;
        let mut backoff = Backoff::new();
        loop {
            match self.device.send(&begun.id, &ticket.to, content.clone()).await {
                Reply::Done(_) => {
                    self.shared.observer.promised(self.shared.watch.elapsed().saturating_sub(ticket.intended));
                    return self.shared.accept(&begun).await;
                }
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
                    begun = self.issue(&ticket.to, digest)?;
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

    /// Random bytes, as ciphertext looks; no two alike.
    fn draw_content(&mut self, bytes: usize) -> Bytes {
        let mut content = vec![0; bytes];
        self.random.fill(&mut content);
        content.into()
    }
}
