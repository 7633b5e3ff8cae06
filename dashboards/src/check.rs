//! Asks a real Prometheus every query of every panel, variable and rule.
//!
//! A query passes if it is answered with at least one series, not too many, and with values that are numbers: at least one in
//! each query, and none that is infinite. What needs a program that is not there is named, and never passed over in silence.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::contract::{Exported, Source, asked};
use crate::model::{Dashboard, Variable};
use crate::prometheus::{Prometheus, Series};
use crate::rules::{Group, Rule};

/// Series that a query may have: more cannot be told apart in a graph.
const SERIES_MAX: usize = 60;

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Over how many last seconds.
    pub seconds: f64,
    /// What stands for `$__rate_interval`, in seconds.
    pub rate: u32,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Queries that passed.
    pub passed: usize,
    /// What failed, in words.
    pub failures: Vec<String>,
    /// What could not be asked, with the program that is not there.
    pub absent: Vec<String>,
}

impl Report {
    /// Writes it for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for absent in &self.absent {
            let _ = writeln!(text, "no data    {absent}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED     {failure}");
        }
        let _ = writeln!(
            text,
            "{} queries have data, {} failed, {} need a program that is not there",
            self.passed,
            self.failures.len(),
            self.absent.len()
        );
        text
    }
}

/// Checks.
pub struct Check<'a> {
    /// Whom to ask.
    pub prometheus: &'a Prometheus,
    /// What is exported.
    pub exported: &'a Exported,
    /// Programs that are not there, whose queries cannot have data.
    pub without: &'a BTreeSet<Source>,
    /// How to ask.
    pub window: Window,
}

impl Check<'_> {
    /// Asks everything.
    ///
    /// # Errors
    /// If Prometheus cannot be reached, or a query is no `PromQL`.
    pub async fn run(&self, dashboards: &[Dashboard], groups: &[Group]) -> Result<Report> {
        let mut report = Report::default();
        let now = self.prometheus.number("time()").await?.unwrap_or_default();
        for dashboard in dashboards {
            let variables = self.variables(dashboard, &mut report).await?;
            for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
                for query in &panel.queries {
                    let what = format!("{}: {}: {}", dashboard.title, panel.title, query.legend);
                    if let Some(source) = self.missing_source(&query.expression)? {
                        report.absent.push(format!("{what}: {source:?} is not there"));
                        continue;
                    }
                    let fault = self.fault(&filled(&query.expression, &variables), now).await?;
                    report.note(fault.is_none(), || format!("{what}: {}", fault.unwrap_or_default()));
                }
            }
        }
        for rule in groups.iter().flat_map(|group| &group.rules) {
            self.rule(rule, now, &mut report).await?;
        }
        for evaluated in self.prometheus.rules().await? {
            report.note(evaluated.health == "ok", || {
                format!("rule {} is {}: {}", evaluated.name, evaluated.health, evaluated.error)
            });
        }
        Ok(report)
    }

    /// What a rule records must be there; of an alert, which is mostly silent, every series that it asks for.
    async fn rule(&self, rule: &Rule, now: f64, report: &mut Report) -> Result<()> {
        let what = format!("rule {}", rule.name());
        if let Some(recorded) = &rule.record {
            let fault = self.fault(recorded, now).await?;
            report.note(fault.is_none(), || format!("{what}: {}", fault.unwrap_or_default()));
            return Ok(());
        }
        for series in asked(&rule.expr)? {
            if let Some(source) = self.missing_source(&series.name)? {
                report.absent.push(format!("{what}: {}: {source:?} is not there", series.name));
                continue;
            }
            let count = self.prometheus.number(&format!("count({})", series.selector)).await?;
            report.note(count.is_some(), || format!("{what}: {} has no data", series.selector));
        }
        Ok(())
    }

    /// Returns the program that is not there and whose series a query asks for, if there is one.
    fn missing_source(&self, expression: &str) -> Result<Option<Source>> {
        let sources = asked(expression)?.into_iter().filter_map(|series| self.exported.source(&series.name));
        Ok(sources.filter(|source| self.without.contains(source)).min())
    }

    async fn fault(&self, expression: &str, now: f64) -> Result<Option<String>> {
        let series = match self.prometheus.range(expression, now, self.window.seconds, 2.0).await {
            Ok(series) => series,
            Err(error) => return Ok(Some(format!("{error:#}"))),
        };
        if series.len() > SERIES_MAX {
            return Ok(Some(format!("{} series", series.len())));
        }
        let values: Vec<f64> = series.iter().flat_map(Series::values).collect();
        if values.iter().any(|value| value.is_infinite()) {
            return Ok(Some(format!("an infinite value: {expression}")));
        }
        if !values.iter().any(|value| value.is_finite()) {
            return Ok(Some(format!("no data: {expression}")));
        }
        Ok(None)
    }

    /// What a dashboard's variables stand for when nothing is chosen, in the order in which they depend on each other.
    async fn variables(&self, dashboard: &Dashboard, report: &mut Report) -> Result<Vec<(String, String)>> {
        let mut variables = vec![
            ("__rate_interval".to_owned(), format!("{}s", self.window.rate)),
            ("__range".to_owned(), format!("{}s", self.window.seconds)),
        ];
        for variable in &dashboard.variables {
            match variable {
                Variable::Number { name, value, .. } => variables.push(((*name).to_owned(), (*value).to_owned())),
                Variable::Label { name, series, label, all, .. } => {
                    let values = self.prometheus.label_values(label, &filled(series, &variables)).await?;
                    let fits = (1..=SERIES_MAX).contains(&values.len());
                    let what = || format!("{}: variable {name} has {} values", dashboard.title, values.len());
                    report.note(fits, what);
                    let all = all.map_or_else(|| values.join("|"), ToOwned::to_owned);
                    variables.push(((*name).to_owned(), all));
                }
            }
        }
        Ok(variables)
    }
}

/// Puts in what Grafana would.
fn filled(expression: &str, variables: &[(String, String)]) -> String {
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

impl Report {
    fn note(&mut self, passed: bool, failure: impl FnOnce() -> String) {
        if passed {
            self.passed += 1;
        } else {
            self.failures.push(failure());
        }
    }
}
