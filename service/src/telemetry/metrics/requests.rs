//! Requests: counted in when they begin, and out when they are answered or abandoned.

use std::collections::HashMap;
use std::time::Duration;

use countersign_metrics::{ADMITTED, ADMITTED_LIMIT, REJECTIONS, REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT};
use countersign_protocol::problem::ProblemType;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::registered::Registrar;
use crate::http::route::Operation;

pub(super) struct RequestMetrics {
    operations: HashMap<Operation, OperationMetrics>,
    rejections: HashMap<ProblemType, IntCounter>,
    admitted: IntGaugeVec,
    admitted_limit: IntGaugeVec,
}

struct OperationMetrics {
    by_outcome: IntCounterVec,
    succeeded: IntCounter,
    duration: Histogram,
    in_flight: IntGauge,
}

impl RequestMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let requests = registrar.counters(&REQUESTS);
        let durations = registrar.histograms(&REQUEST_DURATION);
        let in_flight = registrar.gauges(&REQUESTS_IN_FLIGHT);
        let rejections = registrar.counters(&REJECTIONS);
        let of = |operation: Operation| {
            let name = operation.name();
            // A failure that has never happened is there with 0, so that the first one is an increase.
            for failure in countersign_metrics::FAILURES {
                requests.with_label_values(&[name, failure]);
            }
            OperationMetrics {
                succeeded: requests.with_label_values(&[name, "ok"]),
                by_outcome: requests.clone(),
                duration: durations.with_label_values(&[name]),
                in_flight: in_flight.with_label_values(&[name]),
            }
        };
        Self {
            operations: Operation::ALL.into_iter().map(|operation| (operation, of(operation))).collect(),
            rejections: ProblemType::ALL
                .iter()
                .map(|kind| (*kind, rejections.with_label_values(&[kind.name()])))
                .collect(),
            admitted: registrar.gauges(&ADMITTED),
            admitted_limit: registrar.gauges(&ADMITTED_LIMIT),
        }
    }
}

impl Metrics {
    /// Counts a request in.
    pub fn request_began(&self, operation: Operation) {
        if let Some(metrics) = self.requests.operations.get(&operation) {
            metrics.in_flight.inc();
        }
    }

    /// Counts an answered request out.
    pub fn request_ended(&self, operation: Operation, status: u16, problem: Option<ProblemType>, duration: Duration) {
        let Some(metrics) = self.requests.operations.get(&operation) else { return };
        metrics.in_flight.dec();
        metrics.duration.observe(duration.as_secs_f64());
        match problem {
            None if status < 400 => metrics.succeeded.inc(),
            None => metrics.by_outcome.with_label_values(&[operation.name(), "other"]).inc(),
            Some(kind) => {
                metrics.by_outcome.with_label_values(&[operation.name(), kind.name()]).inc();
                if let Some(counter) = self.requests.rejections.get(&kind) {
                    counter.inc();
                }
            }
        }
    }

    /// Counts out a request whose client went away before the answer.
    pub fn request_abandoned(&self, operation: Operation, duration: Duration) {
        let Some(metrics) = self.requests.operations.get(&operation) else { return };
        metrics.in_flight.dec();
        metrics.duration.observe(duration.as_secs_f64());
        metrics.by_outcome.with_label_values(&[operation.name(), "client-gone"]).inc();
    }

    /// Sets how many requests of a class are in work, and may be.
    pub fn admitted(&self, class: &'static str, in_work: usize, limit: usize) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.requests.admitted.with_label_values(&[class]).set(whole(in_work));
        self.requests.admitted_limit.with_label_values(&[class]).set(whole(limit));
    }
}
