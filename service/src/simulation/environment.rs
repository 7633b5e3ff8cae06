//! What all parts of a simulated world share: its true time, its choices, and which calls are about to go wrong.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use countersign_protocol::time::UnixMicros;

use super::choices::Choices;
use super::history::{Fate, Part};
use crate::clock::Clock;

/// When every story begins.
pub(crate) const BEGINNING: UnixMicros = UnixMicros(1_795_400_000_000_000);

#[derive(Debug)]
pub(crate) struct Environment {
    now: AtomicU64,
    choices: Mutex<Choices>,
    fates: Mutex<[Option<Fate>; 3]>,
}

impl Environment {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicU64::new(BEGINNING.0),
            choices: Mutex::new(Choices::new(0)),
            fates: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> UnixMicros {
        UnixMicros(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn wait(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// Begins the choices anew for an operation, so that it chooses the same whatever went before it.
    pub(crate) fn reseed(&self, seed: u64) {
        *self.choices.lock().unwrap() = Choices::new(seed);
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.choices.lock().unwrap().below(end)
    }

    /// Has the next call of a part go wrong.
    pub(crate) fn fail(&self, part: Part, fate: Fate) {
        self.fates.lock().unwrap()[part as usize] = Some(fate);
    }

    pub(crate) fn take_fate(&self, part: Part) -> Option<Fate> {
        self.fates.lock().unwrap()[part as usize].take()
    }

    pub(crate) fn forget_fates(&self) {
        *self.fates.lock().unwrap() = [None; 3];
    }
}

/// A clock that is wrong by some seconds.
#[derive(Debug)]
pub(crate) struct SkewedClock {
    environment: Arc<Environment>,
    /// Microseconds that it is ahead.
    ahead: AtomicI64,
}

impl SkewedClock {
    pub(crate) fn new(environment: &Arc<Environment>) -> Arc<Self> {
        Arc::new(Self { environment: Arc::clone(environment), ahead: AtomicI64::new(0) })
    }

    pub(crate) fn skew(&self, seconds: i64) {
        self.ahead.store(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> UnixMicros {
        UnixMicros(self.environment.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }
}
