//! `docs/metrics.md`: every metric on one page, with where it is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use countersign_metrics::{LOADTEST, Metric, SERVICE, Values};

use crate::boards;
use crate::contract::asked;
use crate::rules::Group;

const HEAD: &str = "# Metrics

<!-- Written by `make dashboards` from the declarations in metrics/src. A test fails when it is not what that would write. -->

`countersignd` exports its metrics in Prometheus' text format at `/metrics` of the administrative listener. Every label has a
bounded set of values, which are all here; none is an identifier. What they are for: [observability](observability.md).
";

/// Writes the page.
///
/// # Errors
/// If a query cannot be parsed.
pub fn write(groups: &[Group]) -> Result<String> {
    let users = users(groups)?;
    let mut page = HEAD.to_owned();
    section(&mut page, "The service", SERVICE, &users)?;
    section(&mut page, "The load tester", LOADTEST, &users)?;
    let series: usize = SERVICE.iter().map(|metric| metric.series()).sum();
    write!(page, "\nA process of the service has at most {series} series, whatever its clients do.\n")?;
    Ok(page)
}

/// Who asks for each series: dashboards, and rules.
fn users(groups: &[Group]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for dashboard in boards::all() {
        let queries = dashboard.rows.iter().flat_map(|row| &row.panels).flat_map(|panel| &panel.queries);
        let name = dashboard.title.trim_start_matches("Countersign / ").split(':').next().unwrap_or_default();
        for query in queries {
            for series in asked(&query.expression)? {
                users.entry(series.name).or_default().insert(name.to_owned());
            }
        }
    }
    for rule in groups.iter().flat_map(|group| &group.rules) {
        for series in asked(&rule.expr)? {
            users.entry(series.name).or_default().insert("rules".to_owned());
        }
    }
    Ok(users)
}

fn section(
    page: &mut String,
    title: &str,
    metrics: &[&Metric],
    users: &BTreeMap<String, BTreeSet<String>>,
) -> Result<()> {
    write!(
        page,
        "\n## {title}\n\n| metric | kind, unit | labels | meaning | looked at in |\n|---|---|---|---|---|\n"
    )?;
    for metric in metrics {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| match label.values {
                Values::Of(values) => format!("`{}`: {}", label.name, values.join(", ")),
                Values::OnePerProcess(what) => format!("`{}`: {what}", label.name),
            })
            .collect();
        let looked_at: BTreeSet<&String> =
            metric.series_names().iter().filter_map(|name| users.get(name)).flatten().collect();
        let looked_at: Vec<&str> = looked_at.into_iter().map(String::as_str).collect();
        let buckets = if metric.buckets.is_empty() {
            String::new()
        } else {
            let edges: Vec<String> = metric.buckets.iter().map(ToString::to_string).collect();
            format!(" Buckets: {}.", edges.join(", "))
        };
        writeln!(
            page,
            "| `{}` | {}, {} | {} | {}{buckets} | {} |",
            metric.name,
            metric.kind.name(),
            metric.unit,
            if labels.is_empty() { "—".to_owned() } else { labels.join("; ") },
            metric.help,
            if looked_at.is_empty() { "—".to_owned() } else { looked_at.join(", ") },
        )?;
    }
    Ok(())
}
