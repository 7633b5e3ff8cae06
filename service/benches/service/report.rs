//! What is printed: Markdown, figures side by side.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::clock::float;
use crate::load::Measured;
use crate::shard::{Kind, phase};

/// Says on standard error what happens.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Writes percentiles of nanoseconds in milliseconds, as cells of a table.
pub(crate) fn percentiles(latency: &Histogram<u64>) -> String {
    let cell = |quantile| format!("{:.2}", float(latency.value_at_quantile(quantile)) / 1e6);
    format!("{} | {} | {}", cell(0.5), cell(0.99), cell(0.999))
}

/// Divides CPU time among requests; in microseconds.
pub(crate) fn micros_each(cpu: Duration, requests: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / float(requests.max(1))
}

/// The table of workloads.
pub(crate) struct Table {
    rows: String,
    notes: Vec<String>,
}

impl Table {
    /// Begins a table.
    pub(crate) const fn new() -> Self {
        Self { rows: String::new(), notes: Vec::new() }
    }

    /// Adds a workload: a row for its operations together, and one for each kind if there are several.
    ///
    /// Operations are messages and checks. Confirmations are requests too: their CPU time counts among that of the
    /// operations that caused them.
    pub(crate) fn add(&mut self, name: &str, measured: &Measured) -> Result<()> {
        let Measured { outcome, time, service, generator, others } = measured;
        let operations = outcome.tally(phase::FIRST, &[Kind::Hello, Kind::Send, Kind::Check])?;
        let all = outcome.tally(phase::FIRST, &[Kind::Hello, Kind::Send, Kind::Check, Kind::Confirm])?;
        let seconds = time.as_secs_f64();
        writeln!(
            self.rows,
            "| {name} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} % | {:.1} | {} | {} | {:.0} % |",
            float(operations.latency.len()) / seconds,
            float(all.latency.len()) / seconds,
            micros_each(service.total, operations.latency.len()),
            micros_each(service.total, all.latency.len()),
            service.kernel * 100.0,
            micros_each(generator.total, all.latency.len()),
            percentiles(&operations.latency),
            all.errors,
            others * 100.0,
        )?;
        let parts = [("messages", Kind::Send), ("checks", Kind::Check), ("confirmations", Kind::Confirm)];
        let parts = parts.map(|(name, kind)| anyhow::Ok((name, outcome.tally(phase::FIRST, &[kind])?)));
        let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = parts.iter().filter(|(_, tally)| tally.latency.len() + tally.errors > 0).collect();
        for (part, tally) in parts.iter().filter(|_| parts.len() > 1) {
            let (rate, latency) = (float(tally.latency.len()) / seconds, percentiles(&tally.latency));
            writeln!(self.rows, "| – of it {part} | | {rate:.0} | | | | | {latency} | {} | |", tally.errors)?;
        }
        if let Some(sample) = &outcome.sample {
            self.notes.push(format!("- {name}: an answer that is no success: {sample}"));
        }
        if outcome.unserved > 0 {
            self.notes
                .push(format!("- {name}: {} requests still waited for a connection at the end", outcome.unserved));
        }
        progress(&format!(
            "{name}: {:.0} operations/s, {:.1} µs of the service's CPU each, {:.1} µs of the generator's a request",
            float(operations.latency.len()) / seconds,
            micros_each(service.total, operations.latency.len()),
            micros_each(generator.total, all.latency.len()),
        ));
        Ok(())
    }

    /// Writes the table.
    pub(crate) fn text(&self) -> String {
        format!(
            "| workload | operations/s | requests/s | service CPU, µs an operation | µs a request | in the kernel | \
             generator CPU, µs a request | p50, ms | p99, ms | p99.9, ms | errors | other processes |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n{}\n{}",
            self.rows,
            self.notes.join("\n"),
        )
    }
}

/// What a run at a fixed rate says about the goal.
pub(crate) fn verdict(measured: &Measured, rate: f64) -> Result<String> {
    /// Most by which the generator may be late for 99 of 100 requests, in nanoseconds.
    const LAG_MAX: u64 = 2_000_000;
    /// The goal, in microseconds of the service's CPU for an operation.
    const CPU_MAX: f64 = 40.0;
    /// Most that other processes may have of the machine, from 0 to 1.
    const OTHERS_MAX: f64 = 0.05;

    let Measured { outcome, time, service, others, .. } = measured;
    let of = |kind| outcome.tally(phase::FIRST, &[kind]);
    let (sends, checks) = (of(Kind::Send)?, of(Kind::Check)?);
    let lag = outcome.lag.value_at_quantile(0.99);
    let lag_text = format!(
        "The generator got to requests {:.2} ms (median), {:.2} ms (p99), {:.2} ms (longest) after their time.",
        float(outcome.lag.value_at_quantile(0.5)) / 1e6,
        float(lag) / 1e6,
        float(outcome.lag.max()) / 1e6,
    );
    let kept_up =
        [&sends, &checks].iter().all(|tally| float(tally.latency.len()) / time.as_secs_f64() >= rate * 0.99);
    let cpu = micros_each(service.total, sends.latency.len() + checks.latency.len());
    let errors = sends.errors + checks.errors + outcome.tally(phase::FIRST, &[Kind::Confirm])?.errors;
    let judged = if *others > OTHERS_MAX {
        format!("No verdict: other processes used {:.0} % of the machine; {cpu:.1} µs an operation.", others * 100.0)
    } else if lag > LAG_MAX {
        format!(
            "No verdict: the generator was late by more than {} ms; {cpu:.1} µs an operation.",
            LAG_MAX / 1_000_000
        )
    } else if !kept_up || errors > 0 {
        format!("Missed: {rate:.0} + {rate:.0} a second were not all served.")
    } else if cpu > CPU_MAX {
        format!("Missed: {cpu:.1} µs of the service's CPU an operation, and {CPU_MAX} µs are the goal.")
    } else {
        format!("Met: {rate:.0} + {rate:.0} a second at {cpu:.1} µs an operation; the goal is at most {CPU_MAX} µs.")
    };
    Ok(format!("{judged} {lag_text}"))
}
