//! Puts a ledger together: a folder, organizations, writers and readers; and takes it apart in order, to a verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::clock::Clock;
use countersign_client::entropy::Entropy;
use countersign_protocol::id::{ClientAddress, UserId};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::book::Book;
use super::closed::Program;
use super::facts::{Facts, HELD, Reading, SENT};
use super::judge::{Terms, judge};
use super::offer::Offer;
use super::options::{Options, Work};
use super::reader::{Phase, Reader};
use super::records::RunRecord;
use super::tally::{Progress, Tally};
use super::verdict::Verdict;
use super::writer::{Backoff, Shared, Writer};
use crate::clock::Stopwatch;
use crate::people::Organization;
use crate::random::Random;
use crate::traffic::Traffic;
use crate::wire::{Device, Observer, Reply, Targets, Unobserved};

/// Messages that may wait for a user's writers.
const WAITING_MAX: usize = 256;
/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(100);
/// Sessions that are asked for at once, before the run.
const SESSIONS_AT_ONCE: usize = 16;

/// A ledger that does not run yet.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    organizations: Vec<Organization>,
    options: Options,
    run: RunRecord,
    targets: Targets,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
    random: Random,
    /// The clients of all users, those of a user after each other, where they were prepared before the start.
    prepared: Option<Clients>,
}

/// Clients that have not begun.
#[derive(Debug)]
struct Clients {
    readers: Vec<Device>,
    writers: Vec<Device>,
}

impl Ledger {
    /// Makes a ledger in a new folder. Its organizations are all of the same size.
    ///
    /// # Errors
    /// If the folder cannot be written, or has a ledger already.
    pub fn create(
        folder: &Path,
        organizations: Vec<Organization>,
        options: Options,
        targets: Targets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("run.json");
        anyhow::ensure!(!file.exists(), "{} has a ledger already: name another, or --resume it", folder.display());
        let clients = |count: usize| -> Vec<ClientAddress> {
            let users = organizations
                .iter()
                .flat_map(|organization| organization.users.iter().map(move |user| (organization, user.id)));
            users
                .flat_map(|(organization, user)| (0..count).map(move |_| (organization, user)))
                .map(|(organization, user)| organization.new_client(user, &*entropy))
                .collect()
        };
        let run = RunRecord {
            organizations: organizations.iter().map(|organization| organization.id).collect(),
            readers: clients(options.readers),
            auditors: clients(usize::from(options.audit)),
            at: clock.now().0,
        };
        for (number, organization) in organizations.iter().enumerate() {
            organization.keep(&folder.join(format!("organization-{number}")))?;
        }
        std::fs::write(&file, serde_json::to_vec_pretty(&run)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self::of(folder, organizations, options, run, targets, clock, entropy))
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
        let (run, _) = Facts::read(folder).with_context(|| format!("there is no ledger in {}", folder.display()))?;
        let organizations = (0..run.organizations.len())
            .map(|number| Organization::kept(&folder.join(format!("organization-{number}"))))
            .collect::<Result<_>>()?;
        Ok(Self::of(folder, organizations, options, run, targets, clock, entropy))
    }

    fn of(
        folder: &Path,
        organizations: Vec<Organization>,
        options: Options,
        run: RunRecord,
        targets: Targets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let random = Random::new(options.seed);
        let observer = Arc::new(Unobserved);
        let folder = folder.to_owned();
        Self { folder, organizations, options, run, targets, clock, entropy, observer, random, prepared: None }
    }

    /// Has somebody told of every attempt of every client.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns how many clients begin.
    #[must_use]
    pub fn clients(&self) -> usize {
        let users: usize = self.organizations.iter().map(|organization| organization.users.len()).sum();
        users * (self.options.readers + self.options.writers)
    }

    /// Has all clients ask for their sessions, so that the run does not begin with that. Calls `each` after each client.
    ///
    /// # Errors
    /// If the service refuses one, or takes none for a minute.
    pub async fn prepare(&mut self, each: impl Fn()) -> Result<()> {
        let Clients { readers, writers } = self.all_clients()?;
        let (count, mut random) = (readers.len(), self.random.split());
        let opening = readers.into_iter().chain(writers).map(|device| (device, random.split())).collect::<Vec<_>>();
        let mut opened: Vec<Device> = stream::iter(opening)
            .map(|(device, random)| open_session(device, random))
            .buffered(SESSIONS_AT_ONCE)
            .inspect_ok(|_| each())
            .try_collect()
            .await?;
        let writers = opened.split_off(count);
        self.prepared = Some(Clients { readers: opened, writers });
        Ok(())
    }

    fn all_clients(&mut self) -> Result<Clients> {
        let readers = self.run.readers.clone();
        let readers = readers.into_iter().map(|address| self.device(address)).collect::<Result<_>>()?;
        let mut addresses = Vec::new();
        for organization in &self.organizations {
            for user in &organization.users {
                let client = || organization.new_client(user.id, &*self.entropy);
                addresses.extend((0..self.options.writers).map(|_| client()));
            }
        }
        let writers = addresses.into_iter().map(|address| self.device(address)).collect::<Result<_>>()?;
        Ok(Clients { readers, writers })
    }

    /// Starts writers and readers, who send at the options' rate until they are told to stop. Readers that were there
    /// before know what they wrote down.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn start(self) -> Result<RunningLedger> {
        let users = self.organizations.first().map_or(0, |organization| organization.users.len());
        let traffic = self.options.endless(self.organizations.len(), users);
        self.start_with(Work::Open(traffic))
    }

    /// Starts writers and readers with work of the caller's. In closed work each organization is a program.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn start_with(mut self, work: Work) -> Result<RunningLedger> {
        let sent_file = self.folder.join(SENT);
        let facts = if sent_file.exists() { Facts::read(&self.folder)?.1 } else { Facts::default() };
        let shared = Shared {
            sent: Arc::new(Book::open(&sent_file, self.options.keeping)?),
            tally: Arc::new(Tally::default()),
            clock: Arc::clone(&self.clock),
            readers_each: self.options.readers,
            watch: Stopwatch::start(),
            observer: Arc::clone(&self.observer),
        };
        for promise in facts.promises.values() {
            if let Some(at) = promise.accepted {
                shared.tally.accepted(promise.begun.id, promise.begun.to.len() * shared.readers_each, at);
            }
        }
        let held = Arc::new(Book::open(&self.folder.join(HELD), self.options.keeping)?);
        let Clients { readers, writers } = match self.prepared.take() {
            Some(prepared) => prepared,
            None => self.all_clients()?,
        };
        let readers: Vec<Reader> = readers
            .into_iter()
            .enumerate()
            .map(|(number, device)| self.reader(number, device, &held, &shared, &facts))
            .collect();
        let writers: Vec<Writer> = writers
            .into_iter()
            .map(|device| Writer { device, shared: shared.clone(), random: self.random.split() })
            .collect();
        let (phase, phases) = watch::channel(Phase::Open);
        let (stop, stopped) = watch::channel(false);
        let mut running = RunningLedger {
            shared,
            held,
            readers: JoinSet::new(),
            writers: JoinSet::new(),
            stop,
            stop_offering: Arc::new(AtomicBool::new(false)),
            phase,
            ended: Vec::new(),
            ledger: self,
        };
        match work {
            Work::Open(traffic) => {
                for reader in readers {
                    running.readers.spawn(reader.run(phases.clone()));
                }
                running.offer(traffic, writers, &stopped)?;
            }
            Work::Closed(programs) => running.replay(programs, readers, writers, &stopped),
        }
        Ok(running)
    }

    fn reader(&mut self, number: usize, device: Device, held: &Arc<Book>, shared: &Shared, facts: &Facts) -> Reader {
        let reading = facts.readings.get(device.address());
        reading.into_iter().flat_map(|reading| reading.held.keys()).for_each(|id| shared.tally.held(*id));
        let is_first = number.is_multiple_of(self.options.readers.max(1));
        let receipts = if is_first { self.options.receipts_one_in } else { 0 };
        let mode = self.options.mode_of(number);
        Reader::new(device, (Arc::clone(held), number), shared.clone(), self.random.split(), mode)
            .acknowledging(receipts)
            .remembering(reading.unwrap_or(&Reading::default()))
    }

    fn device(&mut self, address: ClientAddress) -> Result<Device> {
        let organization = self.organizations.iter().find(|organization| organization.id == address.organization);
        let organization = organization.with_context(|| format!("{address} is in no organization of the run"))?;
        let person = Arc::clone(organization.person(address.user)?);
        let (targets, clock, random) = (self.targets.clone(), Arc::clone(&self.clock), self.random.split());
        let device = Device::new(address, person, targets, clock, random, self.options.patience);
        Ok(device.observed_by(Arc::clone(&self.observer)))
    }
}

async fn open_session(mut device: Device, mut random: Random) -> Result<Device> {
    let watch = Stopwatch::start();
    let mut backoff = Backoff::new();
    loop {
        match device.open_session().await {
            Ok(()) => return Ok(device),
            Err(Reply::Again(why)) => {
                anyhow::ensure!(
                    watch.elapsed() < Duration::from_secs(60),
                    "no session within a minute: {}",
                    why.name()
                );
                tokio::time::sleep(backoff.step(&mut random)).await;
            }
            Err(Reply::Refused(problem)) => anyhow::bail!("a session is refused: {}", problem.detail),
            Err(Reply::Done(_)) => anyhow::bail!("an answer is no failure"),
        }
    }
}

/// A ledger that runs.
#[derive(Debug)]
pub struct RunningLedger {
    ledger: Ledger,
    shared: Shared,
    held: Arc<Book>,
    readers: JoinSet<Result<()>>,
    /// Writers, and programs that are done after a while.
    writers: JoinSet<Result<Option<(usize, Duration)>>>,
    stop: watch::Sender<bool>,
    stop_offering: Arc<AtomicBool>,
    phase: watch::Sender<Phase>,
    /// Which programs of closed work are done, and how long they took.
    ended: Vec<(usize, Duration)>,
}

impl Drop for RunningLedger {
    fn drop(&mut self) {
        self.stop_offering.store(true, Ordering::Relaxed);
    }
}

impl RunningLedger {
    /// Gives each user's writers a queue, and has a thread fill them.
    fn offer(&mut self, traffic: Traffic, writers: Vec<Writer>, stopped: &watch::Receiver<bool>) -> Result<()> {
        let users = self.ledger.organizations.iter().flat_map(|organization| &organization.users);
        let users: Vec<UserId> = users.map(|user| user.id).collect();
        let mut tickets = Vec::with_capacity(users.len());
        let mut writers = writers.into_iter();
        for _ in &users {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let waiting = Arc::new(Mutex::new(receiver));
            tickets.push(sender);
            for writer in writers.by_ref().take(self.ledger.options.writers) {
                let work = writer.run(Arc::clone(&waiting), stopped.clone());
                self.writers.spawn(async move { work.await.map(|()| None) });
            }
        }
        let (watch, tally, stopped) = (self.shared.watch, self.tally(), Arc::clone(&self.stop_offering));
        let offer = Offer { traffic, watch, users: Arc::new(users), tickets, tally, stopped };
        std::thread::Builder::new().name("schedule".to_owned()).spawn(move || offer.run())?;
        Ok(())
    }

    /// Has one program for each organization replay its messages.
    fn replay(
        &mut self,
        programs: Vec<Traffic>,
        readers: Vec<Reader>,
        writers: Vec<Writer>,
        stopped: &watch::Receiver<bool>,
    ) {
        let (mut readers, mut writers) = (readers.into_iter(), writers.into_iter());
        let Options { readers: readers_each, writers: writers_each, .. } = self.ledger.options;
        for (number, (organization, traffic)) in self.ledger.organizations.iter().zip(programs).enumerate() {
            let users: Vec<UserId> = organization.users.iter().map(|user| user.id).collect();
            let program = Program {
                traffic,
                // One writer of each user works; a program does one thing at a time.
                writers: users.iter().filter_map(|_| writers.by_ref().take(writers_each.max(1)).last()).collect(),
                readers: users.iter().map(|_| readers.by_ref().take(readers_each).collect()).collect(),
                users: Arc::new(users),
            };
            let work = program.run(stopped.clone());
            self.writers.spawn(async move { Ok(Some((number, work.await?))) });
        }
    }

    /// Returns when all programs of closed work are done.
    ///
    /// # Errors
    /// If one fails.
    pub async fn done(&mut self) -> Result<()> {
        while let Some(ended) = self.writers.join_next().await {
            let ended = ended.context("a part of the ledger panicked")?.context("a part of the ledger failed")?;
            self.ended.extend(ended);
        }
        Ok(())
    }

    /// Tells the programs of closed work to end, and waits until they have.
    ///
    /// # Errors
    /// If one fails.
    pub async fn stop_programs(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        self.done().await
    }

    /// Returns the programs that are done, each with its number and how long it took.
    #[must_use]
    pub fn programs_done(&self) -> &[(usize, Duration)] {
        &self.ended
    }

    /// Hands over to the operating system what is written down so far.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.shared.sent.flush()?;
        Ok(self.held.flush()?)
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.watch.elapsed()
    }

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
            Some(ended) = self.writers.join_next() => ended.map(|ended| ended.map(|_| ())),
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
        self.stop_offering.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        // What is not answered by then stays unanswered.
        join_within(&mut self.writers, limit).await?;
        let watch = Stopwatch::start();
        while self.progress().outstanding() > 0 && !self.readers.is_empty() && watch.elapsed() < limit {
            tokio::time::sleep(LOOK).await;
        }
        self.phase.send_replace(Phase::Closing);
        // They look once more, so that they see what is confirmed.
        join_within(&mut self.readers, limit).await?;
        self.audit(limit).await?;
        self.flush()?;
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
        let first = self.ledger.run.readers.len();
        for (number, address) in self.ledger.run.auditors.clone().into_iter().enumerate() {
            let device = self.ledger.device(address)?;
            let (book, random) = (Arc::clone(&self.held), self.ledger.random.split());
            let mode = self.ledger.options.mode_of(0);
            let reader = Reader::new(device, (book, first + number), self.shared.clone(), random, mode).uncounted();
            auditors.spawn(reader.run(phases.clone()));
        }
        join_within(&mut auditors, limit).await
    }
}

/// Waits for tasks; those that take longer are given up.
async fn join_within<T: 'static>(tasks: &mut JoinSet<Result<T>>, limit: Duration) -> Result<()> {
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
