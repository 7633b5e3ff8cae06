//! One primary: the connections to it, and what waits for them.
//!
//! A write counts when the server has it on as many disks as the durability says, which `WAITAOF` asks. It asks for what was
//! written on its own connection, and holds that connection up until it is so. So a connection carries a batch at a time: all
//! commands that wait, in one trip, then one question for all of them (group commit). While one connection waits for disks,
//! the others take what comes.
//!
//! The question is a trip of its own, and is asked again after short times. A replica is asked how far its disk is when the
//! question comes: one that comes with the write finds the replica before its disk has it, and is answered by the next regular
//! report, a second later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::settings::Disks;
use super::topology::Address;
use crate::clock::Stopwatch;
use crate::valkey::Access;

/// Commands of one batch, at most, and about how many bytes they have together.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long the first question for the disks waits, and the longest that a later one does.
const ASKED_FOR: Duration = Duration::from_millis(50);
const ASKED_FOR_LONGEST: Duration = Duration::from_millis(400);
/// Connections that carry what only reads.
const READERS: usize = 2;

/// What became of a command.
pub(super) type Outcome = Result<Value, Failure>;

/// Why a command is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server was not reached: nothing was done.
    #[error("a server of the store was not reached")]
    Unreached(#[source] Arc<RedisError>),
    /// The server refused it: nothing was done.
    #[error("a server of the store refused a command")]
    Refused(#[source] RedisError),
    /// The connection broke, or nothing came in time: it may have been done, or may be yet.
    #[error("a server of the store did not answer")]
    Unanswered(#[source] Arc<RedisError>),
    /// It was done, but is not known to be on as many disks as it must be.
    #[error("a write is in memory only: it is not known to be on {} disks of the primary and {} of replicas", .0.own, .0.replicas)]
    Unconfirmed(Disks),
    /// Nobody works for this server any more.
    #[error("the connections to a server of the store are closed")]
    Closed,
}

/// What connections to all servers have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) access: Access,
    /// How long one trip may take.
    pub(super) patience: Duration,
    /// How long a batch waits for disks.
    pub(super) confirmed_within: Duration,
    /// Where writes must be.
    pub(super) disks: Option<Disks>,
    /// Connections that carry writes.
    pub(super) writers: usize,
}

struct Request {
    command: Cmd,
    /// It follows a redirection of a slot that is on its way.
    asking: bool,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Request>>,
    arrived: Notify,
}

/// The connections to one server. They end with this.
pub(super) struct Node {
    address: Address,
    writes: Arc<Queue>,
    reads: Arc<Queue>,
    _connections: DropGuard,
}

impl Node {
    /// Makes connections when they are needed, and keeps them in tasks.
    pub(super) fn new(address: Address, terms: &Terms, tasks: &TaskTracker) -> Self {
        let stop = CancellationToken::new();
        let (writes, reads) = (Arc::<Queue>::default(), Arc::<Queue>::default());
        let lanes = [(&writes, terms.writers, terms.disks), (&reads, READERS, None)];
        for (queue, number, disks) in lanes {
            for _ in 0..number {
                let lane = Lane {
                    address: address.clone(),
                    terms: terms.clone(),
                    disks,
                    queue: Arc::clone(queue),
                    connection: None,
                };
                tasks.spawn(lane.run(stop.clone()));
            }
        }
        Self { address, writes, reads, _connections: stop.drop_guard() }
    }

    /// Returns where it is.
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Does a command that writes, and answers when it is where it must be.
    pub(super) async fn write(&self, command: Cmd, asking: bool) -> Outcome {
        self.writes.send(command, asking).await
    }

    /// Does a command that only reads.
    pub(super) async fn read(&self, command: Cmd, asking: bool) -> Outcome {
        self.reads.send(command, asking).await
    }
}

// === impl Queue ===

impl Queue {
    async fn send(&self, command: Cmd, asking: bool) -> Outcome {
        let (answer, answered) = oneshot::channel();
        self.waiting().push_back(Request { command, asking, answer });
        self.arrived.notify_one();
        answered.await.unwrap_or(Err(Failure::Closed))
    }

    /// Takes what waits, as far as one batch goes; without what nobody waits for any more.
    fn take(&self) -> Vec<Request> {
        let mut waiting = self.waiting();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(request) = waiting.front() {
            let size: usize = request
                .command
                .args_iter()
                .map(|argument| match argument {
                    redis::Arg::Simple(bytes) => bytes.len(),
                    _ => 1,
                })
                .sum();
            if batch.len() == BATCH || (!batch.is_empty() && bytes + size > BATCH_BYTES) {
                // Another connection may take the rest meanwhile.
                self.arrived.notify_one();
                break;
            }
            if let Some(request) = waiting.pop_front()
                && !request.answer.is_closed()
            {
                bytes += size;
                batch.push(request);
            }
        }
        batch
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
struct Lane {
    address: Address,
    terms: Terms,
    disks: Option<Disks>,
    queue: Arc<Queue>,
    connection: Option<MultiplexedConnection>,
}

impl Lane {
    async fn run(mut self, stop: CancellationToken) {
        let work = async {
            loop {
                let batch = self.queue.take();
                if batch.is_empty() {
                    self.queue.arrived.notified().await;
                } else {
                    self.carry(batch).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Does a batch, and answers each of its commands.
    async fn carry(&mut self, batch: Vec<Request>) {
        let mut connection = match self.connected().await {
            Ok(connection) => connection,
            Err(error) => {
                let error = Arc::new(error);
                answer_all(batch, || Failure::Unreached(Arc::clone(&error)));
                return;
            }
        };
        let mut pipeline = Pipeline::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for Request { command, asking, answer } in batch {
            if asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(command);
            answers.push((asking, answer));
        }
        let number = pipeline.len();
        let values = match connection.req_packed_commands(&pipeline, 0, number).await {
            Ok(values) if values.len() == number => values,
            outcome => {
                let short = || RedisError::from((redis::ErrorKind::Parse, "fewer answers than commands"));
                let error = Arc::new(outcome.err().unwrap_or_else(short));
                self.connection = None;
                for (_, answer) in answers {
                    // Whoever does not wait any more does not want to know.
                    let _ = answer.send(Err(Failure::Unanswered(Arc::clone(&error))));
                }
                return;
            }
        };
        let mut values = values.into_iter();
        let mut done = Vec::with_capacity(answers.len());
        for (asking, answer) in answers {
            if asking {
                values.next();
            }
            match values.next().unwrap_or_default().extract_error() {
                Ok(value) => done.push((value, answer)),
                Err(error) => drop(answer.send(Err(Failure::Refused(error)))),
            }
        }
        if done.is_empty() {
            return;
        }
        let confirmed = match self.disks {
            None => Ok(()),
            Some(disks) => {
                self.confirm(&mut connection, disks, || done.iter().all(|(_, answer)| answer.is_closed())).await
            }
        };
        for (value, answer) in done {
            let _ = answer.send(match &confirmed {
                Ok(()) => Ok(value),
                Err(Lacking::Disks(disks)) => Err(Failure::Unconfirmed(*disks)),
                Err(Lacking::Answer(error)) => Err(Failure::Unanswered(Arc::clone(error))),
            });
        }
    }

    async fn connected(&mut self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.terms.patience));
        let connection = self.terms.access.connect(&self.address.0, self.address.1, config).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Waits until all that was written on a connection is on so many disks.
    async fn confirm(
        &mut self,
        connection: &mut MultiplexedConnection,
        disks: Disks,
        unneeded: impl Fn() -> bool,
    ) -> Result<(), Lacking> {
        let (waiting, mut asked_for) = (Stopwatch::start(), ASKED_FOR);
        loop {
            let mut question = Cmd::new();
            question.arg("WAITAOF").arg(disks.own).arg(disks.replicas);
            question.arg(u64::try_from(asked_for.as_millis()).unwrap_or(1));
            let answer = connection.req_packed_command(&question).await.and_then(Value::extract_error);
            let held = match answer.map(|answer| held(&answer)) {
                Ok(held) => held,
                Err(error) => {
                    // Also where the server has just become a replica: what it has done may be undone.
                    self.connection = None;
                    return Err(Lacking::Answer(Arc::new(error)));
                }
            };
            if held.own >= disks.own && held.replicas >= disks.replicas {
                return Ok(());
            }
            if waiting.elapsed() >= self.terms.confirmed_within || unneeded() {
                return Err(Lacking::Disks(held));
            }
            asked_for = (asked_for * 2).min(ASKED_FOR_LONGEST);
        }
    }
}

/// Why a batch is not known to be on disks.
enum Lacking {
    Disks(Disks),
    Answer(Arc<RedisError>),
}

/// Reads the answer to `WAITAOF`.
fn held(answer: &Value) -> Disks {
    match answer {
        Value::Array(numbers) => match **numbers {
            [Value::Int(own), Value::Int(replicas)] => Disks { own, replicas },
            _ => Disks { own: 0, replicas: 0 },
        },
        _ => Disks { own: 0, replicas: 0 },
    }
}

fn answer_all(batch: Vec<Request>, failure: impl Fn() -> Failure) {
    for request in batch {
        let _ = request.answer.send(Err(failure()));
    }
}
