//! Runs `OpenPGP` work on threads of its own, so that public-key work never starves requests that need none.
//!
//! Owns: a few threads of low priority, and a queue with a limit. Beyond the limit work is refused at once: the
//! caller's client comes back later, which is better than an answer after its patience is over.
//! Refuses to know: what the work is.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Stopwatch;

/// Niceness of the threads: on a busy machine they get about a tenth of what a thread of normal priority gets.
const NICENESS: i32 = 10;

/// A job in the queue. It tells whether somebody waited for it still.
struct Job {
    work: Box<dyn FnOnce() -> bool + Send>,
    queued: Stopwatch,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// It was done.
    Done,
    /// It was left out, since nobody waited for it any more.
    Abandoned,
    /// It panicked.
    Broken,
    /// It was refused, since the queue was full.
    Refused,
}

impl JobOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Abandoned, Self::Broken, Self::Refused];
}

/// Told of each job.
pub trait PoolObserver: Send + Sync {
    /// A job ended: how long it waited for a thread, and how long it ran.
    fn ended(&self, _outcome: JobOutcome, _waited: Duration, _worked: Duration) {}
}

/// Nobody who listens.
struct Unobserved;

impl PoolObserver for Unobserved {}

/// The work was refused, since as much as allowed waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full.
    #[error("too much public-key work is waiting")]
    Full,
    /// The work panicked, or the process is about to end.
    #[error("the public-key work did not come to its end")]
    Broken,
}

/// The pool. Cloning it is cheap; its threads end when the last clone is dropped.
#[derive(Clone)]
pub struct PublicKeyPool {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    threads: usize,
    observer: Arc<dyn PoolObserver>,
    /// Work is done by its caller, at once: so that a simulation has one thread.
    #[cfg(test)]
    inline: bool,
}

impl PublicKeyPool {
    /// Makes a pool without threads, which does work at once.
    #[cfg(test)]
    pub(crate) fn inline() -> Self {
        let (jobs, waiting) = (mpsc::channel(1).0, Arc::default());
        Self { jobs, waiting, threads: 0, observer: Arc::new(Unobserved), inline: true }
    }

    /// Starts `threads` threads, for which at most `queue` jobs may wait.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start(threads: NonZeroUsize, queue: NonZeroUsize) -> std::io::Result<Self> {
        Self::start_observed(threads, queue, Arc::new(Unobserved))
    }

    /// The same, with somebody who is told of each job.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start_observed(
        threads: NonZeroUsize,
        queue: NonZeroUsize,
        observer: Arc<dyn PoolObserver>,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel::<Job>(queue.get());
        let receiver = Arc::new(std::sync::Mutex::new(receiver));
        let waiting = Arc::new(AtomicUsize::new(0));
        for number in 0..threads.get() {
            let receiver = Arc::clone(&receiver);
            let (waiting, observer) = (Arc::clone(&waiting), Arc::clone(&observer));
            let run = move || {
                lower_priority();
                loop {
                    let job = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).blocking_recv();
                    let Some(Job { work, queued }) = job else { return };
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    let (waited, working) = (queued.elapsed(), Stopwatch::start());
                    // A job that panics drops its answer, which its caller sees; the thread goes on.
                    let outcome = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                        Ok(true) => JobOutcome::Done,
                        Ok(false) => JobOutcome::Abandoned,
                        Err(_) => JobOutcome::Broken,
                    };
                    observer.ended(outcome, waited, working.elapsed());
                }
            };
            std::thread::Builder::new().name(format!("public-key-{number}")).spawn(run)?;
        }
        Ok(Self {
            jobs,
            waiting,
            threads: threads.get(),
            observer,
            #[cfg(test)]
            inline: false,
        })
    }

    /// Runs work on the pool and waits for its outcome. Dropping the future does not stop work that has begun.
    ///
    /// # Errors
    /// [`PoolError::Full`] at once if too much waits already; [`PoolError::Broken`] if the work panicked.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "public-key work", skip_all)]
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolError> {
        #[cfg(test)]
        if self.inline {
            return Ok(work());
        }
        let (answer, outcome) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody waits for the answer any more: the work would be for nothing.
            let awaited = !answer.is_closed();
            if awaited {
                let _ = answer.send(work());
            }
            awaited
        });
        let job = Job { work, queued: Stopwatch::start() };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(job).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.observer.ended(JobOutcome::Refused, Duration::ZERO, Duration::ZERO);
            return Err(PoolError::Full);
        }
        outcome.await.map_err(|_| PoolError::Broken)
    }

    /// Returns how many jobs wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns how many threads work.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.threads
    }
}

/// Asks the system for a low priority of this thread. Where it refuses, work goes on at the normal one.
fn lower_priority() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(%error, "the public-key pool runs at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use super::*;

    fn pool(queue: usize) -> PublicKeyPool {
        let one = NonZeroUsize::MIN;
        PublicKeyPool::start(one, NonZeroUsize::new(queue).unwrap_or(one)).expect("threads can be started")
    }

    #[tokio::test]
    async fn work_comes_back_with_its_outcome() {
        assert_eq!(pool(1).run(|| 6 * 7).await, Ok(42));
    }

    #[tokio::test]
    async fn work_beyond_the_queue_is_refused_at_once() {
        let pool = pool(1);
        let (started, has_started) = blocking::channel();
        let (release, released) = blocking::channel::<()>();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(move || {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                })
                .await
            }
        });
        tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap();

        let mut waiting = Box::pin(pool.run(|| ()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(pool.waiting(), 1);
        assert_eq!(pool.run(|| ()).await, Err(PoolError::Full));

        release.send(()).unwrap();
        assert_eq!(waiting.await, Ok(()));
        assert_eq!(running.await.unwrap(), Ok(()));
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn a_panic_breaks_one_job_and_no_more() {
        let pool = pool(1);

        let broken: Result<(), PoolError> = pool.run(|| std::panic::resume_unwind(Box::new("on purpose"))).await;

        assert_eq!(broken, Err(PoolError::Broken));
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }
}
