//! A reader: one client of a user. Lists, reads, writes down what it holds, and only then confirms.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind, Listing};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::problem::ProblemType;
use countersign_protocol::receipt::receipt_text;
use tokio::sync::watch;

use super::book::Book;
use super::facts::Reading;
use super::records::{Again, Begun, Held, ReadRecord};
use super::writer::{Backoff, Shared};
use crate::random::Random;
use crate::wire::{Device, Reply};

/// Items of a listing.
const PAGE: usize = 200;
/// Attempts to read one content before the rest of the page is looked at.
const READS: u32 = 3;
/// Rounds with nothing new that a reader makes at the end, where something is listed that it cannot get rid of.
const LAST_ROUNDS: u32 = 5;

/// The pause of a reader whose listing has only what it cannot get rid of.
const STUCK: Duration = Duration::from_millis(200);

/// How a reader learns what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Asks, and waits at the service for so many seconds.
    LongPoll(u64),
    /// Asks at fixed times, so far apart. Where it is still at work when its time comes, it waits for the next.
    Poll(Duration),
}

/// The next time at which a polling reader asks.
#[derive(Debug)]
struct Beat {
    period: Duration,
    next: Duration,
}

impl Beat {
    /// Begins somewhere in the first period, so that readers do not ask all at once.
    fn new(period: Duration, now: Duration, random: &mut Random) -> Self {
        Self { period, next: now + period.mul_f64(random.fraction()) }
    }

    /// Returns how long to wait for the next time, and how many times have passed meanwhile.
    fn step(&mut self, now: Duration) -> (Duration, u64) {
        let mut missed = 0;
        self.next += self.period;
        if self.next < now {
            let late = now.saturating_sub(self.next);
            let times = u32::try_from(late.as_nanos() / self.period.as_nanos().max(1) + 1).unwrap_or(u32::MAX);
            self.next += self.period * times;
            missed = u64::from(times);
        }
        (self.next.saturating_sub(now), missed)
    }
}

/// Until when a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For ever.
    Open,
    /// Until nothing is listed any more.
    Closing,
}

/// What a reader knows of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It holds it.
    Held,
    /// The service said that it knows.
    Confirmed,
    /// A later listing has left it out.
    SeenConfirmed,
}

/// A reader.
#[derive(Debug)]
pub(super) struct Reader {
    device: Device,
    /// Where it writes down, and as whom.
    book: Arc<Book>,
    number: usize,
    shared: Shared,
    random: Random,
    mode: Mode,
    beat: Option<Beat>,
    /// One message in so many is acknowledged rather than confirmed; none is where this is 0.
    receipts_one_in: usize,
    /// Whether what it holds counts for the tally.
    counted: bool,
    states: HashMap<MessageId, State>,
    /// Of each sender's content, the id under which it is held.
    contents: HashMap<(UserId, Sha256Digest), MessageId>,
    /// Digests of what is held and may have to be acknowledged.
    digests: HashMap<MessageId, Sha256Digest>,
    /// Confirmed, and not left out by a listing yet.
    unseen: BTreeSet<MessageId>,
    /// Receipts that were not answered yet, by the message that they are for.
    acknowledging: HashMap<MessageId, (Bytes, Begun)>,
}

impl Reader {
    pub(super) fn new(
        device: Device,
        (book, number): (Arc<Book>, usize),
        shared: Shared,
        mut random: Random,
        mode: Mode,
    ) -> Self {
        let beat = match mode {
            Mode::Poll(period) => Some(Beat::new(period, shared.watch.elapsed(), &mut random)),
            Mode::LongPoll(_) => None,
        };
        Self {
            device,
            book,
            number,
            shared,
            random,
            mode,
            beat,
            receipts_one_in: 0,
            counted: true,
            states: HashMap::new(),
            contents: HashMap::new(),
            digests: HashMap::new(),
            unseen: BTreeSet::new(),
            acknowledging: HashMap::new(),
        }
    }

    /// Has it acknowledge one message in so many.
    pub(super) const fn acknowledging(mut self, one_in: usize) -> Self {
        self.receipts_one_in = one_in;
        self
    }

    /// Leaves what it holds out of the tally: for auditors.
    pub(super) const fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    /// Has it know what it wrote down in an earlier life.
    pub(super) fn remembering(mut self, reading: &Reading) -> Self {
        for held in reading.held.values() {
            self.states.insert(held.id, State::Held);
            self.contents.entry((held.from, held.digest)).or_insert(held.id);
            self.digests.insert(held.id, held.digest);
        }
        for id in reading.confirmed.keys() {
            self.states.insert(*id, State::Confirmed);
            self.unseen.insert(*id);
        }
        self
    }

    /// Reads until the phase says that it is over, and nothing more is listed.
    pub(super) async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Result<()> {
        self.first_beat(&mut phase).await;
        let mut backoff = Backoff::new();
        let mut last_rounds = 0;
        loop {
            let closing = *phase.borrow_and_update() == Phase::Closing;
            let wait = match self.mode {
                Mode::LongPoll(seconds) if !closing => Some(seconds),
                _ => None,
            };
            // A listing that is given up has had no effect.
            let listing = tokio::select! {
                listing = self.list(wait) => listing?,
                Ok(()) = phase.changed() => continue,
            };
            let Some(listing) = listing else {
                tokio::time::sleep(backoff.step(&mut self.random)).await;
                continue;
            };
            backoff.reset();
            let news = self.take(&listing).await?;
            if closing && listing.messages.is_empty() {
                return Ok(());
            }
            if closing && !news {
                last_rounds += 1;
                if last_rounds == LAST_ROUNDS {
                    return Ok(());
                }
            }
            // Whoever polls asks for the rest of what is new at once, and then at its time.
            let again = news && (closing || listing.more || self.beat.is_none());
            if !again {
                self.pause(closing, &mut phase, listing.messages.is_empty()).await;
            }
        }
    }

    /// Looks once, as a client does whose user asks what is new: lists, and takes what is there.
    pub(super) async fn check(&mut self) -> Result<()> {
        if let Some(listing) = self.list(None).await? {
            self.take(&listing).await?;
        }
        Ok(())
    }

    /// Lists; nothing where there was no answer.
    async fn list(&mut self, wait: Option<u64>) -> Result<Option<Listing>> {
        match self.device.list(PAGE, wait).await {
            Reply::Done(answer) => Ok(Some(serde_json::from_slice(&answer.body)?)),
            Reply::Again(why) => {
                self.shared.tally.again(why);
                Ok(None)
            }
            Reply::Refused(problem) => {
                self.note(&ReadRecord::Refused { problem: problem.kind.name().to_owned(), at: self.now() })?;
                Ok(None)
            }
        }
    }

    async fn first_beat(&self, phase: &mut watch::Receiver<Phase>) {
        let Some(beat) = &self.beat else { return };
        let wait = beat.next.saturating_sub(self.shared.watch.elapsed());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
        }
    }

    /// Waits where asking at once would be of no use.
    async fn pause(&mut self, closing: bool, phase: &mut watch::Receiver<Phase>, empty: bool) {
        let pause = match &mut self.beat {
            Some(beat) if !closing => {
                let (pause, missed) = beat.step(self.shared.watch.elapsed());
                self.shared.observer.skipped_checks(missed);
                pause
            }
            // The service did the waiting; but not where it lists what cannot be got rid of.
            None if empty && !closing => return,
            _ => STUCK,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = phase.changed(), if !closing => {}
        }
    }

    /// Takes a page: reads what is not held, writes it down, confirms. Tells whether anything was new.
    async fn take(&mut self, listing: &Listing) -> Result<bool> {
        let listed = self.now();
        self.compare(listing, listed)?;
        let mut news = false;
        let mut confirm = Vec::with_capacity(listing.messages.len());
        for item in &listing.messages {
            let held = self.states.contains_key(&item.id) || self.read(item, listed).await?;
            news |= held && self.states.get(&item.id) == Some(&State::Held);
            if !held {
                continue;
            }
            if self.is_acknowledged(item) && self.states.get(&item.id) == Some(&State::Held) {
                self.acknowledge(item).await?;
            } else {
                confirm.push(item.id);
            }
        }
        if !confirm.is_empty() {
            match self.device.confirm(&confirm).await {
                Reply::Done(_) => self.confirmed(confirm)?,
                Reply::Again(why) => self.shared.tally.again(why),
                Reply::Refused(problem) => {
                    self.note(&ReadRecord::Refused { problem: problem.kind.name().to_owned(), at: self.now() })?;
                }
            }
        }
        Ok(news)
    }

    /// Compares a listing with what the service said that it knows. All confirmations were answered before it was asked.
    fn compare(&mut self, listing: &Listing, at: u64) -> Result<()> {
        let listed: BTreeSet<MessageId> = listing.messages.iter().map(|item| item.id).collect();
        for id in &listed {
            let seen_confirmed = match self.states.get(id) {
                Some(State::Confirmed) => false,
                Some(State::SeenConfirmed) => true,
                Some(State::Held) | None => continue,
            };
            self.note(&ReadRecord::Again(Again { id: *id, seen_confirmed, at }))?;
        }
        // A page that is not the last says nothing of what is after it.
        let until = if listing.more { listed.last().copied() } else { None };
        let left_out = |id: &MessageId| !listed.contains(id) && until.is_none_or(|until| *id <= until);
        let seen: Vec<MessageId> = self.unseen.iter().copied().filter(left_out).collect();
        for id in seen {
            self.unseen.remove(&id);
            self.states.insert(id, State::SeenConfirmed);
        }
        Ok(())
    }

    /// Reads a content and writes it down. Tells whether it is held now.
    async fn read(&mut self, item: &Item, listed: u64) -> Result<bool> {
        let mut backoff = Backoff::new();
        for _ in 0..READS {
            match self.device.read(&item.id).await {
                Reply::Done(answer) => {
                    let digest = Sha256Digest::of(&answer.body);
                    let copy_of = self.contents.get(&(item.from, digest)).copied();
                    let Item { id, kind, from, .. } = *item;
                    self.note(&ReadRecord::Held(Held { id, kind, from, digest, listed, at: self.now(), copy_of }))?;
                    self.contents.entry((from, digest)).or_insert(id);
                    self.digests.insert(id, digest);
                    self.states.insert(id, State::Held);
                    if self.counted {
                        self.shared.tally.held(id);
                    }
                    return Ok(true);
                }
                Reply::Again(why) => {
                    self.shared.tally.again(why);
                    tokio::time::sleep(backoff.step(&mut self.random)).await;
                }
                Reply::Refused(problem) => {
                    tracing::warn!(id = %item.id, problem = problem.kind.name(), "listed, and not readable");
                    self.note(&ReadRecord::Unreadable { id: item.id, at: self.now() })?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    fn is_acknowledged(&self, item: &Item) -> bool {
        let first = usize::from(item.id.as_bytes()[15]);
        item.kind == ItemKind::Message && self.receipts_one_in > 0 && first.is_multiple_of(self.receipts_one_in)
    }

    /// Acknowledges a message, which confirms it too. What is not answered is done when it is listed again.
    async fn acknowledge(&mut self, item: &Item) -> Result<()> {
        let (signature, begun) = match self.acknowledging.remove(&item.id) {
            Some(begun) => begun,
            None => self.sign_receipt(item)?,
        };
        match self.device.acknowledge(&item.id, &begun.id, signature.clone()).await {
            Reply::Done(_) => {
                self.shared.accept(&begun).await?;
                return self.confirmed(vec![item.id]);
            }
            Reply::Again(why) => {
                self.shared.tally.again(why);
                self.acknowledging.insert(item.id, (signature, begun));
            }
            Reply::Refused(problem) => {
                self.shared.refuse(&begun, problem.kind)?;
                if problem.kind == ProblemType::IdOutOfWindow {
                    self.shared.tally.reissued();
                }
            }
        }
        Ok(())
    }

    fn sign_receipt(&self, item: &Item) -> Result<(Bytes, Begun)> {
        let ClientAddress { organization, user, .. } = *self.device.address();
        let content = self.digests.get(&item.id).context("what is acknowledged is held")?;
        let text = receipt_text(&organization, &item.from, &user, &item.id, content);
        let now = self.device.now();
        let signature = Bytes::from(self.device.person().sign(text.as_bytes(), now)?);
        let digest = Sha256Digest::of(&signature);
        let id = MessageId::of_receipt(&organization, &user, now.to_millis(), &item.id, &digest);
        let at = self.shared.clock.now().0;
        let begun = Begun { id, kind: ItemKind::Receipt, from: user, to: vec![item.from], digest, at };
        self.shared.begin(&begun)?;
        Ok((signature, begun))
    }

    fn confirmed(&mut self, ids: Vec<MessageId>) -> Result<()> {
        for id in &ids {
            self.digests.remove(id);
            // Once it was seen to be known, it stays so.
            let state = self.states.entry(*id).or_insert(State::Confirmed);
            if *state == State::Held {
                *state = State::Confirmed;
                self.unseen.insert(*id);
            }
        }
        self.note(&ReadRecord::Confirmed { ids, at: self.now() })
    }

    fn now(&self) -> u64 {
        self.shared.clock.now().0
    }

    fn note(&self, record: &ReadRecord) -> Result<()> {
        self.book.append(&(self.number, record))?;
        Ok(())
    }
}
