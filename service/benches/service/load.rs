//! The generator: threads of their own with a runtime each, some connections, and a clock for the open model.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_protocol::id::UserId;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::task::LocalSet;

use crate::client::Client;
use crate::clock::nanos;
use crate::connection::Connection;
use crate::cpu::{CpuReading, CpuUse, whole_machine};
use crate::options::Options;
use crate::process::Server;
use crate::shard::{Common, Kind, Outcome, Pace, Shard, Work, next_jobs, phase};
use crate::world::World;

/// How often the generator looks whose time has come, in nanoseconds.
const TICK: i64 = 200_000;
/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// A run.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Where to: connections go to each in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whose CPU time is measured.
    pub(crate) pids: Vec<u32>,
    /// Which requests.
    pub(crate) work: Work,
    /// When.
    pub(crate) pace: Pace,
    /// Connections, of all threads together.
    pub(crate) connections: usize,
    /// Requests on their way at once on one connection.
    pub(crate) depth: usize,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// Time before anything is counted.
    pub(crate) warm_up: Duration,
    /// Time that is measured.
    pub(crate) measured: Duration,
    /// Whom messages go to; a colleague of their sender if none.
    pub(crate) recipient: Option<UserId>,
    /// Messages after which the run is over; the measured time does not count then.
    pub(crate) sends: Option<u64>,
    /// What messages hold, but for the first bytes.
    pub(crate) content: Vec<u8>,
    /// Who is there.
    pub(crate) world: Option<World>,
}

/// What was measured.
pub(crate) struct Measured {
    /// Latencies and errors.
    pub(crate) outcome: Outcome,
    /// How long the first phase was.
    pub(crate) time: Duration,
    /// CPU time of the measured processes in it.
    pub(crate) service: CpuUse,
    /// CPU time of this process in it.
    pub(crate) generator: CpuUse,
    /// The share of the machine's CPU time that others used, from 0 to 1.
    pub(crate) others: f64,
}

impl Plan {
    /// As much work as some servers take, for half of the main measurement's length; nobody is there and messages hold
    /// nothing yet.
    pub(crate) fn new(options: &Options, servers: &[Server], work: Work) -> Self {
        Self {
            addresses: servers.iter().map(|server| server.address).collect(),
            pids: servers.iter().map(Server::pid).collect(),
            work,
            pace: Pace::Saturated,
            connections: options.connections,
            depth: 1,
            threads: options.threads,
            warm_up: (options.measured / 10).max(Duration::from_millis(300)),
            measured: options.measured / 2,
            recipient: None,
            sends: None,
            content: Vec::new(),
            world: None,
        }
    }

    /// Runs with one measured phase.
    pub(crate) fn run(&self, clients: &mut Vec<Client>) -> Result<Measured> {
        self.run_with(clients, |_| Ok(()))
    }

    /// Runs; after the first phase `then` may do more, and set the second phase for what is measured meanwhile.
    pub(crate) fn run_with(
        &self,
        clients: &mut Vec<Client>,
        then: impl FnOnce(&AtomicU8) -> Result<()>,
    ) -> Result<Measured> {
        let common = Arc::new(Common {
            phase: AtomicU8::new(phase::WARM_UP),
            sends_left: AtomicU64::new(self.sends.unwrap_or(u64::MAX)),
            work: self.work,
            recipient: self.recipient,
            content: self.content.clone(),
            world: self.world.clone(),
        });
        let mut threads = Vec::new();
        let portion = clients.len().div_ceil(self.threads.max(1));
        let mut first = 0;
        for number in 0..self.threads.max(1) {
            let part: Vec<Client> = clients.drain(..portion.min(clients.len())).collect();
            let length = part.len();
            let shard = Shard::new(Arc::clone(&common), part, first, self.pace)?;
            first += length;
            let (plan, common) = (self.clone(), Arc::clone(&common));
            let name = format!("generator-{number}");
            threads.push(std::thread::Builder::new().name(name).spawn(move || plan.thread(shard, &common))?);
        }

        let observed = self
            .observe(&common, &threads)
            .and_then(|observed| if self.sends.is_none() { then(&common.phase) } else { Ok(()) }.map(|()| observed));
        common.phase.store(phase::STOP, Ordering::Relaxed);
        let mut outcome = Outcome::new()?;
        for thread in threads {
            let (part, of_thread) = thread.join().ok().context("a thread of the generator panicked")??;
            clients.extend(part);
            outcome.add(&of_thread)?;
        }
        Ok(Measured { outcome, ..observed? })
    }

    fn observe<T>(&self, common: &Common, threads: &[std::thread::JoinHandle<T>]) -> Result<Measured> {
        std::thread::sleep(self.warm_up);
        let read = || {
            let (service, own) = (CpuReading::of_all(&self.pids)?, CpuReading::of(std::process::id())?);
            anyhow::Ok((nanos(), service, own, whole_machine()?))
        };
        let before = read()?;
        common.phase.store(phase::FIRST, Ordering::Relaxed);
        if self.sends.is_some() {
            while !threads.iter().all(std::thread::JoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(10));
            }
        } else {
            std::thread::sleep(self.measured);
        }
        common.phase.store(phase::BETWEEN, Ordering::Relaxed);
        let after = read()?;
        let time = Duration::from_nanos(after.0 - before.0);
        let (service, generator) = (after.1.since(&before.1), after.2.since(&before.2));
        let others = after.3.saturating_sub(before.3).saturating_sub(service.total + generator.total);
        let cores = u32::try_from(std::thread::available_parallelism()?.get())?;
        let others = others.as_secs_f64() / (time * cores).as_secs_f64();
        Ok(Measured { outcome: Outcome::new()?, time, service, generator, others })
    }

    fn thread(&self, shard: Shard, common: &Arc<Common>) -> Result<(Vec<Client>, Outcome)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shard = Rc::new(RefCell::new(shard));
        let threads = self.threads.max(1);
        let local = LocalSet::new();
        let work = async {
            let mut tasks = Vec::new();
            for address in self.addresses.iter().cycle().take(self.connections.div_ceil(threads)) {
                tasks.push(tokio::task::spawn_local(drive(Rc::clone(&shard), *address, self.depth)));
            }
            if let Pace::Offered(rate) = self.pace {
                offer(&shard, common, self.work, rate / crate::clock::float(u64::try_from(threads)?)).await?;
            } else if self.sends.is_none() {
                while common.phase.load(Ordering::Relaxed) != phase::STOP {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            shard.borrow_mut().stop();
            let last = async {
                for task in &mut tasks {
                    task.await??;
                }
                anyhow::Ok(())
            };
            let patience = if self.sends.is_some() { Duration::from_mins(5) } else { LAST_ANSWERS };
            tokio::time::timeout(patience, last).await.unwrap_or(Ok(()))?;
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
            anyhow::Ok(())
        };
        local.block_on(&runtime, work)?;
        // Tasks that were aborted hold on to the shard until they are dropped.
        drop(local);
        let shard = Rc::into_inner(shard).context("a connection is still at work")?;
        Ok(shard.into_inner().finish())
    }
}

/// One connection: takes what is to be sent, sends it, and waits for the answers.
async fn drive(shard: Rc<RefCell<Shard>>, address: SocketAddr, depth: usize) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let (mut jobs, mut out) = (Vec::with_capacity(depth), Vec::with_capacity(4096));
    loop {
        next_jobs(&shard, depth, &mut jobs).await;
        if jobs.is_empty() {
            return Ok(());
        }
        out.clear();
        for job in &jobs {
            shard.borrow_mut().write(job, &mut out);
        }
        let mut failure = connection.send(&out).await.err();
        for job in jobs.drain(..) {
            let answer = match failure {
                None => connection.receive().await,
                Some(ref error) => {
                    shard.borrow_mut().done(&job, Err(error));
                    continue;
                }
            };
            match answer {
                Ok(answer) => shard.borrow_mut().done(&job, Ok(answer)),
                Err(error) => {
                    shard.borrow_mut().done(&job, Err(&error));
                    failure = Some(error);
                }
            }
        }
        if failure.is_some() {
            connection = Connection::open(address).await?;
        }
    }
}

/// Lets requests' time come at a fixed rate a second, of messages and of checks.
async fn offer(shard: &Rc<RefCell<Shard>>, common: &Common, work: Work, rate: f64) -> Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK };
    let _ = timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
    // No pipe, but read like one: eight bytes whenever a tick is over.
    let mut timer = Receiver::from_owned_fd_unchecked(timer)?;

    let interval = Duration::from_secs_f64(1.0 / rate);
    let start = nanos();
    let time_of = |number: u32, kind: Kind| {
        let shift = if kind == Kind::Check { interval / 2 } else { Duration::ZERO };
        // Multiplied, not added up, so that nothing is lost by rounding.
        let after = Duration::from_secs_f64(f64::from(number) / rate) + shift;
        start + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)
    };
    let mut kinds: Vec<(Kind, u32)> = Vec::new();
    match work {
        Work::Hello => kinds.push((Kind::Hello, 0)),
        Work::Sends => kinds.push((Kind::Send, 0)),
        Work::Checks => kinds.push((Kind::Check, 0)),
        Work::Mix => kinds.extend([(Kind::Send, 0), (Kind::Check, 0)]),
    }
    let mut expirations = [0; 16];
    while common.phase.load(Ordering::Relaxed) != phase::STOP {
        let now = nanos();
        for (kind, number) in &mut kinds {
            while time_of(*number, *kind) <= now {
                shard.borrow_mut().arrive(*kind, time_of(*number, *kind));
                *number += 1;
            }
        }
        let _ = timer.read(&mut expirations).await?;
    }
    Ok(())
}
