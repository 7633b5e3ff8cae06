//! The process and its runtime. Read when somebody reads the metrics: nothing is counted on the way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_metrics::{
    BUILD_INFO, PROCESS_CPU, READY, RUNTIME_BUSY, RUNTIME_QUEUE, RUNTIME_TASKS, RUNTIME_WORKERS,
};
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::RuntimeMetrics;

use super::Metrics;
use super::registered::Registrar;

pub(super) struct ProcessMetrics {
    ready: IntGauge,
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Total,
    cpu: Total,
}

/// A time that somebody else adds up, as a counter.
struct Total {
    counter: Counter,
    /// How much of it is in the counter.
    counted: Mutex<Duration>,
}

impl Total {
    fn of(counter: Counter) -> Self {
        Self { counter, counted: Mutex::default() }
    }

    fn reach(&self, total: Duration) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.counter.inc_by(total.saturating_sub(*counted).as_secs_f64());
        *counted = total.max(*counted);
    }
}

/// What the library collects of the process, without the CPU time, which it counts in whole seconds.
struct ExceptCpu(ProcessCollector);

impl Collector for ExceptCpu {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc().into_iter().filter(|description| description.fq_name != PROCESS_CPU.name).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect().into_iter().filter(|family| family.name() != PROCESS_CPU.name).collect()
    }
}

impl ProcessMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let revision = option_env!("COUNTERSIGN_REVISION").unwrap_or("unknown");
        registrar.gauges(&BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        registrar
            .0
            .register(Box::new(ExceptCpu(ProcessCollector::for_self())))
            .expect("the process is registered once");
        Self {
            ready: registrar.gauge(&READY),
            workers: registrar.gauge(&RUNTIME_WORKERS),
            tasks: registrar.gauge(&RUNTIME_TASKS),
            queue: registrar.gauge(&RUNTIME_QUEUE),
            busy: Total::of(registrar.amount(&RUNTIME_BUSY)),
            cpu: Total::of(registrar.amount(&PROCESS_CPU)),
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
        metrics.busy.reach(busy);
    }

    /// Takes over how much CPU time the process has taken.
    pub fn cpu(&self) {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let whole = u64::try_from(time.tv_sec).unwrap_or_default();
        self.process.cpu.reach(Duration::from_secs(whole) + Duration::from_nanos(time.tv_nsec.unsigned_abs()));
    }
}
