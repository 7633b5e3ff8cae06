//! `PromQL`, put together from declared metrics, so that no query asks for a metric that does not exist.

use countersign_metrics::{BUILD_INFO, Kind, Metric};

use crate::model::Variable;

/// What every query of the service's own metrics is limited to: what was chosen at the top of the dashboard.
pub const SCOPE: &str = r#"namespace=~"$namespace",job=~"$job",instance=~"$instance""#;

/// The same for series that rules have recorded, which are sums over the instances.
pub const FLEET: &str = r#"namespace=~"$namespace",job=~"$job""#;

/// The variables that [`SCOPE`] needs.
#[must_use]
pub fn scope() -> Vec<Variable> {
    let build = BUILD_INFO.name;
    let label = |name, title, series: String, all| Variable::Label { name, title, series, label: name, all };
    vec![
        // Outside of Kubernetes there is none, and nothing matches that too. Of the others "all" is what there is of
        // Countersign: other programs have metrics of processes too.
        label("namespace", "Namespace", build.to_owned(), Some(".*")),
        label("job", "Job", format!(r#"{build}{{namespace=~"$namespace"}}"#), None),
        label("instance", "Pod", format!(r#"{build}{{namespace=~"$namespace",job=~"$job"}}"#), None),
    ]
}

/// A variable that chooses nodes of node exporter.
#[must_use]
pub fn nodes(name: &'static str, title: &'static str) -> Variable {
    Variable::Label { name, title, series: "node_uname_info".to_owned(), label: "instance", all: None }
}

/// A metric's series within the scope. `filter` is empty, or more matchers.
#[must_use]
pub fn of(metric: &Metric, filter: &str) -> String {
    selector(metric.name, filter)
}

fn selector(name: &str, filter: &str) -> String {
    if filter.is_empty() { format!("{name}{{{SCOPE}}}") } else { format!("{name}{{{SCOPE},{filter}}}") }
}

/// What a counter grows by in a second, as a sum by some labels, or over all.
#[must_use]
pub fn rate(metric: &Metric, filter: &str, by: &str) -> String {
    debug_assert_eq!(metric.kind, Kind::Counter);
    rate_of(&of(metric, filter), by)
}

/// What series of counters grow by in a second, as a sum by some labels, or over all.
pub(crate) fn rate_of(series: &str, by: &str) -> String {
    sum(&format!("rate({series}[$__rate_interval])"), by)
}

/// How often something was observed in a second.
#[must_use]
pub fn observations(metric: &Metric, filter: &str, by: &str) -> String {
    rate_of(&part(metric, "_count", filter), by)
}

/// How much was observed in a second: seconds a second, for times.
#[must_use]
pub fn amount(metric: &Metric, filter: &str, by: &str) -> String {
    rate_of(&part(metric, "_sum", filter), by)
}

/// The mean of what was observed.
#[must_use]
pub fn mean(metric: &Metric, filter: &str, by: &str) -> String {
    format!("{} / {}", amount(metric, filter, by), observations(metric, filter, by))
}

/// A quantile of what was observed.
#[must_use]
pub fn quantile(share: f64, metric: &Metric, filter: &str, by: &str) -> String {
    quantile_of(share, &part(metric, "_bucket", filter), by)
}

/// A quantile of what series of buckets hold.
pub(crate) fn quantile_of(share: f64, buckets: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({share}, {})", rate_of(buckets, &by))
}

/// The share of what was observed that is at most some bound, an edge of a bucket.
#[must_use]
pub fn share_within(bound: &str, metric: &Metric, filter: &str) -> String {
    let bucket = if filter.is_empty() { format!(r#"le="{bound}""#) } else { format!(r#"{filter},le="{bound}""#) };
    let within = rate_of(&part(metric, "_bucket", &bucket), "");
    format!("{within} / {}", observations(metric, filter, ""))
}

fn part(metric: &Metric, ending: &str, filter: &str) -> String {
    debug_assert_eq!(metric.kind, Kind::Histogram);
    selector(&format!("{}{ending}", metric.name), filter)
}

/// A sum by some labels, or over all.
#[must_use]
pub fn sum(expression: &str, by: &str) -> String {
    if by.is_empty() { format!("sum({expression})") } else { format!("sum by ({by}) ({expression})") }
}
