//! The life of a process: signals, readiness, draining.
//!
//! On SIGTERM: not ready at once; serve on through the drain delay, until every load balancer knows; then stop
//! accepting, answer waiting listings early, finish what has begun, and end. SIGINT, from a person, skips the delay. A second
//! signal ends at once.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether the process takes requests.
#[derive(Debug, Default)]
pub struct Readiness {
    state: AtomicU8,
    waiting_for: Mutex<Option<String>>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Says, in words for people, what the process waits for before it is ready.
    pub fn waits_for(&self, what: String) {
        *self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Says that all is up.
    pub fn ready(&self) {
        // A process that is already draining stays so.
        let _ = self.state.compare_exchange(STARTING, READY, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Says that the process is about to end.
    pub fn drain(&self) {
        self.state.store(DRAINING, Ordering::SeqCst);
    }

    /// Tells whether the process takes requests; in words for people.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self) -> Result<&'static str, String> {
        match self.state.load(Ordering::SeqCst) {
            READY => Ok("ready"),
            DRAINING => Err("draining".to_owned()),
            _ => {
                let waiting_for = self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner);
                Err(waiting_for.as_ref().map_or_else(|| "starting".to_owned(), |what| format!("starting: {what}")))
            }
        }
    }
}

/// The signal that asked the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: from a supervisor, which tells load balancers at the same time.
    Supervisor,
    /// SIGINT: from a person.
    Person,
}

/// The signals that a process listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen; from now on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Supervisor,
            _ = self.interrupt.recv() => Stop::Person,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_only_between_start_and_drain() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Err("starting".to_owned()));
        readiness.waits_for("the store".to_owned());
        assert_eq!(readiness.check(), Err("starting: the store".to_owned()));
        readiness.ready();
        assert_eq!(readiness.check(), Ok("ready"));
        readiness.drain();
        readiness.ready();
        assert_eq!(readiness.check(), Err("draining".to_owned()));
    }
}
