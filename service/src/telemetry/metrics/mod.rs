//! Every metric, in one struct: what is declared in `countersign-metrics`, registered.
//!
//! - `registered`: from declarations to the registry.
//! - `requests`, `authentication`, `dependencies`, `delivery`, `process`: one a subject, each with what it counts for.
//!
//! Labels are of fixed sets: operations, problems, names of calls; never an id.

mod authentication;
mod delivery;
mod dependencies;
mod process;
mod registered;
mod requests;

use prometheus::{Encoder as _, Registry, TextEncoder};

use authentication::AuthenticationMetrics;
use delivery::DeliveryMetrics;
use dependencies::DependencyMetrics;
use process::ProcessMetrics;
use registered::Registrar;
use requests::RequestMetrics;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    authentication: AuthenticationMetrics,
    dependencies: DependencyMetrics,
    delivery: DeliveryMetrics,
    process: ProcessMetrics,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Panics
    /// Never: names and labels are fixed and valid, as a test shows.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        Self {
            requests: RequestMetrics::register(&registrar),
            authentication: AuthenticationMetrics::register(&registrar),
            dependencies: DependencyMetrics::register(&registrar),
            delivery: DeliveryMetrics::register(&registrar),
            process: ProcessMetrics::register(&registrar),
            registry,
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use countersign_metrics::{Label, OPERATIONS, OUTCOMES, PROBLEMS, SERVICE, STATEMENTS, Values};
    use countersign_protocol::problem::ProblemType;

    use super::*;
    use crate::http::route::Operation;
    use crate::store::scylla::StatementName;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

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

        let text = text(&metrics);

        for line in [
            r#"countersign_requests_total{operation="send_message",outcome="ok"} 1"#,
            r#"countersign_requests_total{operation="send_message",outcome="wrong-id"} 1"#,
            r#"countersign_requests_total{operation="list_messages",outcome="client-gone"} 1"#,
            r#"countersign_requests_total{operation="read_message",outcome="internal"} 0"#,
            r#"countersign_rejections_total{reason="wrong-id"} 1"#,
            r#"countersign_requests_in_flight{operation="send_message"} 0"#,
            r#"countersign_store_call_duration_seconds_count{call="put",outcome="ok"} 1"#,
            r#"countersign_ephemeral_call_duration_seconds_count{call="admit",outcome="error"} 1"#,
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is missing");
        }
    }

    #[tokio::test]
    async fn what_is_exported_is_declared_and_what_is_declared_is_exported() {
        let metrics = Metrics::new();
        metrics.admitted("reads", 1, 2);
        metrics.runtime(&tokio::runtime::Handle::current().metrics());

        let text = text(&metrics);

        let kinds: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let declared: BTreeMap<&str, &str> = SERVICE.iter().map(|metric| (metric.name, metric.kind.name())).collect();
        assert_eq!(kinds, declared);
    }

    #[test]
    fn labels_have_the_values_that_are_declared() {
        let sorted = |values: &[&'static str]| values.iter().copied().collect::<BTreeSet<_>>();
        let operations: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        let problems: Vec<_> = ProblemType::ALL.iter().map(|kind| kind.name()).collect();
        let statements: Vec<_> = StatementName::ALL.iter().map(|statement| statement.label()).collect();
        assert_eq!(sorted(&operations), sorted(OPERATIONS));
        assert_eq!(sorted(&problems), sorted(PROBLEMS));
        assert_eq!(sorted(&[&problems[..], &["ok", "client-gone", "other"]].concat()), sorted(OUTCOMES));
        assert_eq!(sorted(&statements), sorted(STATEMENTS));

        // And whatever is exported has no label and no value besides.
        let exported = text(&Metrics::new());
        for metric in SERVICE {
            for name in metric.series_names() {
                let series = exported.lines().filter(|line| line.starts_with(&format!("{name}{{")));
                for line in series {
                    let labels = line.split_once('{').unwrap().1.rsplit_once('}').unwrap().0;
                    for pair in labels.split("\",") {
                        let (label, value) = pair.split_once("=\"").unwrap();
                        let declared = |declared: &&Label| declared.name == label;
                        match metric.labels.iter().find(declared).map(|label| label.values) {
                            None => assert_eq!(label, "le", "{line}"),
                            Some(Values::Of(values)) => {
                                assert!(values.contains(&value.trim_end_matches('"')), "{line}");
                            }
                            Some(Values::OnePerProcess(_)) => {}
                        }
                    }
                }
            }
        }
    }
}
