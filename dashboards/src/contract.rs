//! Which series a query asks for, and whether somebody exports them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, bail};
use countersign_metrics::{Kind, LOADTEST, Metric, SERVICE};
use promql_parser::label::Matchers;
use promql_parser::parser::{self, Expr, VectorSelector};

/// Labels that a scrape adds.
const TARGET_LABELS: &[&str] = &["namespace", "job", "instance", "pod"];

/// Series of others that dashboards and rules ask for, with what exports them. Their labels are theirs to know.
const FOREIGN: &[(&str, Source)] = &[
    ("countersign_canary_delivery_seconds_bucket", Source::Canary),
    ("countersign_canary_late_total", Source::Canary),
    ("countersign_canary_lost_total", Source::Canary),
    ("countersign_canary_pending", Source::Canary),
    ("countersign_canary_received_total", Source::Canary),
    ("countersign_canary_send_seconds_bucket", Source::Canary),
    ("countersign_canary_sent_total", Source::Canary),
    ("up", Source::Prometheus),
    ("node_cpu_seconds_total", Source::NodeExporter),
    ("node_load1", Source::NodeExporter),
    ("node_memory_MemAvailable_bytes", Source::NodeExporter),
    ("node_memory_MemTotal_bytes", Source::NodeExporter),
    ("node_uname_info", Source::NodeExporter),
    ("kube_horizontalpodautoscaler_spec_max_replicas", Source::KubeStateMetrics),
    ("kube_horizontalpodautoscaler_status_current_replicas", Source::KubeStateMetrics),
];

/// Who exports a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The service.
    Service,
    /// The load tester.
    LoadTester,
    /// The canary of the load tester.
    Canary,
    /// Prometheus' node exporter.
    NodeExporter,
    /// kube-state-metrics.
    KubeStateMetrics,
    /// Prometheus itself.
    Prometheus,
    /// A rule.
    Rule,
}

/// A series that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// The labels of its selector, with what they are compared to.
    pub labels: Vec<(String, String)>,
    /// The selector in `PromQL`, without a range.
    pub selector: String,
}

/// Puts numbers for what Grafana replaces, so that a query can be parsed.
#[must_use]
pub fn without_macros(expression: &str) -> String {
    [("$__rate_interval", "1m"), ("$__range", "1h"), ("$__interval", "15s"), ("$price", "1"), ("$target", "1")]
        .into_iter()
        .fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Returns every series that a query asks for.
///
/// # Errors
/// If it is no `PromQL`.
pub fn asked(expression: &str) -> Result<BTreeSet<Asked>> {
    let parsed = parser::parse(&without_macros(expression)).map_err(|error| anyhow!("{error}: {expression}"))?;
    let mut asked = BTreeSet::new();
    collect(&parsed, &mut asked)?;
    Ok(asked)
}

fn collect(expression: &Expr, asked: &mut BTreeSet<Asked>) -> Result<()> {
    match expression {
        Expr::VectorSelector(selector) => {
            asked.insert(of_selector(selector)?);
        }
        Expr::MatrixSelector(matrix) => {
            asked.insert(of_selector(&matrix.vs)?);
        }
        Expr::Aggregate(aggregate) => {
            collect(&aggregate.expr, asked)?;
            if let Some(parameter) = &aggregate.param {
                collect(parameter, asked)?;
            }
        }
        Expr::Unary(unary) => collect(&unary.expr, asked)?,
        Expr::Binary(binary) => {
            collect(&binary.lhs, asked)?;
            collect(&binary.rhs, asked)?;
        }
        Expr::Paren(inner) => collect(&inner.expr, asked)?,
        Expr::Subquery(inner) => collect(&inner.expr, asked)?,
        Expr::Call(call) => {
            for argument in &call.args.args {
                collect(argument, asked)?;
            }
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => bail!("an extension of PromQL"),
    }
    Ok(())
}

fn of_selector(selector: &VectorSelector) -> Result<Asked> {
    let name = selector.name.clone().ok_or_else(|| anyhow!("a selector without a name"))?;
    let Matchers { matchers, .. } = &selector.matchers;
    let labels = matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
    let bare = VectorSelector { offset: None, at: None, ..selector.clone() };
    Ok(Asked { name, labels, selector: Expr::VectorSelector(bare).to_string() })
}

/// What can be asked for.
pub struct Exported {
    series: BTreeMap<String, (Source, Option<&'static Metric>)>,
}

impl Exported {
    /// Everything that is declared, and what rules record.
    #[must_use]
    pub fn with_recorded<'a>(recorded: impl Iterator<Item = &'a str>) -> Self {
        let own = |source, metrics: &'static [&'static Metric]| {
            metrics.iter().flat_map(move |metric| {
                metric.series_names().into_iter().map(move |name| (name, (source, Some(*metric))))
            })
        };
        let foreign = FOREIGN.iter().map(|(name, source)| ((*name).to_owned(), (*source, None)));
        let recorded = recorded.map(|name| (name.to_owned(), (Source::Rule, None)));
        let own = own(Source::Service, SERVICE).chain(own(Source::LoadTester, LOADTEST));
        Self { series: own.chain(foreign).chain(recorded).collect() }
    }

    /// Returns every series that comes from a source.
    pub fn series_of(&self, source: Source) -> impl Iterator<Item = &str> {
        self.series.iter().filter(move |(_, (of, _))| *of == source).map(|(name, _)| name.as_str())
    }

    /// Tells who exports a series.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<Source> {
        self.series.get(name).map(|(source, _)| *source)
    }

    /// Returns the declaration of a series, if it is our own.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&'static Metric> {
        self.series.get(name)?.1
    }

    /// Tells what is wrong with a series that is asked for: nobody exports it, or it has no such label.
    #[must_use]
    pub fn fault(&self, asked: &Asked) -> Option<String> {
        let Some((_, metric)) = self.series.get(&asked.name) else {
            return Some(format!("nobody exports {}", asked.name));
        };
        let metric = (*metric)?;
        for (label, value) in &asked.labels {
            let declared = metric.labels.iter().find(|declared| declared.name == label);
            let is_bucket = metric.kind == Kind::Histogram && asked.name.ends_with("_bucket") && label == "le";
            match declared.map(|declared| declared.values) {
                Some(countersign_metrics::Values::Of(values)) => {
                    let unknown = value.split('|').find(|part| is_plain(part) && !values.contains(part));
                    if let Some(unknown) = unknown {
                        return Some(format!("{} has no {label}=\"{unknown}\"", asked.name));
                    }
                }
                Some(countersign_metrics::Values::OnePerProcess(_)) => {}
                None if is_bucket => {
                    let edge = value.parse::<f64>().ok();
                    let known = edge
                        .is_some_and(|edge| metric.buckets.iter().any(|bound| (bound - edge).abs() < f64::EPSILON));
                    if !known {
                        return Some(format!("{} has no bucket with the edge {value}", asked.name));
                    }
                }
                None if TARGET_LABELS.contains(&label.as_str()) => {}
                None => return Some(format!("{} has no label {label}", asked.name)),
            }
        }
        None
    }
}

/// Whether a part of a matcher is a plain value and no pattern or variable.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(expression: &str) -> Option<String> {
        let exported = Exported::with_recorded(["countersign:requests:rate5m"].into_iter());
        asked(expression).unwrap().iter().find_map(|asked| exported.fault(asked))
    }

    #[test]
    fn what_nobody_exports_is_found_anywhere_in_a_query() {
        assert_eq!(fault("sum(rate(countersign_requests_total[1m])) / 2 > countersign:requests:rate5m"), None);
        for (expression, what) in [
            ("1 - (countersign_request_total)", "nobody exports countersign_request_total"),
            ("countersign_request_duration_seconds > 1", "nobody exports"),
            ("max_over_time(rate(nonsense_total[1m])[1h:1m])", "nobody exports nonsense_total"),
            (r#"rate(countersign_requests_total{operator="x"}[$__rate_interval])"#, "no label operator"),
            (r#"countersign_requests_total{outcome=~"ok|internl"}"#, "no outcome=\"internl\""),
            (r#"countersign_delivery_lag_seconds_bucket{le="1.5"}"#, "no bucket with the edge 1.5"),
        ] {
            let found = fault(expression).unwrap_or_default();
            assert!(found.contains(what), "{expression}: {found}");
        }
    }

    #[test]
    fn a_selector_is_written_back_without_its_range() {
        let asked = asked(r#"rate(up{job="a"}[5m] offset 1h)"#).unwrap();
        assert_eq!(asked.first().unwrap().selector, r#"up{job="a"}"#);
    }
}
