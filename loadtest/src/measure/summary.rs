//! The form of `summary.json`, and how those of several workers become one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::latencies::Latencies;
use super::recorder::{Recorded, Window};
use crate::ledger::{Exit, Progress, Verdict};
use crate::wire::Operation;

/// The version of the form.
const FORMAT: u32 = 1;
/// A generator that is later than this for one of a hundred messages measures itself.
const LAG_MAX: Duration = Duration::from_millis(10);
/// A generator that uses more than this share of the cores that it has is about to.
const CPU_MAX: f64 = 0.8;

/// What came of one sort of request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationSummary {
    /// How many ended how, in the order of [`crate::wire::Ending::ALL`].
    pub endings: [u64; 4],
    /// How long those took that were done: from when they were sent, so without any wait for their turn. Long polls are not
    /// among them.
    pub service: Latencies,
}

impl OperationSummary {
    /// Returns how many were done.
    #[must_use]
    pub const fn done(&self) -> u64 {
        let [done, ..] = self.endings;
        done
    }

    /// Returns how many were not.
    #[must_use]
    pub const fn not_done(&self) -> u64 {
        let [_, refused, failed, timeout] = self.endings;
        refused + failed + timeout
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Which, from 0.
    pub second: u64,
    /// Requests that were done, by operation, in the order of [`Operation::ALL`].
    pub done: [u64; 6],
    /// Requests that were not.
    pub failed: u64,
    /// Seconds that requests to send took together, as the article shows it: above 1 means that several were on their way.
    pub send_duration: f64,
    /// How long messages took from when they were due until they were promised.
    pub send: Latencies,
}

/// What the generator itself used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorUse {
    /// Cores that it kept busy, on average.
    pub used: f64,
    /// Cores that it may use: its threads, and no more than there are.
    pub allowed: f64,
}

/// A program of closed work that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramRun {
    /// What it replayed.
    pub name: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What the ledger found, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the verdict has them with their meanings")]
pub struct Delivered {
    pub promised: u64,
    pub due: u64,
    pub delivered: u64,
    pub lost: u64,
    pub corrupted: u64,
    pub duplicated: u64,
    pub refused: u64,
    pub late: u64,
    pub unanswered: u64,
}

impl From<&Verdict> for Delivered {
    fn from(verdict: &Verdict) -> Self {
        Self {
            promised: verdict.messages + verdict.receipts,
            due: verdict.due,
            delivered: verdict.delivered,
            lost: verdict.lost.count,
            corrupted: verdict.corrupted.count + verdict.forged.count + verdict.unreadable.count,
            duplicated: verdict.duplicated.count,
            refused: verdict.refused.values().sum(),
            late: verdict.late.count,
            unanswered: verdict.unanswered,
        }
    }
}

impl Delivered {
    /// Returns how the run ended, as [`Verdict::exit`] does.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self { lost: 1.., .. } => Exit::Lost,
            Self { corrupted: 1.., .. } => Exit::Corrupted,
            Self { duplicated: 1.., .. } => Exit::Duplicated,
            Self { refused: 1.., .. } => Exit::Refused,
            Self { late: 1.., .. } => Exit::Late,
            Self { promised: 0, .. } => Exit::Failed,
            _ => Exit::Kept,
        }
    }

    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.promised += other.promised;
        self.due += other.due;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.corrupted += other.corrupted;
        self.duplicated += other.duplicated;
        self.refused += other.refused;
        self.late += other.late;
        self.unanswered += other.unanswered;
    }
}

/// What a run found: `summary.json`. Times are in seconds where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this form.
    pub format: u32,
    /// What it is called in reports.
    pub name: String,
    /// When the run began, in microseconds since 1970.
    pub began: u64,
    /// What was asked for, in words.
    pub load: String,
    /// Workers whose figures are in it.
    pub workers: u32,
    /// Users, and clients of all of them.
    pub users: u64,
    /// Clients of all users.
    pub clients: u64,
    /// The time at the start that is in no total.
    pub warm_up: f64,
    /// The time that is.
    pub measured: f64,
    /// Messages that were due in the whole run.
    pub offered: u64,
    /// Messages that were due and were not sent, since too many of their sender waited already.
    pub dropped: u64,
    /// Checks that polling clients left out because they were still at work.
    pub skipped_checks: u64,
    /// What came of requests, in the order of [`Operation::ALL`].
    pub operations: [OperationSummary; 6],
    /// How long messages took from when they were due until they were promised.
    pub send: Latencies,
    /// How long they took from then until a reader had them.
    pub delivery: Latencies,
    /// How much later than it could messages began to be sent, by the generator's own fault.
    pub lag: Latencies,
    /// What the generator itself used.
    pub generator: GeneratorUse,
    /// Every second of the run.
    pub seconds: Vec<Second>,
    /// The programs of closed work.
    pub programs: Vec<ProgramRun>,
    /// What the ledger found.
    pub ledger: Delivered,
}

/// What a summary is made of, beside what was recorded.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// What it is called.
    pub name: String,
    /// When it began, in microseconds since 1970.
    pub began: u64,
    /// What was asked for, in words.
    pub load: String,
    /// Users.
    pub users: usize,
    /// Clients of all of them.
    pub clients: usize,
    /// What the generator used.
    pub generator: GeneratorUse,
    /// The programs of closed work.
    pub programs: Vec<ProgramRun>,
}

impl Summary {
    /// Sums up one worker's run.
    #[must_use]
    pub fn new(
        about: Circumstances,
        Window { from, until }: Window,
        recorded: Recorded,
        progress: &Progress,
        verdict: &Verdict,
    ) -> Self {
        let Circumstances { name, began, load, users, clients, generator, programs } = about;
        let of = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let Recorded { operations, send, lag, skipped_checks, seconds } = recorded;
        Self {
            format: FORMAT,
            name,
            began,
            load,
            workers: 1,
            users: of(users),
            clients: of(clients),
            warm_up: from.as_secs_f64(),
            measured: until.saturating_sub(from).as_secs_f64(),
            offered: progress.offered + progress.skipped,
            dropped: progress.skipped,
            skipped_checks,
            operations,
            send,
            delivery: verdict.took.clone().map(Latencies::from).unwrap_or_default(),
            lag,
            generator,
            seconds,
            programs,
            ledger: Delivered::from(verdict),
        }
    }

    /// Takes another worker's figures as well, of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.workers += other.workers;
        self.users += other.users;
        self.clients += other.clients;
        self.began = self.began.min(other.began);
        self.measured = self.measured.max(other.measured);
        self.offered += other.offered;
        self.dropped += other.dropped;
        self.skipped_checks += other.skipped_checks;
        for (mine, theirs) in self.operations.iter_mut().zip(&other.operations) {
            mine.endings.iter_mut().zip(theirs.endings).for_each(|(mine, theirs)| *mine += theirs);
            mine.service.add(&theirs.service);
        }
        self.send.add(&other.send);
        self.delivery.add(&other.delivery);
        self.lag.add(&other.lag);
        // Each worker has cores of its own; the one that used the most of them is the one that lags.
        if other.generator.share() > self.generator.share() {
            self.generator = other.generator;
        }
        for theirs in &other.seconds {
            match self.seconds.iter_mut().find(|mine| mine.second == theirs.second) {
                Some(mine) => {
                    mine.done.iter_mut().zip(theirs.done).for_each(|(mine, theirs)| *mine += theirs);
                    mine.failed += theirs.failed;
                    mine.send_duration += theirs.send_duration;
                    mine.send.add(&theirs.send);
                }
                None => self.seconds.push(theirs.clone()),
            }
        }
        self.seconds.sort_by_key(|second| second.second);
        self.programs.extend(other.programs.iter().cloned());
        self.ledger.add(&other.ledger);
    }

    /// Returns what came of an operation.
    #[must_use]
    pub const fn operation(&self, operation: Operation) -> &OperationSummary {
        let [session, send, list, read, confirm, acknowledge] = &self.operations;
        match operation {
            Operation::RequestSessionKey => session,
            Operation::SendMessage => send,
            Operation::ListMessages => list,
            Operation::ReadMessage => read,
            Operation::ConfirmFetched => confirm,
            Operation::AcknowledgeMessage => acknowledge,
        }
    }

    /// Returns how many requests of an operation were done a second.
    #[must_use]
    pub fn rate(&self, operation: Operation) -> f64 {
        self.a_second(self.operation(operation).done())
    }

    /// Returns how many requests were done a second.
    #[must_use]
    pub fn total_rate(&self) -> f64 {
        self.a_second(self.operations.iter().map(OperationSummary::done).sum())
    }

    /// Returns the share of requests that were not done.
    #[must_use]
    pub fn errors(&self) -> f64 {
        let not_done: u64 = self.operations.iter().map(OperationSummary::not_done).sum();
        let done: u64 = self.operations.iter().map(OperationSummary::done).sum();
        if not_done + done == 0 { 0.0 } else { float(not_done) / float(not_done + done) }
    }

    fn a_second(&self, count: u64) -> f64 {
        if self.measured > 0.0 { float(count) / self.measured } else { 0.0 }
    }

    /// Says why the figures are the generator's own rather than the service's, if they are.
    #[must_use]
    pub fn invalid(&self) -> Option<String> {
        let lag = self.lag.at(0.99);
        if lag > LAG_MAX {
            return Some(format!(
                "the generator was {} ms late for one of a hundred messages: give it more cores, or more workers",
                lag.as_millis()
            ));
        }
        if self.generator.share() > CPU_MAX {
            return Some(format!(
                "the generator used {:.0} % of its cores: give it more threads, or more workers",
                self.generator.share() * 100.0
            ));
        }
        None
    }
}

impl GeneratorUse {
    /// Returns the share of its cores that it used.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.allowed > 0.0 { self.used / self.allowed } else { 0.0 }
    }
}

/// Converts a count for arithmetic where the last digits do not matter.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
pub const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(done: u64, second: u64, lag: u64) -> Summary {
        let mut summary = Summary { workers: 1, measured: 10.0, ..Summary::default() };
        summary.operations[1].endings = [done, 0, 1, 0];
        summary.operations[1].service.record(Duration::from_millis(done));
        summary.lag.record(Duration::from_millis(lag));
        summary.seconds = vec![Second { second, done: [0, done, 0, 0, 0, 0], ..Second::default() }];
        summary.ledger = Delivered { promised: done, ..Delivered::default() };
        summary
    }

    #[test]
    fn workers_add_up_to_one_verdict() {
        let mut sum = summary(30, 1, 1);
        sum.merge(&summary(10, 1, 1));
        sum.merge(&summary(20, 0, 50));

        assert_eq!((sum.workers, sum.rate(Operation::SendMessage)), (3, 6.0));
        assert_eq!(sum.operation(Operation::SendMessage).service.count(), 3);
        assert_eq!(sum.seconds.iter().map(|second| second.done[1]).collect::<Vec<_>>(), [20, 40]);
        assert!((sum.errors() - 3.0 / 63.0).abs() < 1e-9);
        assert_eq!(sum.ledger.exit(), Exit::Kept);
        assert!(sum.invalid().is_some_and(|why| why.contains("50 ms late")), "{:?}", sum.invalid());
    }

    #[test]
    fn one_worker_that_loses_a_message_decides() {
        let mut sum = summary(30, 1, 1);
        let mut other = summary(10, 1, 1);
        other.ledger.lost = 1;
        sum.merge(&other);

        assert_eq!(sum.ledger.exit(), Exit::Lost);
        assert_eq!(Delivered::default().exit(), Exit::Failed, "a run in which nothing was promised shows nothing");
    }

    #[test]
    fn a_generator_without_spare_time_is_not_believed() {
        let mut busy = summary(1, 1, 1);
        assert_eq!(busy.invalid(), None);
        busy.generator = GeneratorUse { used: 0.9, allowed: 1.0 };

        assert!(busy.invalid().is_some_and(|why| why.contains("90 %")));
    }
}
