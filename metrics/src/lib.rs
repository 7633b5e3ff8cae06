//! Every metric of Countersign's programs, declared once: name, kind, unit, labels with all their values, and meaning.
//!
//! The service registers what is declared here, the dashboards ask for it by these constants, `docs/metrics.md` is made of
//! it. Owns: names and meanings. Refuses to know: how anything is counted or stored.
//!
//! Invariant: every label has a known, bounded set of values; never an id, an address, or anything that a client chose.

mod authentication;
mod delivery;
mod loadtest;
mod process;
mod requests;
mod stores;

pub use authentication::*;
pub use delivery::*;
pub use loadtest::*;
pub use process::*;
pub use requests::*;
pub use stores::*;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, but for a restart.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations in buckets, with their sum and count.
    Histogram,
}

impl Kind {
    /// Returns the word that the text format has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a label may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    Of(&'static [&'static str]),
    /// One value for each process, as described.
    OnePerProcess(&'static str),
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may say.
    pub values: Values,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with the unit in it, as Prometheus' conventions want it.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts, or the unit that it is in.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// Upper bounds of a histogram's buckets, ascending, without infinity.
    pub buckets: &'static [f64],
    /// What it means, in one or two sentences.
    pub help: &'static str,
}

impl Metric {
    /// Returns how many series a process can have of it at most, the buckets of a histogram among them.
    #[must_use]
    pub fn series(&self) -> usize {
        let labelled: usize = self
            .labels
            .iter()
            .map(|label| match label.values {
                Values::Of(values) => values.len(),
                Values::OnePerProcess(_) => 1,
            })
            .product();
        match self.kind {
            Kind::Counter | Kind::Gauge => labelled,
            // The buckets, infinity, sum and count.
            Kind::Histogram => labelled * (self.buckets.len() + 3),
        }
    }

    /// Returns the names of its series: a histogram has three.
    #[must_use]
    pub fn series_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram => ["_bucket", "_sum", "_count"].map(|ending| format!("{}{ending}", self.name)).to_vec(),
        }
    }
}

/// The metrics of `countersignd`, in the order of `docs/metrics.md`.
pub const SERVICE: &[&Metric] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &REQUESTS_IN_FLIGHT,
    &REJECTIONS,
    &ADMITTED,
    &ADMITTED_LIMIT,
    &AUTHENTICATIONS,
    &CLOCK_OFFSET,
    &PUBLIC_KEY_JOBS,
    &PUBLIC_KEY_JOB_DURATION,
    &PUBLIC_KEY_WAIT,
    &PUBLIC_KEY_WAITING,
    &PUBLIC_KEY_THREADS,
    &STORE_CALL_DURATION,
    &EPHEMERAL_CALL_DURATION,
    &CQL_STATEMENTS,
    &VALKEY_COMMANDS,
    &VALKEY_COMMAND_DURATION,
    &EPHEMERAL_CLIENTS,
    &MESSAGES_ACCEPTED,
    &DELIVERIES_ACCEPTED,
    &LISTINGS,
    &LISTINGS_EMPTY,
    &FULL_MERGES,
    &ITEMS_LISTED,
    &MESSAGES_READ,
    &ITEMS_CONFIRMED,
    &MESSAGES_ACKNOWLEDGED,
    &ITEMS_EXPIRING,
    &DELIVERY_LAG,
    &LAST_KNOWN_GOOD_AGE,
    &DERIVATIONS,
    &RECONCILIATIONS,
    &ITEMS_SETTLED,
    &GAPS_TOLD,
    &STRAGGLERS,
    &HINTS_LOST,
    &BUILD_INFO,
    &READY,
    &RUNTIME_WORKERS,
    &RUNTIME_BUSY,
    &RUNTIME_TASKS,
    &RUNTIME_QUEUE,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_THREADS,
    &PROCESS_START,
];

/// The metrics of the load tester, `countersign-loadtest`.
pub const LOADTEST: &[&Metric] = &[
    &LOADTEST_OFFERED,
    &LOADTEST_REQUESTS,
    &LOADTEST_SCHEDULE_LAG,
    &LOADTEST_DURATION,
    &LOADTEST_LOST,
    &LOADTEST_LATE,
];

const fn counter(name: &'static str, unit: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit, labels, buckets: &[], help }
}

const fn gauge(name: &'static str, unit: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, buckets: &[], help }
}

const fn seconds(
    name: &'static str,
    labels: &'static [Label],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: "seconds", labels, buckets, help }
}

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Of(values) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in SERVICE.iter().chain(LOADTEST) {
            let name = metric.name;
            let own = name.starts_with("countersign_") || name.starts_with("process_");
            assert!(own && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{name}");
            assert!(metric.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(metric.buckets.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            assert!(metric.help.ends_with('.') && !metric.unit.is_empty(), "{name}");
        }
    }

    #[test]
    fn each_name_is_declared_once() {
        let names: BTreeSet<&str> = SERVICE.iter().chain(LOADTEST).map(|metric| metric.name).collect();
        assert_eq!(names.len(), SERVICE.len() + LOADTEST.len());
    }

    #[test]
    fn objectives_are_edges_of_buckets() {
        let has = |metric: &Metric, edge: f64| metric.buckets.iter().any(|bound| (bound - edge).abs() < f64::EPSILON);
        assert!(has(&REQUEST_DURATION, 0.05), "sending: 50 ms");
        assert!(has(&DELIVERY_LAG, 1.0), "delivery: 1 s");
    }

    #[test]
    fn a_process_has_a_bounded_number_of_series() {
        let series: usize = SERVICE.iter().map(|metric| metric.series()).sum();
        assert!(series < 2_500, "{series}");
    }
}
