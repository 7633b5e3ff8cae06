//! Is told of each attempt while a run goes on, and sums up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::exporter::Exporter;
use super::latencies::Latencies;
use super::summary::{OperationSummary, Second};
use crate::clock::Stopwatch;
use crate::wire::{Ending, Observer, Operation};

/// The part of a run that is in its totals, after its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub from: Duration,
    /// Until then.
    pub until: Duration,
}

/// Counts.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    exporter: Option<Arc<Exporter>>,
    inner: Mutex<Inner>,
}

/// What was recorded within the window, and each second of the whole run.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub(super) operations: [OperationSummary; 6],
    pub(super) send: Latencies,
    pub(super) lag: Latencies,
    pub(super) skipped_checks: u64,
    pub(super) seconds: Vec<Second>,
}

#[derive(Debug, Default)]
struct Inner {
    watch: Option<Stopwatch>,
    recorded: Recorded,
    /// Messages of the second that runs.
    current: Option<(usize, Latencies)>,
}

impl Inner {
    /// Returns the second that a time is in.
    fn second(&mut self, at: Duration) -> &mut Second {
        let number = usize::try_from(at.as_secs()).unwrap_or(0);
        let seconds = &mut self.recorded.seconds;
        while seconds.len() <= number {
            seconds.push(Second { second: u64::try_from(seconds.len()).unwrap_or(0), ..Second::default() });
        }
        // It was pushed just now, if it was not there.
        &mut seconds[number]
    }

    /// Takes a message into the histogram of its second.
    fn take(&mut self, at: Duration, took: Duration) {
        let number = usize::try_from(at.as_secs()).unwrap_or(0);
        if self.current.as_ref().is_none_or(|(current, _)| *current != number) {
            self.settle();
            self.current = Some((number, Latencies::new(2)));
        }
        if let Some((_, latencies)) = &mut self.current {
            latencies.record(took);
        }
    }

    fn settle(&mut self) {
        if let Some((number, latencies)) = self.current.take() {
            self.second(Duration::from_secs(u64::try_from(number).unwrap_or(0))).send.add(&latencies);
        }
    }
}

impl Recorder {
    /// Makes one that has not begun: sessions that are opened before the run do not count.
    #[must_use]
    pub fn new(window: Window, exporter: Option<Arc<Exporter>>) -> Self {
        Self { window, exporter, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run starts.
    pub fn begin(&self) {
        self.inner().watch = Some(Stopwatch::start());
    }

    /// Returns what was recorded so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let mut inner = self.inner();
        inner.settle();
        inner.recorded.clone()
    }

    /// Returns a second that is over.
    #[must_use]
    pub fn second(&self, number: u64) -> Second {
        let mut inner = self.inner();
        inner.settle();
        inner.second(Duration::from_secs(number)).clone()
    }

    fn counts(&self, at: Duration) -> bool {
        (self.window.from..self.window.until).contains(&at)
    }
}

impl Observer for Recorder {
    fn attempted(&self, operation: Operation, ending: Ending, took: Duration, waited: bool) {
        if let Some(exporter) = &self.exporter {
            exporter.attempted(operation, ending, took, waited);
        }
        let mut inner = self.inner();
        let Some(watch) = inner.watch else { return };
        let at = watch.elapsed();
        let second = inner.second(at);
        let place = operation.index();
        if let Some(count) = second.done.get_mut(place) {
            *count += u64::from(ending == Ending::Ok);
        }
        second.failed += u64::from(ending != Ending::Ok);
        if operation == Operation::SendMessage {
            second.send_duration += took.as_secs_f64();
        }
        if !self.counts(at) {
            return;
        }
        if let Some(summary) = inner.recorded.operations.get_mut(place) {
            if let Some(count) = summary.endings.get_mut(ending.index()) {
                *count += 1;
            }
            if ending == Ending::Ok && !waited {
                summary.service.record(took);
            }
        }
    }

    fn began(&self, lag: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.began(lag);
        }
        let mut inner = self.inner();
        if inner.watch.is_some_and(|watch| self.counts(watch.elapsed())) {
            inner.recorded.lag.record(lag);
        }
    }

    fn promised(&self, after: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.promised(after);
        }
        let mut inner = self.inner();
        let Some(watch) = inner.watch else { return };
        let at = watch.elapsed();
        inner.take(at, after);
        if self.counts(at) {
            inner.recorded.send.record(after);
        }
    }

    fn skipped_checks(&self, count: u64) {
        self.inner().recorded.skipped_checks += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_before_the_window_is_in_its_second_and_in_no_total() {
        let hour = Duration::from_hours(1);
        let record = |window| {
            let recorder = Recorder::new(window, None);
            recorder.attempted(Operation::RequestSessionKey, Ending::Ok, hour, false);
            recorder.begin();
            recorder.attempted(Operation::SendMessage, Ending::Ok, Duration::from_millis(3), false);
            recorder.attempted(Operation::ListMessages, Ending::Ok, hour, true);
            recorder.attempted(Operation::ListMessages, Ending::Failed, hour, false);
            recorder.promised(Duration::from_millis(4));
            recorder.recorded()
        };

        let (before, within) =
            (record(Window { from: hour, until: hour * 2 }), record(Window { from: Duration::ZERO, until: hour }));

        assert_eq!(before.operations[1].endings, [0; 4]);
        assert_eq!((before.send.count(), before.seconds[0].done[1]), (0, 1));
        assert_eq!(within.operations[0].endings, [0; 4], "sessions before the start do not count");
        assert_eq!(within.operations[1].endings, [1, 0, 0, 0]);
        assert_eq!(within.operations[2].endings, [1, 0, 1, 0]);
        assert_eq!(within.operations[2].service.count(), 0, "a long poll takes as long as nothing is new");
        assert_eq!((within.send.count(), within.seconds[0].send.count(), within.seconds[0].failed), (1, 1, 1));
    }
}
