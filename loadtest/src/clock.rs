//! Time as a parameter: the wall clock is the client library's; this adds how long something takes. The only place that
//! reads the system's monotonic clock.

use std::time::{Duration, Instant};

pub use countersign_client::clock::{Clock, SystemClock};

/// CPU time that this process has used, by all of its threads.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// Reads it.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(rustix::time::ClockId::ProcessCPUTime)
    }

    /// Reads that of the calling thread alone.
    #[must_use]
    pub fn of_thread() -> Self {
        Self::of(rustix::time::ClockId::ThreadCPUTime)
    }

    fn of(clock: rustix::time::ClockId) -> Self {
        let time = rustix::time::clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Self(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
    }

    /// Returns what was used since an earlier reading.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Measures how long something takes, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0)
    }
}
