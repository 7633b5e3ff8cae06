//! The table, for people and for programs.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Verdict;
use super::load::{Figures, Pace};
use super::servers::Side;
use crate::measure::float;

/// What one side did under one load, all turns together.
#[derive(Clone, Debug)]
pub struct Row {
    /// The side.
    pub side: Side,
    /// The load.
    pub pace: Pace,
    /// Latencies and counts.
    pub figures: Figures,
    /// CPU time of the service's processes.
    pub service: Duration,
    /// CPU time of its stores' processes; none where the store is in the service.
    pub store: Option<Duration>,
    /// CPU time of this process, which is the driver.
    pub driver: Duration,
    /// New messages a second, turn by turn.
    pub turns: Vec<f64>,
}

/// A row as a program reads it. Latencies are in milliseconds, CPU time in microseconds an operation.
#[derive(Debug, Serialize)]
struct Record {
    side: Side,
    load: String,
    seconds: f64,
    messages_per_second: f64,
    messages_per_second_by_turn: Vec<f64>,
    checks_per_second: f64,
    send: Latency,
    check: Latency,
    delivery: Latency,
    service_cpu: f64,
    store_cpu: Option<f64>,
    driver_cpu: f64,
    failures: u64,
    ledger: Verdict,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |quantile| {
            let micros = histogram.value_at_quantile(quantile);
            Duration::from_micros(micros).as_secs_f64() * 1e3
        };
        Self { p50: millis(0.5), p99: millis(0.99) }
    }
}

impl Display for Latency {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1} | {:.1}", self.p50, self.p99)
    }
}

impl Row {
    /// An operation is a new message or a check. What reading and confirming cost is the operations' cost.
    fn an_operation(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / float(self.figures.sends + self.figures.checks).max(1.0)
    }

    fn load(&self) -> String {
        match self.pace {
            Pace::Closed => "closed".to_owned(),
            Pace::Open(rate) => format!("{rate}/s offered"),
            Pace::Bursts(rate) => format!("{rate} bursts/s"),
        }
    }

    fn record(&self) -> Record {
        let figures = &self.figures;
        let seconds = figures.elapsed.as_secs_f64();
        Record {
            side: self.side,
            load: self.load(),
            seconds,
            messages_per_second: float(figures.sends) / seconds,
            messages_per_second_by_turn: self.turns.clone(),
            checks_per_second: float(figures.checks) / seconds,
            send: Latency::of(&figures.send),
            check: Latency::of(&figures.check),
            delivery: Latency::of(&figures.delivery),
            service_cpu: self.an_operation(self.service),
            store_cpu: self.store.map(|store| self.an_operation(store)),
            driver_cpu: self.an_operation(self.driver),
            failures: figures.failures,
            ledger: figures.verdict,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it was measured, in words.
    pub terms: String,
    /// Names and versions.
    pub versions: Vec<String>,
    /// By side and load, in the order in which they were measured first.
    pub rows: Vec<Row>,
    /// The run that looks for losses.
    pub losses: Vec<Row>,
    /// How that was measured, in words.
    pub loss_terms: String,
}

#[derive(Serialize)]
struct Written<'a> {
    terms: &'a str,
    versions: &'a [String],
    rows: Vec<Record>,
    losses: Vec<Record>,
    loss_terms: &'a str,
}

impl Report {
    /// Returns it as JSON.
    ///
    /// # Errors
    /// Never.
    pub fn json(&self) -> Result<String> {
        let records = |rows: &[Row]| rows.iter().map(Row::record).collect();
        Ok(serde_json::to_string_pretty(&Written {
            terms: &self.terms,
            versions: &self.versions,
            rows: records(&self.rows),
            losses: records(&self.losses),
            loss_terms: &self.loss_terms,
        })?)
    }

    /// Tells whether Countersign kept all of its promises.
    #[must_use]
    pub fn countersign_is_kept(&self) -> bool {
        let mut rows = self.rows.iter().chain(&self.losses).filter(|row| row.side.is_countersign());
        rows.all(|row| row.figures.verdict.is_kept())
    }
}

/// The table in Markdown.
impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "# Peers, side by side\n\n{}\n", self.terms)?;
        writeln!(
            formatter,
            "What the columns mean, and what can be compared: docs/peers.md. Latencies are in milliseconds, CPU time is \
             in microseconds an operation (a new message or a check).\n"
        )?;
        writeln!(
            formatter,
            "| side | load | new messages/s | checks/s | send p50 | p99 | check p50 | p99 | delivery p50 | p99 | service \
             CPU | store CPU | driver CPU |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        for row in &self.rows {
            let Record { load, send, check, delivery, .. } = row.record();
            let record = row.record();
            let store = record.store_cpu.map_or_else(|| "in the service".to_owned(), |store| format!("{store:.0}"));
            writeln!(
                formatter,
                "| {} | {load} | {:.0} | {:.0} | {send} | {check} | {delivery} | {:.0} | {store} | {:.0} |",
                row.side.title(),
                record.messages_per_second,
                record.checks_per_second,
                record.service_cpu,
                record.driver_cpu,
            )?;
        }
        writeln!(formatter, "\n## What the ledger says\n")?;
        ledger(formatter, &self.rows)?;
        if !self.losses.is_empty() {
            writeln!(formatter, "\n## Looking for losses\n\n{}\n", self.loss_terms)?;
            ledger(formatter, &self.losses)?;
        }
        writeln!(formatter, "\n## Versions\n")?;
        self.versions.iter().try_for_each(|version| writeln!(formatter, "- {version}"))
    }
}

fn ledger(formatter: &mut Formatter<'_>, rows: &[Row]) -> fmt::Result {
    writeln!(
        formatter,
        "| side | load | promised | lost | duplicated | wrong | late | not answered | failed requests |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for row in rows {
        let Verdict { promised, lost, duplicated, wrong, late, unanswered, .. } = row.figures.verdict;
        let lost = if lost > 0 { format!("**{lost}**") } else { "0".to_owned() };
        writeln!(
            formatter,
            "| {} | {} | {promised} | {lost} | {duplicated} | {wrong} | {late} | {unanswered} | {} |",
            row.side.title(),
            row.load(),
            row.figures.failures,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(side: Side, lost: u64) -> Row {
        let mut figures = Figures::new().unwrap();
        figures.elapsed = Duration::from_secs(2);
        (figures.sends, figures.checks) = (100, 300);
        figures.send.record(1_500).unwrap();
        figures.verdict = Verdict { promised: 100, delivered: 100 - lost, lost, ..Verdict::default() };
        let store = (side != Side::CountersignEmbedded).then(|| Duration::from_millis(4));
        let (service, driver) = (Duration::from_millis(40), Duration::from_millis(8));
        Row { side, pace: Pace::Closed, figures, service, store, driver, turns: vec![50.0] }
    }

    fn report(rows: Vec<Row>) -> Report {
        Report {
            terms: "Terms.".into(),
            versions: vec!["x 1".into()],
            rows,
            losses: vec![],
            loss_terms: String::new(),
        }
    }

    #[test]
    fn a_table_says_what_an_operation_costs_and_what_was_lost() {
        let text = report(vec![row(Side::CountersignEmbedded, 0), row(Side::Article, 3)]).to_string();

        assert!(
            text.contains("| 50 | 150 | 1.5 | 1.5 | 0.0 | 0.0 | 0.0 | 0.0 | 100 | in the service | 20 |"),
            "{text}"
        );
        assert!(text.contains("| 100 | 10 | 20 |"), "{text}");
        assert!(text.contains("| closed | 100 | **3** | 0 |"), "{text}");
    }

    #[test]
    fn only_countersign_is_held_to_its_promises() {
        assert!(report(vec![row(Side::CountersignEmbedded, 0), row(Side::Article, 3)]).countersign_is_kept());
        assert!(!report(vec![row(Side::CountersignCql, 1)]).countersign_is_kept());
    }

    #[test]
    fn a_program_reads_the_same_numbers() {
        let json: serde_json::Value =
            serde_json::from_str(&report(vec![row(Side::Article, 3)]).json().unwrap()).unwrap();

        let read = &json["rows"][0];
        assert_eq!((&read["side"], &read["ledger"]["lost"]), (&"article".into(), &3.into()));
        assert_eq!((read["service_cpu"].as_f64(), read["store_cpu"].as_f64()), (Some(100.0), Some(10.0)));
    }
}
