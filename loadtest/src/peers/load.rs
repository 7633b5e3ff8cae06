//! The load, which is the same for all sides: who writes to whom, when, and how much; and the figures of it.
//!
//! A closed load asks as soon as it was answered. An open one asks when it is due, and latency is counted from then: a
//! side that does not keep up is not asked less politely for that.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;

use super::driver::{Client, Failure};
use super::ledger::{Ledger, Verdict, draw_content};
use crate::clock::Stopwatch;
use crate::random::Random;

/// After so many failures in a row a client gives up, and the run with it.
const FAILURES_MAX: u64 = 50;
/// How long a client waits after a failure, and between checks in the end.
const PAUSE: Duration = Duration::from_millis(20);
/// What has not arrived when nothing arrived for so long, while everybody checked, will not arrive.
const SILENCE: Duration = Duration::from_secs(3);

/// The longest latency that is told from longer ones.
const LATENCY_MAX_MICROS: u64 = 600_000_000;

/// What one user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Whom it writes to; nobody if it only reads.
    pub to: Vec<usize>,
    /// Whether it asks what is new, reads that and confirms it.
    pub checks: bool,
}

/// What all users do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd(pub Vec<Role>);

impl Crowd {
    /// Each writes to the two who come after it, and checks: about one message for each check.
    #[must_use]
    pub fn ring(users: usize) -> Self {
        let role = |user: usize| Role { to: vec![(user + 1) % users, (user + 2) % users], checks: true };
        Self((0..users).map(role).collect())
    }

    /// Many who only write to a few who only check: the last `readers` ones.
    #[must_use]
    pub fn many_to_few(users: usize, readers: usize) -> Self {
        let writers = users.saturating_sub(readers);
        let role = |user: usize| {
            if user < writers {
                Role { to: (writers..users).collect(), checks: false }
            } else {
                Role { to: Vec::new(), checks: true }
            }
        };
        Self((0..users).map(role).collect())
    }

    /// Returns whom each writes to in any of several crowds.
    #[must_use]
    pub fn partners(crowds: &[&Self]) -> Vec<Vec<usize>> {
        let users = crowds.iter().map(|crowd| crowd.0.len()).max().unwrap_or(0);
        let of = |user: usize| {
            let all = crowds.iter().filter_map(|crowd| crowd.0.get(user)).flat_map(|role| role.to.clone());
            all.collect::<std::collections::BTreeSet<usize>>().into_iter().collect()
        };
        (0..users).map(of).collect()
    }
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the one before was answered and what was new was read.
    Closed,
    /// So many a second in all, evenly.
    Open(f64),
    /// By all writers at the same moment, so many times a second.
    Bursts(f64),
}

impl Pace {
    /// Returns when a writer's first message is due, and how much later each following one is. None if nothing is due at
    /// any time.
    fn schedule(self, writer: usize, writers: usize) -> Option<(Duration, Duration)> {
        #[expect(clippy::cast_precision_loss, reason = "few clients")]
        let (writer, writers) = (writer as f64, writers as f64);
        match self {
            Self::Closed => None,
            Self::Open(rate) => {
                let interval = Duration::from_secs_f64(writers / rate);
                Some((interval.mul_f64(writer / writers), interval))
            }
            Self::Bursts(rate) => Some((Duration::ZERO, Duration::from_secs_f64(1.0 / rate))),
        }
    }
}

/// What is the same for all sides.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long messages are sent.
    pub duration: Duration,
    /// How long they are, in bytes.
    pub bytes: RangeInclusive<usize>,
    /// What decides partners and contents.
    pub seed: u64,
    /// How long to wait at most for what was promised.
    pub drain: Duration,
    /// How long a delivery may take.
    pub late: Duration,
}

/// What was measured. Latencies are in microseconds.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How long it took until the last one was done.
    pub elapsed: Duration,
    /// Messages that were sent and answered.
    pub sends: u64,
    /// Checks that were answered.
    pub checks: u64,
    /// What was not done, or nobody knows.
    pub failures: u64,
    /// From when a message was due to its answer.
    pub send: Histogram<u64>,
    /// From asking what is new to the answer.
    pub check: Histogram<u64>,
    /// From when a message was due until its recipient held it.
    pub delivery: Histogram<u64>,
    /// What the ledger says.
    pub verdict: Verdict,
}

impl Figures {
    /// Makes empty ones.
    ///
    /// # Errors
    /// Never: the bounds and the precision are such as histograms have.
    pub fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_max(LATENCY_MAX_MICROS, 3).context("a histogram");
        let (send, check, delivery) = (histogram()?, histogram()?, histogram()?);
        let (elapsed, verdict) = (Duration::ZERO, Verdict::default());
        Ok(Self { elapsed, sends: 0, checks: 0, failures: 0, send, check, delivery, verdict })
    }

    /// Adds those of another run.
    ///
    /// # Errors
    /// Never: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.elapsed += other.elapsed;
        self.sends += other.sends;
        self.checks += other.checks;
        self.failures += other.failures;
        self.send.add(&other.send)?;
        self.check.add(&other.check)?;
        self.delivery.add(&other.delivery)?;
        self.verdict.add(&other.verdict);
        Ok(())
    }
}

/// A load on one side.
pub(super) struct Load {
    workers: Vec<Worker>,
    shared: Arc<Shared>,
    terms: Terms,
    elapsed: Duration,
}

struct Shared {
    ledger: Ledger,
    watch: Stopwatch,
}

struct Worker {
    number: usize,
    client: Box<dyn Client>,
    role: Role,
    schedule: Option<(Duration, Duration)>,
    random: Random,
    bytes: RangeInclusive<usize>,
    shared: Arc<Shared>,
    figures: Figures,
    /// Whether checks are counted: those of the end, which wait for what is left, are not a part of the load.
    counting: bool,
    failures_in_a_row: u64,
}

impl Load {
    /// Gives each client its role.
    ///
    /// # Errors
    /// Never, as [`Figures::new`].
    pub(super) fn new(clients: Vec<Box<dyn Client>>, crowd: &Crowd, pace: Pace, terms: &Terms) -> Result<Self> {
        let shared = Arc::new(Shared { ledger: Ledger::default(), watch: Stopwatch::start() });
        let writers = crowd.0.iter().filter(|role| !role.to.is_empty()).count();
        let mut random = Random::new(terms.seed);
        let mut workers = Vec::with_capacity(clients.len());
        for (number, (client, role)) in clients.into_iter().zip(&crowd.0).enumerate() {
            workers.push(Worker {
                number,
                client,
                role: role.clone(),
                // Who writes has the lower numbers.
                schedule: pace.schedule(number, writers).filter(|_| !role.to.is_empty()),
                random: random.split(),
                bytes: terms.bytes.clone(),
                shared: Arc::clone(&shared),
                figures: Figures::new()?,
                counting: true,
                failures_in_a_row: 0,
            });
        }
        Ok(Self { workers, shared, terms: terms.clone(), elapsed: Duration::ZERO })
    }

    /// Has all do what their roles say, for as long as the terms say.
    ///
    /// # Errors
    /// If the side does not answer.
    pub(super) async fn press(&mut self) -> Result<()> {
        let duration = self.terms.duration;
        let begun = self.shared.watch.elapsed();
        let tasks = self.workers.drain(..).map(|mut worker| {
            tokio::spawn(async move { worker.press(begun, begun + duration).await.map(|()| worker) })
        });
        self.workers = joined(tasks.collect()).await?;
        self.elapsed = self.shared.watch.elapsed().saturating_sub(begun);
        Ok(())
    }

    /// Has all who check go on with that until everything that was promised is held, or nothing more comes.
    ///
    /// # Errors
    /// If the side does not answer.
    pub(super) async fn drain(&mut self) -> Result<()> {
        let until = self.shared.watch.elapsed() + self.terms.drain;
        let tasks = self
            .workers
            .drain(..)
            .map(|mut worker| tokio::spawn(async move { worker.drain(until).await.map(|()| worker) }));
        self.workers = joined(tasks.collect()).await?;
        Ok(())
    }

    /// Returns the clients and what was measured.
    ///
    /// # Errors
    /// Never, as [`Figures::add`].
    pub(super) fn finish(self) -> Result<(Vec<Box<dyn Client>>, Figures)> {
        let mut sum = Figures::new()?;
        let mut clients = Vec::with_capacity(self.workers.len());
        for worker in self.workers {
            sum.add(&worker.figures)?;
            clients.push(worker.client);
        }
        sum.elapsed = self.elapsed;
        sum.verdict = self.shared.ledger.verdict(self.terms.late);
        Ok((clients, sum))
    }
}

async fn joined(tasks: Vec<tokio::task::JoinHandle<Result<Worker>>>) -> Result<Vec<Worker>> {
    let mut workers = Vec::with_capacity(tasks.len());
    for task in tasks {
        workers.push(task.await.context("a client panicked")??);
    }
    Ok(workers)
}

impl Worker {
    async fn press(&mut self, begun: Duration, end: Duration) -> Result<()> {
        let mut due = self.schedule.map(|(first, _)| begun + first);
        loop {
            let now = self.shared.watch.elapsed();
            if let (Some(at), Some((_, interval))) = (due, self.schedule) {
                if at >= end || now >= end {
                    return Ok(());
                }
                tokio::time::sleep(at.saturating_sub(now)).await;
                self.send(at).await?;
                due = Some(at + interval);
            } else if now >= end {
                return Ok(());
            } else if !self.role.to.is_empty() {
                self.send(now).await?;
            }
            if self.role.checks {
                self.check().await?;
            }
        }
    }

    async fn drain(&mut self, until: Duration) -> Result<()> {
        if !self.role.checks {
            return Ok(());
        }
        self.counting = false;
        let mut last_news = self.shared.watch.elapsed();
        let mut left = self.shared.ledger.outstanding();
        // One more check after the last one that is needed: what is delivered again shows there.
        loop {
            let last = left == 0;
            self.check().await?;
            let now = self.shared.watch.elapsed();
            let left_now = self.shared.ledger.outstanding();
            if left_now != left {
                (left, last_news) = (left_now, now);
            }
            if last || now >= until || now.saturating_sub(last_news) >= SILENCE {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends one message that was due at a time.
    async fn send(&mut self, due: Duration) -> Result<()> {
        let to = *self.random.one_of(&self.role.to).context("who writes writes to somebody")?;
        let length = self.random.within(&self.bytes);
        let content = draw_content(&mut self.random, length);
        let id = self.shared.ledger.begin(to, &content, due);
        let sent = self.client.send(to, content).await;
        if self.is_done(sent).await?.is_some() {
            self.shared.ledger.promised(id);
            self.figures.sends += 1;
            record(&mut self.figures.send, self.shared.watch.elapsed().saturating_sub(due));
        }
        Ok(())
    }

    /// Asks what is new, reads it and confirms it.
    async fn check(&mut self) -> Result<()> {
        let begun = self.shared.watch.elapsed();
        let listed = self.client.check().await;
        let Some(items) = self.is_done(listed).await? else { return Ok(()) };
        if self.counting {
            self.figures.checks += 1;
            record(&mut self.figures.check, self.shared.watch.elapsed().saturating_sub(begun));
        }
        for item in &items {
            let read: Result<Bytes, Failure> = self.client.read(item).await;
            // What is not confirmed is listed again.
            let Some(content) = self.is_done(read).await? else { return Ok(()) };
            let now = self.shared.watch.elapsed();
            if let Some(took) = self.shared.ledger.held(self.number, &content, now) {
                record(&mut self.figures.delivery, took);
            }
        }
        if !items.is_empty() {
            let confirmed = self.client.confirm(&items).await;
            self.is_done(confirmed).await?;
        }
        Ok(())
    }

    async fn is_done<T>(&mut self, result: Result<T, Failure>) -> Result<Option<T>> {
        match result {
            Ok(done) => {
                self.failures_in_a_row = 0;
                Ok(Some(done))
            }
            Err(failure) => {
                self.figures.failures += 1;
                self.failures_in_a_row += 1;
                if self.failures_in_a_row >= FAILURES_MAX {
                    bail!(anyhow::Error::from(failure).context("a side does not answer as it should any more"));
                }
                tracing::debug!(client = self.number, %failure, "failed");
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
        }
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::super::driver::Item;
    use super::*;

    /// A side in this process: a queue for each user. What it is told to do wrong, it does once.
    #[derive(Default)]
    struct Side {
        queues: Mutex<Vec<VecDeque<Bytes>>>,
        wrong: Mutex<Option<Wrong>>,
    }

    #[derive(Clone, Copy)]
    enum Wrong {
        Lose,
        Repeat,
    }

    struct User {
        number: usize,
        side: Arc<Side>,
    }

    #[async_trait]
    impl Client for User {
        async fn send(&mut self, to: usize, content: Bytes) -> Result<(), Failure> {
            let copies = match self.side.wrong.lock().unwrap().take() {
                None => 1,
                Some(Wrong::Lose) => 0,
                Some(Wrong::Repeat) => 2,
            };
            self.side.queues.lock().unwrap()[to].extend(std::iter::repeat_n(content, copies));
            tokio::task::yield_now().await;
            Ok(())
        }

        async fn check(&mut self) -> Result<Vec<Item>, Failure> {
            let contents = std::mem::take(&mut self.side.queues.lock().unwrap()[self.number]);
            tokio::task::yield_now().await;
            Ok(contents.into_iter().map(|content| Item { id: String::new(), content: Some(content) }).collect())
        }

        async fn read(&mut self, item: &Item) -> Result<Bytes, Failure> {
            Ok(item.content.clone().unwrap_or_default())
        }

        async fn confirm(&mut self, _: &[Item]) -> Result<(), Failure> {
            Ok(())
        }
    }

    const USERS: usize = 4;

    async fn run(wrong: Option<Wrong>, crowd: Crowd, pace: Pace) -> Figures {
        let side = Arc::new(Side { queues: Mutex::new(vec![VecDeque::new(); USERS]), wrong: Mutex::new(wrong) });
        let client = |number| -> Box<dyn Client> { Box::new(User { number, side: Arc::clone(&side) }) };
        let terms = Terms {
            duration: Duration::from_millis(50),
            bytes: 16..=64,
            seed: 1,
            drain: Duration::from_secs(60),
            late: Duration::from_secs(60),
        };
        let mut load = Load::new((0..USERS).map(client).collect(), &crowd, pace, &terms).unwrap();
        load.press().await.unwrap();
        load.drain().await.unwrap();
        load.finish().unwrap().1
    }

    #[tokio::test]
    async fn a_side_that_keeps_everything_is_told_so() {
        for pace in [Pace::Closed, Pace::Open(400.0), Pace::Bursts(100.0)] {
            let figures = run(None, Crowd::ring(USERS), pace).await;

            assert!(figures.verdict.is_kept() && figures.verdict.promised > 0, "{pace:?}: {:?}", figures.verdict);
            assert_eq!(figures.verdict.delivered, figures.sends);
            assert_eq!((figures.delivery.len(), figures.send.len()), (figures.sends, figures.sends));
            assert_eq!(figures.check.len(), figures.checks);
        }
    }

    #[tokio::test]
    async fn a_side_that_loses_one_message_is_found_out() {
        let figures = run(Some(Wrong::Lose), Crowd::ring(USERS), Pace::Closed).await;

        assert_eq!(figures.verdict.lost, 1);
        assert!(!figures.verdict.is_kept());
    }

    #[tokio::test]
    async fn a_side_that_delivers_one_message_again_is_found_out() {
        let figures = run(Some(Wrong::Repeat), Crowd::many_to_few(USERS, 1), Pace::Closed).await;

        assert_eq!((figures.verdict.lost, figures.verdict.duplicated), (0, 1));
    }

    #[test]
    fn an_open_load_is_spread_evenly_and_a_burst_is_not() {
        let millis = Duration::from_millis;

        assert_eq!(Pace::Open(10.0).schedule(1, 4), Some((millis(100), millis(400))));
        assert_eq!(Pace::Bursts(10.0).schedule(1, 4), Some((Duration::ZERO, millis(100))));
        assert_eq!(Pace::Closed.schedule(1, 4), None);
    }

    #[test]
    fn latencies_are_told_apart_up_to_minutes() {
        let mut figures = Figures::new().unwrap();
        record(&mut figures.send, Duration::from_millis(5));
        record(&mut figures.send, Duration::from_secs(90));

        let seconds = |quantile| figures.send.value_at_quantile(quantile) / 1_000_000;
        assert_eq!((seconds(0.5), seconds(1.0)), (0, 90));
        assert!(figures.send.value_at_quantile(0.5) >= 5_000);
    }

    #[test]
    fn crowds_name_their_partners() {
        let (ring, few) = (Crowd::ring(4), Crowd::many_to_few(4, 1));

        assert_eq!(few.0[3], Role { to: Vec::new(), checks: true });
        assert_eq!(Crowd::partners(&[&ring, &few]), [vec![1, 2, 3], vec![2, 3], vec![0, 3], vec![0, 1]]);
    }
}
