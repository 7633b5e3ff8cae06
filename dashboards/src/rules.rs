//! Recording and alert rules, as they lie in `prometheus/rules` for people to read and Prometheus to load.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A file of rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

/// Rules that are evaluated in order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How often it is evaluated, if not as often as others.
    #[serde(default)]
    pub interval: Option<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule: it records a series, or it is an alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The series.
    #[serde(default)]
    pub record: Option<String>,
    /// The alert.
    #[serde(default)]
    pub alert: Option<String>,
    /// The expression.
    pub expr: String,
    /// How long it must hold.
    #[serde(default, rename = "for")]
    pub holds: Option<String>,
    /// How long the alert goes on after it no longer holds.
    #[serde(default)]
    pub keep_firing_for: Option<String>,
    /// Labels that are added.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is told to whoever is alerted.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// Returns the name of the series or alert.
    #[must_use]
    pub fn name(&self) -> &str {
        self.record.as_deref().or(self.alert.as_deref()).unwrap_or("")
    }
}

/// Reads every file of rules.
///
/// # Errors
/// If one cannot be read, or has what Prometheus would not understand.
pub fn read(folder: &Path) -> Result<Vec<Group>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    let mut groups = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        let file: File =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not a file of rules", path.display()))?;
        groups.extend(file.groups);
    }
    Ok(groups)
}
