//! What one thread of the generator knows: its clients, what is to be sent, and what came of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use anyhow::Result;
use countersign_protocol::id::UserId;
use hdrhistogram::Histogram;

use crate::client::{Client, Scratch, confirmation, listed_ids};
use crate::clock::nanos;
use crate::connection::Answer;
use crate::random::Random;
use crate::world::World;

/// Bytes of a listing of ten messages; a client that was listed as many confirms them.
const CONFIRM_FROM_BYTES: usize = 10 * 120;
/// Items that a check asks for.
const CHECK_LIMIT: usize = 100;
/// Longest latency that is told from longer ones, in nanoseconds.
pub(crate) const LATENCY_MAX: u64 = 120_000_000_000;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request without meaning, to the bare server.
    Hello,
    /// Sends a message.
    Send,
    /// Asks what is new.
    Check,
    /// Confirms what was listed.
    Confirm,
}

impl Kind {
    const ALL: usize = 4;
}

/// Which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Requests to the bare server.
    Hello,
    /// Messages only.
    Sends,
    /// Checks only.
    Checks,
    /// As many messages as checks, and confirmations of what was listed.
    Mix,
}

/// When requests are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Saturated,
    /// At fixed times, so many messages and as many checks a second.
    Offered(f64),
}

/// What the phases of a run are for.
pub(crate) mod phase {
    /// Nothing is counted yet.
    pub(crate) const WARM_UP: u8 = 0;
    /// The first phase that is measured.
    pub(crate) const FIRST: u8 = 1;
    /// Nothing is counted in between.
    pub(crate) const BETWEEN: u8 = 2;
    /// The second phase that is measured.
    pub(crate) const SECOND: u8 = 3;
    /// No more requests are made.
    pub(crate) const STOP: u8 = 4;
}

/// What came of the requests of one kind in one phase.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Latencies of those that succeeded, in nanoseconds: from the intended start where the pace is fixed.
    pub(crate) latency: Histogram<u64>,
    /// Those that did not.
    pub(crate) errors: u64,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    first: Vec<Tally>,
    second: Vec<Tally>,
    /// How much later than intended the generator got to a request, in nanoseconds.
    pub(crate) lag: Histogram<u64>,
    /// Requests whose time had come and that no connection was free for, at the end.
    pub(crate) unserved: u64,
    /// An answer that is no success.
    pub(crate) sample: Option<String>,
}

impl Outcome {
    /// Begins with nothing.
    pub(crate) fn new() -> Result<Self> {
        let histogram = Histogram::new_with_max(LATENCY_MAX, 3)?;
        let tally = Tally { latency: histogram.clone(), errors: 0 };
        let tallies = vec![tally; Kind::ALL];
        Ok(Self { first: tallies.clone(), second: tallies, lag: histogram, unserved: 0, sample: None })
    }

    /// Returns what came of the requests of some kinds in a phase.
    pub(crate) fn tally(&self, phase: u8, kinds: &[Kind]) -> Result<Tally> {
        let tallies = if phase == phase::SECOND { &self.second } else { &self.first };
        let mut sum = Self::new()?.first.swap_remove(0);
        for tally in kinds.iter().filter_map(|kind| tallies.get(*kind as usize)) {
            sum.latency.add(&tally.latency)?;
            sum.errors += tally.errors;
        }
        Ok(sum)
    }

    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        for (mine, others) in [(&mut self.first, &other.first), (&mut self.second, &other.second)] {
            for (mine, other) in mine.iter_mut().zip(others) {
                mine.latency.add(&other.latency)?;
                mine.errors += other.errors;
            }
        }
        self.lag.add(&other.lag)?;
        self.unserved += other.unserved;
        self.sample = self.sample.take().or_else(|| other.sample.clone());
        Ok(())
    }
}

/// A request that is to be made.
#[derive(Debug)]
pub(crate) struct Job {
    kind: Kind,
    client: usize,
    /// When it was to start.
    intended: u64,
    body: Vec<u8>,
}

/// What all threads share.
pub(crate) struct Common {
    /// The phase.
    pub(crate) phase: AtomicU8,
    /// Messages that may still be sent.
    pub(crate) sends_left: AtomicU64,
    /// Which requests are made.
    pub(crate) work: Work,
    /// Whom messages go to, if always to the same.
    pub(crate) recipient: Option<UserId>,
    /// What they hold, but for the first bytes.
    pub(crate) content: Vec<u8>,
    /// Who is there.
    pub(crate) world: Option<World>,
}

/// One thread's part.
pub(crate) struct Shard {
    common: Arc<Common>,
    clients: Vec<Client>,
    /// The number of the first client among all.
    first_client: usize,
    random: Random,
    scratch: Scratch,
    arrivals: VecDeque<(Kind, u64)>,
    confirmations: VecDeque<(usize, Vec<u8>)>,
    idle: VecDeque<Waker>,
    saturated: bool,
    turn: bool,
    outcome: Outcome,
}

impl Shard {
    /// Makes a thread's part.
    pub(crate) fn new(common: Arc<Common>, clients: Vec<Client>, first_client: usize, pace: Pace) -> Result<Self> {
        let seed = u64::try_from(first_client)? + nanos();
        Ok(Self {
            common,
            clients,
            first_client,
            random: Random::new(seed),
            scratch: Scratch::default(),
            arrivals: VecDeque::new(),
            confirmations: VecDeque::new(),
            idle: VecDeque::new(),
            saturated: pace == Pace::Saturated,
            turn: false,
            outcome: Outcome::new()?,
        })
    }

    /// Gives back the clients and what came of it.
    pub(crate) fn finish(mut self) -> (Vec<Client>, Outcome) {
        for client in &mut self.clients {
            client.busy = false;
        }
        (self.clients, self.outcome)
    }

    fn phase(&self) -> u8 {
        self.common.phase.load(Ordering::Relaxed)
    }

    /// Takes note that requests' time has come, and wakes as many connections.
    pub(crate) fn arrive(&mut self, kind: Kind, intended: u64) {
        self.arrivals.push_back((kind, intended));
        if matches!(self.phase(), phase::FIRST | phase::SECOND) {
            self.outcome.lag.saturating_record(nanos().saturating_sub(intended));
        }
        if let Some(waker) = self.idle.pop_front() {
            waker.wake();
        }
    }

    /// Stops: whoever waits is told, and what was not served is counted.
    pub(crate) fn stop(&mut self) {
        self.outcome.unserved = u64::try_from(self.arrivals.len()).unwrap_or(u64::MAX);
        self.arrivals.clear();
        self.idle.drain(..).for_each(Waker::wake);
    }

    fn next(&mut self) -> Option<Job> {
        if let Some((client, body)) = self.confirmations.pop_front() {
            return Some(Job { kind: Kind::Confirm, client, intended: nanos(), body });
        }
        let (kind, intended) = if self.saturated {
            let kind = match self.common.work {
                Work::Hello => Kind::Hello,
                Work::Sends => Kind::Send,
                Work::Checks => Kind::Check,
                Work::Mix => {
                    self.turn = !self.turn;
                    if self.turn { Kind::Send } else { Kind::Check }
                }
            };
            (kind, nanos())
        } else {
            self.arrivals.pop_front()?
        };
        if kind == Kind::Send {
            let left =
                self.common.sends_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            left.ok()?;
        }
        let client = if kind == Kind::Hello { 0 } else { self.free_client() };
        if let Some(client) = self.clients.get_mut(client) {
            client.busy = kind != Kind::Hello;
        }
        Some(Job { kind, client, intended, body: Vec::new() })
    }

    fn free_client(&mut self) -> usize {
        loop {
            let number = self.random.below(self.clients.len());
            if self.clients.get(number).is_none_or(|client| !client.busy) {
                return number;
            }
        }
    }

    /// Writes a request.
    pub(crate) fn write(&mut self, job: &Job, out: &mut Vec<u8>) {
        let to = match self.common.recipient {
            Some(recipient) => Some(recipient),
            None => self.colleague(job.client),
        };
        let unique = self.random.next();
        let client = self.clients.get_mut(job.client);
        match (job.kind, client, to) {
            (Kind::Send, Some(client), Some(to)) => {
                client.write_send(to, &self.common.content, unique, &mut self.scratch, out);
            }
            (Kind::Check, Some(client), _) => client.write_check(CHECK_LIMIT, &mut self.scratch, out),
            (Kind::Confirm, Some(client), _) => client.write_confirm(&job.body, &mut self.scratch, out),
            _ => out.extend_from_slice(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        }
    }

    /// Picks a user of the organization of a client's user.
    fn colleague(&mut self, client: usize) -> Option<UserId> {
        let world = self.common.world.as_ref()?;
        let user = (self.first_client + client) / crate::world::CLIENTS;
        let organization = user / world.per_organization;
        let number = organization * world.per_organization + self.random.below(world.per_organization);
        world.users.get(number).map(|user| user.id)
    }

    /// Takes note of an answer, or that there is none.
    pub(crate) fn done(&mut self, job: &Job, answer: Result<Answer<'_>, &anyhow::Error>) {
        let success = answer.as_ref().is_ok_and(Answer::is_success);
        let phase = self.phase();
        let tallies = match phase {
            phase::FIRST => Some(&mut self.outcome.first),
            phase::SECOND => Some(&mut self.outcome.second),
            _ => None,
        };
        if let Some(tally) = tallies.and_then(|tallies| tallies.get_mut(job.kind as usize)) {
            if success {
                tally.latency.saturating_record(nanos().saturating_sub(job.intended));
            } else {
                tally.errors += 1;
            }
        }
        if !success && self.outcome.sample.is_none() {
            self.outcome.sample = Some(match &answer {
                Ok(answer) => answer.text(),
                Err(error) => format!("{error:#}"),
            });
        }
        let listed = match answer {
            Ok(answer) if job.kind == Kind::Check && answer.body.len() >= CONFIRM_FROM_BYTES => answer.body,
            _ => &[],
        };
        if self.common.work == Work::Mix && !listed.is_empty() && phase != phase::STOP {
            // The client stays busy until it has confirmed.
            self.confirmations.push_back((job.client, confirmation(listed_ids(listed))));
            if let Some(waker) = self.idle.pop_front() {
                waker.wake();
            }
        } else if let Some(client) = self.clients.get_mut(job.client) {
            client.busy = false;
        }
        if job.kind == Kind::Send && !success {
            self.common.sends_left.fetch_add(u64::from(self.common.recipient.is_some()), Ordering::Relaxed);
        }
    }
}

/// Waits for requests to be made, at least one and at most `most`; none if it is time to stop.
pub(crate) async fn next_jobs(shard: &Rc<RefCell<Shard>>, most: usize, jobs: &mut Vec<Job>) {
    std::future::poll_fn(|context| {
        let mut shard = shard.borrow_mut();
        if shard.phase() == phase::STOP {
            return Poll::Ready(());
        }
        while jobs.len() < most
            && let Some(job) = shard.next()
        {
            jobs.push(job);
        }
        if !jobs.is_empty() || shard.saturated {
            return Poll::Ready(());
        }
        shard.idle.push_back(context.waker().clone());
        Poll::Pending
    })
    .await;
}
