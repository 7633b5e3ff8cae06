//! Times the calls of whatever it wraps, and gives each a span of its trace: the stores' traits are implemented for it next door.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::metrics::Metrics;
use crate::clock::Stopwatch;

/// A store whose calls are timed, and where their times go.
pub(super) struct Measured<T: ?Sized> {
    pub(super) inner: Arc<T>,
    /// What is called, for traces.
    pub(super) system: &'static str,
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
        let span = tracing::trace_span!(
            target: "countersign::trace",
            "call",
            otel.name = format_args!("{} {call}", self.system),
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = self.system,
            db.operation.name = call,
        );
        let stopwatch = Stopwatch::start();
        let outcome = work.instrument(span.clone()).await;
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        (self.record)(&self.metrics, call, outcome.is_ok(), stopwatch.elapsed());
        outcome
    }
}
