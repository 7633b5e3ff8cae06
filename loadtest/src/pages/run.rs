//! One run: what the article shows of its own, and what it could not.

use std::time::Duration;

use serde::Serialize;

use crate::measure::{Delivered, Latencies, Second, Summary, Threshold, float};
use crate::nodes::NodeLoad;
use crate::report::{
    Axis, Bars, Block, Cell, Chart, Column, Figure, Page, Plot, Section, Series, Shape, Table, Tone, Unit,
};
use crate::wire::Operation;

/// What the article reports of its one node: messages and requests a second.
const ARTICLE_MESSAGES: f64 = 50.0;
const ARTICLE_REQUESTS: f64 = 250.0;

/// The load of a node during a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeSeries {
    /// The node's name.
    pub name: String,
    /// Cores that it has.
    pub cores: f64,
    /// Its load, a second each.
    pub samples: Vec<NodeLoad>,
}

impl NodeSeries {
    /// Returns the mean of the cores that were in use from one time to another, in seconds of the run.
    #[must_use]
    pub fn cores_used(&self, from: f64, until: f64) -> f64 {
        self.mean(from, until, |sample| sample.cores)
    }

    /// Returns the mean load from one time to another.
    #[must_use]
    pub fn load(&self, from: f64, until: f64) -> f64 {
        self.mean(from, until, |sample| sample.load)
    }

    fn mean(&self, from: f64, until: f64, of: impl Fn(&NodeLoad) -> f64) -> f64 {
        let within = self.samples.iter().filter(|sample| sample.at > from && sample.at <= until);
        let (sum, count) = within.fold((0.0, 0_u32), |(sum, count), sample| (sum + of(sample), count + 1));
        if count == 0 { 0.0 } else { sum / f64::from(count) }
    }
}

fn times(summary: &Summary) -> impl Iterator<Item = (f64, &Second)> {
    // A second is shown in its middle; the last is rarely a whole one.
    let whole = summary.seconds.len().saturating_sub(1);
    summary.seconds.iter().take(whole).map(|second| (float(second.second) + 0.5, second))
}

/// Marks the end of sending, where what was promised is still waited for.
fn ended(plot: Plot, summary: &Summary) -> Plot {
    let end = summary.warm_up + summary.measured;
    let last = summary.seconds.last().map_or(0.0, |second| float(second.second));
    if last > end + 1.0 { plot.mark(end, "no more is sent") } else { plot }
}

/// Requests of each sort, a second, on each other.
#[must_use]
pub fn throughput(summary: &Summary, with_article: bool) -> Chart {
    let series = Operation::ALL.map(|operation| {
        let points =
            times(summary).map(|(at, second)| (at, float(second.done.get(operation.index()).copied().unwrap_or(0))));
        Series::new(operation.name(), Shape::Stacked, points)
    });
    let series = series.into_iter().filter(|series| series.points.iter().any(|(_, done)| *done > 0.0)).collect();
    let mut plot = ended(Plot::new(Axis::elapsed(), Axis::new("requests", Unit::PerSecond), series), summary);
    if with_article {
        plot = plot.reference(ARTICLE_REQUESTS, "the article: almost 250/s at most");
    }
    Chart::plot("Throughput by operation", "Requests that were done, a second.", plot)
}

/// Seconds that requests to send took together, a second.
#[must_use]
pub fn post_duration(summary: &Summary) -> Chart {
    let points = times(summary).map(|(at, second)| (at, second.send_duration));
    let plot = Plot::new(
        Axis::elapsed(),
        Axis::new("seconds spent per second", Unit::Other("s/s")),
        vec![Series::new("send_message", Shape::Line, points)],
    );
    Chart::plot(
        "Duration of sending",
        "Seconds that requests to send took, all together, in each second: more than 1 means that several were on their way. \
         The article shows it so.",
        plot,
    )
}

/// Percentiles of sending.
#[must_use]
pub fn post_percentiles(summary: &Summary) -> Chart {
    let of = |name: &str, share: f64| {
        let points = times(summary).map(|(at, second)| {
            let time = if second.send.count() == 0 { f64::NAN } else { second.send.at(share).as_secs_f64() };
            (at, time)
        });
        Series::new(name, Shape::Line, points)
    };
    let plot = Plot::new(
        Axis::elapsed(),
        Axis::new("from when it was due to its 201", Unit::Seconds).log(),
        vec![of("p50", 0.5), of("p90", 0.9), of("p99", 0.99)],
    );
    Chart::plot(
        "Sending: percentiles",
        "From when a message was due, so that whoever waits for a service that stalls is counted.",
        plot,
    )
}

/// The load of nodes on each other.
#[must_use]
pub fn node_loads(nodes: &[NodeSeries]) -> Chart {
    let series = nodes
        .iter()
        .map(|node| {
            let points = node.samples.iter().map(|sample| (sample.at.round(), sample.load));
            Series::new(node.name.as_str(), Shape::Stacked, points)
        })
        .collect();
    let plot = Plot::new(
        Axis::elapsed(),
        Axis::new("threads that run or wait for a processor", Unit::Other("load")),
        series,
    );
    Chart::plot(
        "Node load, stacked",
        "How many threads of each node ran or waited for a processor, in the mean of each second: what node_load1 damps over \
         a minute.",
        plot,
    )
}

/// How long each program of closed work took.
fn run_lengths(summary: &Summary) -> Option<Chart> {
    let mut programs = summary.programs.clone();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    (!programs.is_empty()).then(|| {
        let bars = Bars {
            axis: Axis::new("until its last message was sent and read", Unit::Seconds),
            names: programs.iter().map(|program| program.name.clone()).collect(),
            series: vec![("run length".to_owned(), programs.iter().map(|program| program.seconds).collect())],
            references: Vec::new(),
        };
        Chart::bars("Run length", "Each program replays one conversation, one thing after the other.", bars)
    })
}

/// What came of each operation: rates, and how long those took that were done.
#[must_use]
pub fn operations(summary: &Summary) -> Table {
    let mut columns = vec![
        Column::text("operation"),
        Column::number("done", Unit::PerSecond),
        Column::number("not done", Unit::Count),
    ];
    columns.extend(percentile_columns());
    let rows = Operation::ALL
        .into_iter()
        .filter(|operation| summary.operation(*operation).endings != [0; 4])
        .map(|operation| {
            let of = summary.operation(operation);
            let mut row = vec![
                Cell::from(operation.name()),
                Cell::Number(summary.rate(operation)),
                Cell::Number(float(of.not_done())),
            ];
            row.extend(percentiles(&of.service));
            row
        })
        .collect();
    Table { title: "Requests, from when they were sent".to_owned(), columns, rows }
}

/// How long messages took, as their people see it.
fn waits(summary: &Summary) -> Table {
    let mut columns = vec![Column::text("")];
    columns.extend(percentile_columns());
    let rows = [
        ("sending, from when it was due to its 201", &summary.send),
        ("delivery, from its 201 until a reader had it", &summary.delivery),
        ("the generator's own lag", &summary.lag),
    ]
    .into_iter()
    .map(|(name, times)| {
        let mut row = vec![Cell::from(name)];
        row.extend(percentiles(times));
        row
    })
    .collect();
    Table { title: "Messages".to_owned(), columns, rows }
}

fn percentile_columns() -> impl Iterator<Item = Column> {
    ["p50", "p90", "p99", "p99.9", "longest"].into_iter().map(|title| Column::number(title, Unit::Seconds))
}

fn percentiles(times: &Latencies) -> Vec<Cell> {
    if times.count() == 0 {
        return vec![Cell::None; 5];
    }
    let seconds = |time: Duration| Cell::Number(time.as_secs_f64());
    let mut cells: Vec<Cell> = [0.5, 0.9, 0.99, 0.999].map(|share| seconds(times.at(share))).to_vec();
    cells.push(seconds(times.max()));
    cells
}

/// What the ledger found.
#[must_use]
pub fn delivered(ledger: &Delivered) -> Vec<Figure> {
    let count = |label: &str, count: u64, bad: bool| Figure {
        value: Unit::Count.written(float(count)),
        label: label.to_owned(),
        beside: String::new(),
        tone: match (bad, count) {
            (true, 0) => Tone::Good,
            (true, _) => Tone::Bad,
            (false, _) => Tone::Plain,
        },
    };
    vec![
        count("promised", ledger.promised, false),
        count("deliveries due", ledger.due, false),
        count("delivered", ledger.delivered, false),
        count("lost", ledger.lost, true),
        count("corrupted", ledger.corrupted, true),
        count("duplicated", ledger.duplicated, true),
        count("late", ledger.late, true),
    ]
}

/// Says whether the figures count, and which thresholds were missed.
#[must_use]
pub fn verdict(summary: &Summary, thresholds: &[Threshold]) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(why) = summary.invalid() {
        blocks.push(Block::Notice(Tone::Bad, format!("No verdict on the service's speed: {why}.")));
    }
    for threshold in thresholds {
        blocks.push(match threshold.missed_by(summary) {
            Some(missed) => Block::Notice(Tone::Bad, format!("Missed: {missed}.")),
            None => Block::Notice(Tone::Good, format!("Reached: {threshold}.")),
        });
    }
    blocks
}

/// A page of one run.
#[must_use]
pub fn run(summary: &Summary, nodes: &[NodeSeries], thresholds: &[Threshold]) -> Page {
    let figure = |value: String, label: &str, beside: String| Figure {
        value,
        label: label.to_owned(),
        beside,
        tone: Tone::Plain,
    };
    let figures = vec![
        figure(
            Unit::PerSecond.written(summary.rate(Operation::SendMessage)),
            "new messages",
            format!("the article, of its one node: about {ARTICLE_MESSAGES}/s"),
        ),
        figure(
            Unit::PerSecond.written(summary.total_rate()),
            "requests",
            format!("the article: almost {ARTICLE_REQUESTS}/s"),
        ),
        figure(
            Unit::Seconds.written(summary.send.at(0.99).as_secs_f64()),
            "sending, p99",
            "from when it was due".to_owned(),
        ),
        figure(Unit::Share.written(summary.errors()), "requests not done", String::new()),
    ];
    let mut blocks = verdict(summary, thresholds);
    blocks.push(Block::Figures(figures));
    blocks.push(Block::Figures(delivered(&summary.ledger)));
    let mut charts = vec![throughput(summary, false), post_percentiles(summary), post_duration(summary)];
    if !nodes.is_empty() {
        charts.push(node_loads(nodes));
    }
    charts.extend(run_lengths(summary));
    let generator = format!(
        "{} users with {} clients by {} worker{}; the generator used {:.2} of {:.0} cores. {} messages were due, {} were dropped, \
         {} checks were left out because a client was still at work.",
        summary.users,
        summary.clients,
        summary.workers,
        if summary.workers == 1 { "" } else { "s" },
        summary.generator.used,
        summary.generator.allowed,
        summary.offered,
        summary.dropped,
        summary.skipped_checks,
    );
    Page {
        title: summary.name.clone(),
        lead: format!("{}.", summary.load),
        sections: vec![
            Section { title: "Verdict".to_owned(), blocks },
            Section { title: "Over time".to_owned(), blocks: charts.into_iter().map(Block::Chart).collect() },
            Section {
                title: "Operations".to_owned(),
                blocks: vec![Block::Table(waits(summary)), Block::Table(operations(summary)), Block::Text(generator)],
            },
        ],
    }
}
