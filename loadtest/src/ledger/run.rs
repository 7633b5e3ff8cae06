//! Puts a ledger together: a folder, an organization, writers and readers; and takes it apart in order, to a verdict.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::clock::Clock;
use countersign_client::entropy::Entropy;
use countersign_protocol::id::{ClientAddress, UserId};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::book::Book;
use super::facts::{Facts, Reading};
use super::judge::{Terms, judge};
use super::reader::{Phase, Reader, book_of, mode_of};
use super::records::RunRecord;
use super::tally::{Progress, Tally};
use super::verdict::Verdict;
use super::writer::{Shared, Ticket, Writer};
use crate::clock::Stopwatch;
use crate::people::Organization;
use crate::random::Random;
use crate::wire::{Device, Targets};

/// Messages that may wait for a free writer. More are skipped, and counted: a service that was away is not to be hit
/// by all that it missed at once.
const WAITING_MAX: usize = 500;
/// How often the open model looks what is due.
const TICK: Duration = Duration::from_millis(5);
/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(100);

/// How a ledger is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Clients of each user that read.
    pub readers: usize,
    /// Clients of each user that write.
    pub writers: usize,
    /// Messages a second of all writers together, whatever the answers (open model).
    pub rate: f64,
    /// Bytes of a message.
    pub bytes: RangeInclusive<usize>,
    /// Of the messages that a user's first reader gets, one in so many is acknowledged; none where this is 0.
    pub receipts_one_in: usize,
    /// How long one answer may take.
    pub patience: Duration,
    /// How many seconds a long-polling reader waits.
    pub wait: u64,
    /// How long a polling reader pauses.
    pub pause: Duration,
    /// Whether a new client of each user looks at everything at the end.
    pub audit: bool,
    /// What decides contents and recipients.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 2,
            writers: 2,
            rate: 20.0,
            bytes: 200..=2_000,
            receipts_one_in: 10,
            patience: Duration::from_secs(10),
            wait: 20,
            pause: Duration::from_secs(1),
            audit: true,
            seed: 1,
        }
    }
}

impl Options {
    /// Returns how many clients a user needs.
    #[must_use]
    pub fn clients_of_each(&self) -> u32 {
        u32::try_from(self.readers + self.writers + usize::from(self.audit)).unwrap_or(u32::MAX)
    }
}

/// A ledger that does not run yet.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    organization: Organization,
    options: Options,
    run: RunRecord,
    targets: Targets,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Ledger {
    /// Makes a ledger in a new folder.
    ///
    /// # Errors
    /// If the folder cannot be written, or has a ledger already.
    pub fn create(
        folder: &Path,
        organization: Organization,
        options: Options,
        targets: Targets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("run.json");
        anyhow::ensure!(!file.exists(), "{} has a ledger already: name another, or --resume it", folder.display());
        organization.keep(folder)?;
        let clients = |count: usize| -> Vec<ClientAddress> {
            let users = organization.users.iter();
            users.flat_map(|user| (0..count).map(|_| organization.new_client(user.id, &*entropy))).collect()
        };
        let run = RunRecord {
            organization: organization.id,
            readers: clients(options.readers),
            auditors: clients(usize::from(options.audit)),
            at: clock.now().0,
        };
        std::fs::write(&file, serde_json::to_vec_pretty(&run)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { folder: folder.to_owned(), organization, options, run, targets, clock, entropy })
    }

    /// Opens the ledger of a folder again, whose process was ended.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(
        folder: &Path,
        options: Options,
        targets: Targets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let organization = Organization::kept(folder)?;
        let (run, _) = Facts::read(folder).with_context(|| format!("there is no ledger in {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), organization, options, run, targets, clock, entropy })
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts writers and readers. Readers that were there before know what they wrote down.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn start(self) -> Result<RunningLedger> {
        let mut random = Random::new(self.options.seed);
        let before = self.folder.join("sent.jsonl").exists();
        let facts = if before { Facts::read(&self.folder)?.1 } else { Facts::default() };
        let readers_each = self.run.readers.len() / self.organization.users.len().max(1);
        let shared = Shared {
            sent: Arc::new(Book::open(&self.folder.join("sent.jsonl"))?),
            tally: Arc::new(Tally::default()),
            clock: Arc::clone(&self.clock),
            readers_each,
        };
        for promise in facts.promises.values() {
            if let Some(at) = promise.accepted {
                shared.tally.accepted(promise.begun.id, promise.begun.to.len() * readers_each, at);
            }
        }
        let (phase, phases) = watch::channel(Phase::Open);
        let mut readers = JoinSet::new();
        for (number, address) in self.run.readers.iter().enumerate() {
            let reading = facts.readings.get(address);
            reading.into_iter().flat_map(|reading| reading.held.keys()).for_each(|id| shared.tally.held(*id));
            let mine = number % readers_each.max(1);
            let mode = mode_of(mine, self.options.wait, self.options.pause);
            let receipts = if mine == 0 { self.options.receipts_one_in } else { 0 };
            let book = book_of(&self.folder, address)?;
            let device = self.device(*address, &mut random)?;
            let reader = Reader::new(device, book, shared.clone(), random.split(), mode)
                .acknowledging(receipts)
                .remembering(reading.unwrap_or(&Reading::default()));
            readers.spawn(reader.run(phases.clone()));
        }
        let (tickets, waiting) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let (stop, stopped) = watch::channel(false);
        let users: Arc<Vec<UserId>> = Arc::new(self.organization.users.iter().map(|user| user.id).collect());
        let mut writers = JoinSet::new();
        for user in users.iter().flat_map(|user| std::iter::repeat_n(*user, self.options.writers)) {
            let address = self.organization.new_client(user, &*self.entropy);
            let writer = Writer {
                device: self.device(address, &mut random)?,
                shared: shared.clone(),
                users: Arc::clone(&users),
                bytes: self.options.bytes.clone(),
                random: random.split(),
                tickets: Arc::clone(&waiting),
                stopped: stopped.clone(),
            };
            writers.spawn(writer.run());
        }
        writers.spawn(offer(self.options.rate, tickets, Arc::clone(&shared.tally), stopped));
        Ok(RunningLedger { ledger: self, shared, random, readers, writers, stop, phase })
    }

    fn device(&self, address: ClientAddress, random: &mut Random) -> Result<Device> {
        let person = Arc::clone(self.organization.person(address.user)?);
        let clock = Arc::clone(&self.clock);
        Ok(Device::new(address, person, self.targets.clone(), clock, random.split(), self.options.patience))
    }
}

/// Offers tickets at a constant rate, whatever becomes of them.
async fn offer(
    rate: f64,
    tickets: mpsc::Sender<Ticket>,
    tally: Arc<Tally>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let watch = Stopwatch::start();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut offered = 0.0;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            _ = ticks.tick() => {}
        }
        let due = watch.elapsed().as_secs_f64() * rate;
        while offered + 1.0 <= due {
            offered += 1.0;
            tally.offered(tickets.try_send(Ticket).is_ok());
        }
    }
}

/// A ledger that runs.
#[derive(Debug)]
pub struct RunningLedger {
    ledger: Ledger,
    shared: Shared,
    random: Random,
    readers: JoinSet<Result<()>>,
    writers: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
}

impl RunningLedger {
    /// Returns what has happened so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.tally.progress()
    }

    /// Returns the counters, to look at while it runs.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.shared.tally)
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.ledger.folder
    }

    /// Returns if a writer or reader fails, which is the ledger's own fault and ends the run.
    ///
    /// # Errors
    /// Always: why it failed.
    pub async fn failed(&mut self) -> Result<std::convert::Infallible> {
        let ended = tokio::select! {
            Some(ended) = self.writers.join_next() => ended,
            Some(ended) = self.readers.join_next() => ended,
            else => return std::future::pending().await,
        };
        ended.context("a part of the ledger panicked")?.context("a part of the ledger failed")?;
        anyhow::bail!("a part of the ledger ended before it was told to")
    }

    /// Ends the writers, waits until all that was promised has arrived, has a new client of each user look at
    /// everything, and judges. Each of the three may take `limit`.
    ///
    /// # Errors
    /// If a part of the ledger failed, or its files cannot be read.
    pub async fn finish(mut self, limit: Duration, terms: Terms) -> Result<Verdict> {
        self.stop.send_replace(true);
        // What is not answered by then stays unanswered.
        join_within(&mut self.writers, limit).await?;
        let watch = Stopwatch::start();
        while self.progress().outstanding() > 0 && watch.elapsed() < limit {
            tokio::time::sleep(LOOK).await;
        }
        self.phase.send_replace(Phase::Closing);
        // They look once more, so that they see what is confirmed.
        join_within(&mut self.readers, limit).await?;
        self.audit(limit).await?;
        let (run, facts) = Facts::read(&self.ledger.folder)?;
        let verdict = judge(&run, &facts, terms);
        let file = self.ledger.folder.join("verdict.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&verdict)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(verdict)
    }

    async fn audit(&mut self, limit: Duration) -> Result<()> {
        let (_closing, phases) = watch::channel(Phase::Closing);
        let mut auditors = JoinSet::new();
        for address in &self.ledger.run.auditors {
            let book = book_of(&self.ledger.folder, address)?;
            let device = self.ledger.device(*address, &mut self.random)?;
            let mode = mode_of(0, self.ledger.options.wait, self.ledger.options.pause);
            let reader = Reader::new(device, book, self.shared.clone(), self.random.split(), mode).uncounted();
            auditors.spawn(reader.run(phases.clone()));
        }
        join_within(&mut auditors, limit).await
    }
}

/// Waits for tasks; those that take longer are given up.
async fn join_within(tasks: &mut JoinSet<Result<()>>, limit: Duration) -> Result<()> {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a part of the ledger panicked")?.context("a part of the ledger failed")?;
        }
        anyhow::Ok(())
    };
    if let Ok(ended) = tokio::time::timeout(limit, all).await {
        ended
    } else {
        tasks.shutdown().await;
        Ok(())
    }
}
