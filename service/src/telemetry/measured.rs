//! Times the calls of whatever it wraps: the stores' traits are implemented for it next door.

use std::sync::Arc;
use std::time::Duration;

use super::metrics::Metrics;
use crate::clock::Stopwatch;

/// A store whose calls are timed, and where their times go.
pub(super) struct Measured<T: ?Sized> {
    pub(super) inner: Arc<T>,
    pub(super) metrics: Arc<Metrics>,
    /// Records a call by its name, whether it succeeded, and how long it took.
    pub(super) record: fn(&Metrics, &'static str, bool, Duration),
}

impl<T: ?Sized> Measured<T> {
    pub(super) async fn time<O, E>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<O, E>> + Send,
    ) -> Result<O, E> {
        let stopwatch = Stopwatch::start();
        let outcome = work.await;
        (self.record)(&self.metrics, call, outcome.is_ok(), stopwatch.elapsed());
        outcome
    }
}
