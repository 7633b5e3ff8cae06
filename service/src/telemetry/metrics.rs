//! Every metric, in one struct. Labels are of fixed sets: operations, problems, names of calls; never an id.

use std::collections::HashMap;
use std::time::Duration;

use countersign_protocol::problem::ProblemType;
use prometheus::core::{Collector, GenericCounter, GenericGauge};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::delivery::DeliveryObserver;
use crate::delivery::listing::Listed;
use crate::http::route::Operation;
use crate::store::scylla::{StatementName, StatementObserver};

/// Upper bounds of the buckets of requests' durations, in seconds, with the objectives' edges 0.05 and 1 among them.
const REQUEST_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of the buckets of store calls' durations, in seconds.
const CALL_BUCKETS: [f64; 14] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The calls of the store that are timed, by the names of their methods.
pub const STORE_CALLS: [&str; 14] = [
    "append",
    "log",
    "put_user",
    "user",
    "users",
    "claim_place",
    "clients",
    "free_place",
    "put",
    "message",
    "items",
    "add_fetched",
    "fetched",
    "fetched_among",
];

/// The calls of the ephemeral store that are timed, by the names of their methods.
pub const EPHEMERAL_CALLS: [&str; 10] = [
    "begin_session",
    "session",
    "admit",
    "admit_password",
    "end_session",
    "end_sessions",
    "listing_state",
    "remember",
    "arrived",
    "wake_up",
];

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    operations: HashMap<Operation, OperationMetrics>,
    rejections: HashMap<ProblemType, IntCounter>,
    store_calls: HashMap<&'static str, CallMetrics>,
    ephemeral_calls: HashMap<&'static str, CallMetrics>,
    cql_statements: HashMap<StatementName, IntCounter>,
    items_listed: IntCounter,
    listings_empty: IntCounter,
    full_merges: IntCounter,
    hints_lost: IntCounter,
    derivations: IntCounter,
    reconciliations: IntCounter,
    stragglers: IntCounter,
    /// Public-key jobs that wait for a thread.
    pub public_key_waiting: IntGauge,
    /// Clients with a session or a nonce to remember, in this process.
    pub ephemeral_clients: IntGauge,
}

struct OperationMetrics {
    by_outcome: IntCounterVec,
    succeeded: IntCounter,
    duration: Histogram,
    in_flight: IntGauge,
}

struct CallMetrics {
    succeeded: Histogram,
    failed: Histogram,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Panics
    /// Never: names and labels are fixed and valid, as a test shows.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list of metrics")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new(
                "countersign_requests_total",
                "Requests that were answered, by operation and outcome: ok, a problem's name, or client-gone.",
            ),
            &["operation", "outcome"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "countersign_request_duration_seconds",
                "Time from a request's head to its answer, waiting listings included.",
            )
            .buckets(REQUEST_BUCKETS.to_vec()),
            &["operation"],
        );
        let in_flight =
            IntGaugeVec::new(Opts::new("countersign_requests_in_flight", "Requests in work."), &["operation"]);
        let rejections = IntCounterVec::new(
            Opts::new("countersign_rejections_total", "Requests that were refused, by problem."),
            &["reason"],
        );
        let calls = HistogramVec::new(
            HistogramOpts::new("countersign_store_call_duration_seconds", "Time of calls of the store.")
                .buckets(CALL_BUCKETS.to_vec()),
            &["call", "outcome"],
        );
        let ephemeral_calls = HistogramVec::new(
            HistogramOpts::new(
                "countersign_ephemeral_call_duration_seconds",
                "Time of calls of the ephemeral store, with those that this process's memory answers.",
            )
            .buckets(CALL_BUCKETS.to_vec()),
            &["call", "outcome"],
        );
        let requests = registered(&registry, requests);
        let durations = registered(&registry, durations);
        let in_flight = registered(&registry, in_flight);
        let rejections = registered(&registry, rejections);
        let calls = registered(&registry, calls);
        let ephemeral_calls = registered(&registry, ephemeral_calls);
        let counter = |name: &str, help: &str| registered(&registry, GenericCounter::new(name, help));
        let gauge = |name: &str, help: &str| registered(&registry, GenericGauge::new(name, help));

        let build = registered(
            &registry,
            IntGaugeVec::new(Opts::new("countersign_build_info", "Always 1; the version is a label."), &["version"]),
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self())).expect("the process is registered once");

        Self {
            operations: Operation::ALL
                .into_iter()
                .map(|operation| {
                    let name = operation.name();
                    let metrics = OperationMetrics {
                        succeeded: requests.with_label_values(&[name, "ok"]),
                        by_outcome: requests.clone(),
                        duration: durations.with_label_values(&[name]),
                        in_flight: in_flight.with_label_values(&[name]),
                    };
                    (operation, metrics)
                })
                .collect(),
            rejections: ProblemType::ALL
                .iter()
                .map(|kind| (*kind, rejections.with_label_values(&[kind.name()])))
                .collect(),
            store_calls: by_call(&STORE_CALLS, &calls),
            ephemeral_calls: by_call(&EPHEMERAL_CALLS, &ephemeral_calls),
            cql_statements: cql_statements(&registry),
            items_listed: counter("countersign_items_listed_total", "Items in listings."),
            listings_empty: counter(
                "countersign_listings_empty_total",
                "Looks for something new that found nothing.",
            ),
            full_merges: counter(
                "countersign_full_merges_total",
                "Listings that read the mailbox; the others knew from the arrivals what is new.",
            ),
            hints_lost: counter(
                "countersign_hints_lost_total",
                "Arrivals and hints that did not reach the ephemeral store; a message is then late, not lost.",
            ),
            derivations: counter(
                "countersign_lkg_derivations_total",
                "Listings that had to derive last known good from the beginning of retention.",
            ),
            reconciliations: counter(
                "countersign_reconciliations_total",
                "Listings that read from the beginning of retention because it was time to.",
            ),
            stragglers: counter(
                "countersign_stragglers_total",
                "Messages found behind last known good: the inconsistent window is too short for this cluster.",
            ),
            public_key_waiting: gauge(
                "countersign_public_key_jobs_waiting",
                "Public-key jobs that wait for a thread.",
            ),
            ephemeral_clients: gauge(
                "countersign_ephemeral_clients",
                "Clients with a session or a nonce to remember, in this process.",
            ),
            registry,
        }
    }

    /// Counts a request in.
    pub fn request_began(&self, operation: Operation) {
        if let Some(metrics) = self.operations.get(&operation) {
            metrics.in_flight.inc();
        }
    }

    /// Counts an answered request out.
    pub fn request_ended(&self, operation: Operation, status: u16, problem: Option<ProblemType>, duration: Duration) {
        let Some(metrics) = self.operations.get(&operation) else { return };
        metrics.in_flight.dec();
        metrics.duration.observe(duration.as_secs_f64());
        match problem {
            None if status < 400 => metrics.succeeded.inc(),
            None => metrics.by_outcome.with_label_values(&[operation.name(), "other"]).inc(),
            Some(kind) => {
                metrics.by_outcome.with_label_values(&[operation.name(), kind.name()]).inc();
                if let Some(counter) = self.rejections.get(&kind) {
                    counter.inc();
                }
            }
        }
    }

    /// Counts out a request whose client went away before the answer.
    pub fn request_abandoned(&self, operation: Operation, duration: Duration) {
        let Some(metrics) = self.operations.get(&operation) else { return };
        metrics.in_flight.dec();
        metrics.duration.observe(duration.as_secs_f64());
        metrics.by_outcome.with_label_values(&[operation.name(), "client-gone"]).inc();
    }

    /// Times a call of the store.
    pub fn store_call(&self, call: &'static str, succeeded: bool, duration: Duration) {
        if let Some(metrics) = self.store_calls.get(call) {
            metrics.observe(succeeded, duration);
        }
    }

    /// Times a call of the ephemeral store.
    pub fn ephemeral_call(&self, call: &'static str, succeeded: bool, duration: Duration) {
        if let Some(metrics) = self.ephemeral_calls.get(call) {
            metrics.observe(succeeded, duration);
        }
    }

    /// Writes all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// If a metric cannot be written, which would be a fault of this module.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl DeliveryObserver for Metrics {
    fn hint_lost(&self) {
        self.hints_lost.inc();
    }

    fn listed(&self, listed: &Listed) {
        if listed.items.is_empty() {
            self.listings_empty.inc();
        }
        self.items_listed.inc_by(listed.items.len() as u64);
        self.stragglers.inc_by(listed.stragglers as u64);
        if listed.hints.merged.is_some() {
            self.full_merges.inc();
        }
        if listed.derived {
            self.derivations.inc();
        }
        if listed.reconciled {
            self.reconciliations.inc();
        }
        if listed.stragglers > 0 {
            tracing::warn!(
                stragglers = listed.stragglers,
                "messages became visible later than the inconsistent window: it is too short for this cluster"
            );
        }
    }
}

impl StatementObserver for Metrics {
    fn executing(&self, statement: StatementName) {
        if let Some(counter) = self.cql_statements.get(&statement) {
            counter.inc();
        }
    }
}

impl CallMetrics {
    fn observe(&self, succeeded: bool, duration: Duration) {
        let histogram = if succeeded { &self.succeeded } else { &self.failed };
        histogram.observe(duration.as_secs_f64());
    }
}

fn by_call(calls: &[&'static str], durations: &HistogramVec) -> HashMap<&'static str, CallMetrics> {
    let metrics = |call: &'static str| CallMetrics {
        succeeded: durations.with_label_values(&[call, "ok"]),
        failed: durations.with_label_values(&[call, "error"]),
    };
    calls.iter().map(|call| (*call, metrics(call))).collect()
}

fn cql_statements(registry: &Registry) -> HashMap<StatementName, IntCounter> {
    let counters = IntCounterVec::new(
        Opts::new(
            "countersign_cql_statements_total",
            "Statements sent to a store in CQL; each page of a read and each batch counts as one.",
        ),
        &["statement"],
    );
    let counters = registered(registry, counters);
    StatementName::ALL.into_iter().map(|name| (name, counters.with_label_values(&[name.label()]))).collect()
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("names and labels are valid");
    registry.register(Box::new(metric.clone())).expect("each metric is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_exported() {
        let metrics = Metrics::new();
        metrics.request_began(Operation::SendMessage);
        metrics.request_ended(Operation::SendMessage, 201, None, Duration::from_millis(3));
        metrics.request_began(Operation::SendMessage);
        metrics.request_ended(Operation::SendMessage, 422, Some(ProblemType::WrongId), Duration::from_millis(1));
        metrics.request_began(Operation::ListMessages);
        metrics.request_abandoned(Operation::ListMessages, Duration::from_secs(9));
        metrics.store_call("put", true, Duration::from_millis(1));
        metrics.ephemeral_call("admit", false, Duration::from_millis(1));

        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();

        for line in [
            r#"countersign_requests_total{operation="send_message",outcome="ok"} 1"#,
            r#"countersign_requests_total{operation="send_message",outcome="wrong-id"} 1"#,
            r#"countersign_requests_total{operation="list_messages",outcome="client-gone"} 1"#,
            r#"countersign_rejections_total{reason="wrong-id"} 1"#,
            r#"countersign_requests_in_flight{operation="send_message"} 0"#,
            r#"countersign_store_call_duration_seconds_count{call="put",outcome="ok"} 1"#,
            r#"countersign_ephemeral_call_duration_seconds_count{call="admit",outcome="error"} 1"#,
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is missing");
        }
    }
}
