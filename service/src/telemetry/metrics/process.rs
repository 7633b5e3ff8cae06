//! The process and its runtime. Read when somebody reads the metrics: nothing is counted on the way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_metrics::{BUILD_INFO, READY, RUNTIME_BUSY, RUNTIME_QUEUE, RUNTIME_TASKS, RUNTIME_WORKERS};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Counter, IntGauge};
use tokio::runtime::RuntimeMetrics;

use super::Metrics;
use super::registered::Registrar;

pub(super) struct ProcessMetrics {
    ready: IntGauge,
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Counter,
    /// How much of the busy time is in the counter.
    counted: Mutex<Duration>,
}

impl ProcessMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let revision = option_env!("COUNTERSIGN_REVISION").unwrap_or("unknown");
        registrar.gauges(&BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        registrar.0.register(Box::new(ProcessCollector::for_self())).expect("the process is registered once");
        Self {
            ready: registrar.gauge(&READY),
            workers: registrar.gauge(&RUNTIME_WORKERS),
            tasks: registrar.gauge(&RUNTIME_TASKS),
            queue: registrar.gauge(&RUNTIME_QUEUE),
            busy: registrar.amount(&RUNTIME_BUSY),
            counted: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Sets whether the process is ready for requests.
    pub fn ready(&self, ready: bool) {
        self.process.ready.set(ready.into());
    }

    /// Takes over what the runtime says of itself.
    pub fn runtime(&self, runtime: &RuntimeMetrics) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let metrics = &self.process;
        metrics.workers.set(whole(runtime.num_workers()));
        metrics.tasks.set(whole(runtime.num_alive_tasks()));
        metrics.queue.set(whole(runtime.global_queue_depth()));
        let busy: Duration =
            (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        let mut counted = metrics.counted.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.busy.inc_by(busy.saturating_sub(*counted).as_secs_f64());
        *counted = busy.max(*counted);
    }
}
