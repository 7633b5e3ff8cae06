//! What the service asks of others: the store, the ephemeral store, and their servers.

use std::collections::HashMap;
use std::time::Duration;

use countersign_metrics::{
    CQL_STATEMENTS, EPHEMERAL_CALL_DURATION, EPHEMERAL_CLIENTS, Metric, STORE_CALL_DURATION, VALKEY_COMMAND_DURATION,
    VALKEY_COMMANDS,
};
use prometheus::{Histogram, IntCounter, IntGauge};

use super::Metrics;
use super::registered::{Registrar, values};
use crate::ephemeral::valkey::CommandObserver;
use crate::store::scylla::{StatementName, StatementObserver};

pub(super) struct DependencyMetrics {
    store_calls: Calls,
    ephemeral_calls: Calls,
    cql_statements: HashMap<StatementName, IntCounter>,
    valkey_commands: [IntCounter; 2],
    valkey_duration: Histogram,
    pub(super) ephemeral_clients: IntGauge,
}

type Calls = HashMap<&'static str, CallMetrics>;

struct CallMetrics {
    succeeded: Histogram,
    failed: Histogram,
}

impl DependencyMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let statements = registrar.counters(&CQL_STATEMENTS);
        let commands = registrar.counters(&VALKEY_COMMANDS);
        Self {
            store_calls: calls(registrar, &STORE_CALL_DURATION),
            ephemeral_calls: calls(registrar, &EPHEMERAL_CALL_DURATION),
            cql_statements: StatementName::ALL
                .into_iter()
                .map(|name| (name, statements.with_label_values(&[name.label()])))
                .collect(),
            valkey_commands: ["ok", "error"].map(|outcome| commands.with_label_values(&[outcome])),
            valkey_duration: registrar.histogram(&VALKEY_COMMAND_DURATION),
            ephemeral_clients: registrar.gauge(&EPHEMERAL_CLIENTS),
        }
    }
}

fn calls(registrar: &Registrar<'_>, metric: &Metric) -> Calls {
    let durations = registrar.histograms(metric);
    let of = |call: &'static str| CallMetrics {
        succeeded: durations.with_label_values(&[call, "ok"]),
        failed: durations.with_label_values(&[call, "error"]),
    };
    values(metric).iter().map(|call| (*call, of(call))).collect()
}

fn observe(calls: &Calls, call: &'static str, succeeded: bool, duration: Duration) {
    if let Some(metrics) = calls.get(call) {
        let histogram = if succeeded { &metrics.succeeded } else { &metrics.failed };
        histogram.observe(duration.as_secs_f64());
    }
}

impl Metrics {
    /// Times a call of the store.
    pub fn store_call(&self, call: &'static str, succeeded: bool, duration: Duration) {
        observe(&self.dependencies.store_calls, call, succeeded, duration);
    }

    /// Times a call of the ephemeral store.
    pub fn ephemeral_call(&self, call: &'static str, succeeded: bool, duration: Duration) {
        observe(&self.dependencies.ephemeral_calls, call, succeeded, duration);
    }

    /// Sets how many clients the ephemeral store remembers in this process.
    pub fn ephemeral_clients(&self, clients: usize) {
        self.dependencies.ephemeral_clients.set(i64::try_from(clients).unwrap_or(i64::MAX));
    }
}

impl StatementObserver for Metrics {
    fn executing(&self, statement: StatementName) {
        if let Some(counter) = self.dependencies.cql_statements.get(&statement) {
            counter.inc();
        }
    }
}

impl CommandObserver for Metrics {
    fn ended(&self, succeeded: bool, duration: Duration) {
        let [ok, error] = &self.dependencies.valkey_commands;
        if succeeded {
            ok.inc();
        } else {
            error.inc();
        }
        self.dependencies.valkey_duration.observe(duration.as_secs_f64());
    }
}
