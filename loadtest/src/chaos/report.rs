//! The report: what was done and what the verdict is, as Markdown for people and JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::plan::Step;
use super::timeline::{Event, Sample};
use crate::ledger::Verdict;

/// All of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What decided the plan.
    pub seed: u64,
    /// How long faults were done, in seconds.
    pub seconds: u64,
    /// What there was to be broken, in words.
    pub stage: String,
    /// The command that makes the same plan again.
    pub again: String,
    /// When it began, in RFC 3339.
    pub began: String,
    /// Whether the exit code is 0.
    pub kept: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// How often each sort of fault was done.
    pub faults: BTreeMap<String, usize>,
    /// The plan.
    pub plan: Vec<Step>,
    /// What happened when.
    pub events: Vec<Event>,
    /// How the ledger fared.
    pub samples: Vec<Sample>,
    /// Attempts that had to be repeated, by why.
    pub repeated: BTreeMap<&'static str, u64>,
    /// Messages that were due while too many waited already.
    pub skipped: u64,
    /// Connections that went through the proxies before the store, and before Valkey.
    pub proxied: (u64, u64),
    /// Lines of the pods' logs that a person should look at: level, message, how many.
    pub troubled: Vec<(String, String, usize)>,
}

impl Report {
    /// Writes `report.md` and `report.json` to a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, bytes: Vec<u8>| {
            let file = folder.join(name);
            std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
        };
        write("report.json", serde_json::to_vec_pretty(self)?)?;
        write("report.md", self.markdown().into_bytes())
    }

    /// Returns the report for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    fn write_markdown(&self, text: &mut String) -> std::fmt::Result {
        let Self { seed, seconds, stage, began, again, .. } = self;
        writeln!(text, "# Chaos, seed {seed}: {}\n", if self.kept { "kept" } else { "NOT KEPT" })?;
        writeln!(text, "{seconds} s of faults, from {began}, on {stage}.\n")?;
        writeln!(
            text,
            "The same plan again: `{again}`. Faults are the same to the millisecond; what they hit is not.\n"
        )?;
        writeln!(text, "## Verdict\n\n```\n{}\n```\n", self.verdict)?;
        writeln!(text, "## What was done\n\n| fault | times |\n|---|--:|")?;
        for (sort, times) in &self.faults {
            writeln!(text, "| {sort} | {times} |")?;
        }
        writeln!(text, "\n## How the clients fared\n\nAttempts that had to be repeated:")?;
        let repeated: Vec<String> = self.repeated.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let skipped = self.skipped;
        writeln!(text, "{}. Messages skipped because too many waited: {skipped}.", repeated.join(", "))?;
        let (store, valkey) = self.proxied;
        writeln!(text, "\nConnections through the proxies: {store} to the store, {valkey} to Valkey.\n")?;
        writeln!(
            text,
            "| at | promised | promised a second | deliveries to come | repeated |\n|--:|--:|--:|--:|--:|"
        )?;
        let mut last: Option<&Sample> = None;
        for sample in &self.samples {
            let before = last.map_or((0, 0), |last| (last.at, last.accepted));
            let millis = sample.at.saturating_sub(before.0).max(1);
            let tenths = sample.accepted.saturating_sub(before.1).saturating_mul(10_000) / millis;
            let Sample { at, accepted, outstanding, repeated, .. } = sample;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            writeln!(text, "| {} s | {accepted} | {whole}.{tenth} | {outstanding} | {repeated} |", at / 1_000)?;
            last = Some(sample);
        }
        writeln!(text, "\n## Timeline\n\n| at | |\n|--:|---|")?;
        for Event { at, what } in &self.events {
            writeln!(text, "| {}.{} s | {what} |", at / 1_000, at % 1_000 / 100)?;
        }
        writeln!(text, "\n## The pods' logs\n\n| level | message | lines |\n|---|---|--:|")?;
        for (level, message, count) in &self.troubled {
            writeln!(text, "| {level} | {message} | {count} |")?;
        }
        Ok(())
    }
}
