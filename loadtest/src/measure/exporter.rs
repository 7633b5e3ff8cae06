//! The run as Prometheus sees it, by the names that `countersign-metrics` declares.

use std::time::Duration;

use anyhow::Result;
use countersign_metrics::{
    LOADTEST_DURATION, LOADTEST_LATE, LOADTEST_LOST, LOADTEST_OFFERED, LOADTEST_REQUESTS, LOADTEST_SCHEDULE_LAG,
    Metric,
};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::summary::Delivered;
use crate::ledger::Progress;
use crate::wire::{Ending, Operation};

/// The metrics of a run.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
    offered: IntCounterVec,
    requests: IntCounterVec,
    lag: Histogram,
    duration: HistogramVec,
    lost: IntGauge,
    late: IntGauge,
}

fn buckets(metric: &Metric) -> HistogramOpts {
    HistogramOpts::new(metric.name, metric.help).buckets(metric.buckets.to_vec())
}

impl Exporter {
    /// Registers everything. Every series is there from the start, so that its rate is known from the first event on.
    ///
    /// # Errors
    /// Never: names are valid and all different.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let counters = |metric: &Metric, labels: &[&str]| -> Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(metric.name, metric.help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let gauge = |metric: &Metric| -> Result<IntGauge> {
            let gauge = IntGauge::new(metric.name, metric.help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let lag = Histogram::with_opts(buckets(&LOADTEST_SCHEDULE_LAG))?;
        registry.register(Box::new(lag.clone()))?;
        let duration = HistogramVec::new(buckets(&LOADTEST_DURATION), &["operation"])?;
        registry.register(Box::new(duration.clone()))?;
        let exporter = Self {
            offered: counters(&LOADTEST_OFFERED, &["operation"])?,
            requests: counters(&LOADTEST_REQUESTS, &["operation", "outcome"])?,
            lost: gauge(&LOADTEST_LOST)?,
            late: gauge(&LOADTEST_LATE)?,
            lag,
            duration,
            registry,
        };
        for operation in Operation::ALL {
            exporter.offered.with_label_values(&[operation.name()]);
            exporter.duration.with_label_values(&[operation.name()]);
            for ending in Ending::ALL {
                exporter.requests.with_label_values(&[operation.name(), ending.name()]);
            }
        }
        Ok(exporter)
    }

    pub(super) fn attempted(&self, operation: Operation, ending: Ending, took: Duration, waited: bool) {
        self.requests.with_label_values(&[operation.name(), ending.name()]).inc();
        // Messages are offered by the schedule; all else when it is asked for.
        if operation != Operation::SendMessage {
            self.offered.with_label_values(&[operation.name()]).inc();
            if !waited {
                self.duration.with_label_values(&[operation.name()]).observe(took.as_secs_f64());
            }
        }
    }

    pub(super) fn began(&self, lag: Duration) {
        self.lag.observe(lag.as_secs_f64());
    }

    pub(super) fn promised(&self, after: Duration) {
        self.duration.with_label_values(&[Operation::SendMessage.name()]).observe(after.as_secs_f64());
    }

    /// Takes note of how many messages were due by now.
    pub fn offered(&self, progress: &Progress) {
        let offered = self.offered.with_label_values(&[Operation::SendMessage.name()]);
        offered.inc_by((progress.offered + progress.skipped).saturating_sub(offered.get()));
    }

    /// Takes note of what the ledger found.
    pub fn judged(&self, delivered: &Delivered) {
        self.lost.set(i64::try_from(delivered.lost).unwrap_or(i64::MAX));
        self.late.set(i64::try_from(delivered.late).unwrap_or(i64::MAX));
    }

    /// Writes all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use countersign_metrics::{LOADTEST_OPERATIONS, LOADTEST_OUTCOMES};

    use super::*;

    #[test]
    fn what_is_exported_is_what_is_declared() {
        let exporter = Exporter::new().unwrap();
        exporter.attempted(Operation::SendMessage, Ending::Ok, Duration::from_millis(3), false);
        exporter.promised(Duration::from_millis(4));
        exporter.offered(&Progress { offered: 5, skipped: 1, ..Progress::default() });
        exporter.offered(&Progress { offered: 6, skipped: 1, ..Progress::default() });

        let text = String::from_utf8(exporter.encode().unwrap()).unwrap();

        assert_eq!(Operation::ALL.map(Operation::name), *LOADTEST_OPERATIONS);
        assert_eq!(Ending::ALL.map(Ending::name), *LOADTEST_OUTCOMES);
        for line in [
            "countersign_loadtest_requests_offered_total{operation=\"send_message\"} 7",
            "countersign_loadtest_requests_total{operation=\"send_message\",outcome=\"ok\"} 1",
            "countersign_loadtest_request_duration_seconds_bucket{operation=\"send_message\",le=\"0.005\"} 1",
            "countersign_loadtest_messages_lost 0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
        }
    }
}
