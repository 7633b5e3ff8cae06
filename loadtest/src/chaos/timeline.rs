//! What happened when: faults as they begin and end, and how the ledger fared, once in a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Stopwatch;
use crate::ledger::Progress;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in milliseconds after the plan began.
    pub at: u64,
    /// What, in words.
    pub what: String,
}

/// How the ledger fared at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When, in milliseconds after the plan began.
    pub at: u64,
    /// Items promised so far.
    pub accepted: u64,
    /// Deliveries done so far.
    pub delivered: u64,
    /// Deliveries still to come.
    pub outstanding: u64,
    /// Attempts that had to be repeated so far.
    pub repeated: u64,
}

/// The timeline of a run.
#[derive(Clone, Debug)]
pub struct Timeline {
    watch: Stopwatch,
    events: Arc<Mutex<Vec<Event>>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { watch: Stopwatch::start(), events: Arc::default(), samples: Arc::default() }
    }

    /// Returns the time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes what is done, and says it.
    pub fn note(&self, what: impl Into<String>) {
        let event = Event { at: self.millis(), what: what.into() };
        tracing::info!("{:>7.1} s  {}", self.elapsed().as_secs_f64(), event.what);
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Notes how the ledger fares.
    pub fn sample(&self, progress: &Progress) {
        let sample = Sample {
            at: self.millis(),
            accepted: progress.accepted,
            delivered: progress.delivered,
            outstanding: progress.outstanding(),
            repeated: progress.again.values().sum(),
        };
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }

    /// Returns all events and samples.
    #[must_use]
    pub fn all(&self) -> (Vec<Event>, Vec<Sample>) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (events, self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
