//! A made-up report with every sort of block, as like a real one as can be without a run: for tests, and to look at.

use super::{
    Axis, Bars, Block, Cell, Chart, Column, Figure, Mark, Page, Plot, Reference, Section, Series, Shape, Table, Tone,
    Unit,
};
use crate::random::Random;

const SECONDS: u32 = 420;

/// Returns a value for each second of which each is near the one before.
fn wander(random: &mut Random, level: f64, noise: f64) -> impl FnMut(f64) -> f64 {
    let mut random = random.split();
    let mut off = 0.0;
    move |factor| {
        off = 0.8 * off + (random.fraction() - 0.5) * noise;
        (level * factor + off).max(0.0)
    }
}

/// How busy it is at a time: a burst, a plateau, a tail of one log, and a stall.
fn busy(at: f64) -> f64 {
    match at {
        at if at < 15.0 => 1.6,
        at if (200.0..206.0).contains(&at) => 0.15,
        at if at < 290.0 => 1.0,
        _ => 0.3,
    }
}

fn over_time(name: &str, shape: Shape, mut value: impl FnMut(f64) -> f64) -> Series {
    Series::new(name, shape, (0..SECONDS).map(f64::from).map(|at| (at, value(busy(at)))))
}

/// Returns a chart with a title.
pub(super) fn named(title: &str) -> Chart {
    let series = vec![Series::new(title, Shape::Line, [(0.0, 1.0)]), Series::new(title, Shape::Points, [(0.0, 1.0)])];
    let plot = Plot::new(Axis::new(title, Unit::Count), Axis::new(title, Unit::Count), series);
    Chart::plot(title, title, plot.reference(1.0, title).mark(0.0, title))
}

/// Returns the whole report.
pub(super) fn page() -> Page {
    let mut random = Random::new(8);
    Page {
        title: "Scaling(1): one node, MariaDB and Valkey beside it".to_owned(),
        lead:
            "Three logs replayed by closed clients. The node is busy before the clients are: about 52 new messages a \
               second, as in the article."
                .to_owned(),
        sections: vec![
            outcome(),
            throughput(&mut random),
            latency(&mut random),
            load(&mut random),
            capacity(&mut random),
        ],
    }
}

fn outcome() -> Section {
    let figure = |value: String, label: &str, beside: &str, tone| Figure {
        value,
        label: label.to_owned(),
        beside: beside.to_owned(),
        tone,
    };
    let row = |operation: &str, requests: f64, rate: f64, [p50, p99, most]: [f64; 3]| {
        vec![operation.into(), requests.into(), rate.into(), p50.into(), p99.into(), most.into(), 0.0.into()]
    };
    let mut table = Table {
        title: "Operations".to_owned(),
        columns: vec![
            Column::text("operation"),
            Column::number("requests", Unit::Count),
            Column::number("rate", Unit::PerSecond),
            Column::number("p50", Unit::Seconds),
            Column::number("p99", Unit::Seconds),
            Column::number("longest", Unit::Seconds),
            Column::number("failed", Unit::Share),
        ],
        rows: vec![
            row("send a message", 15_800.0, 52.3, [0.0123, 0.0821, 0.412]),
            row("list new messages", 16_411.0, 54.3, [0.0041, 0.0312, 0.28]),
            row("read a message", 31_386.0, 103.9, [0.0032, 0.0287, 0.251]),
            row("confirm", 31_380.0, 103.8, [0.0035, 0.0304, 0.266]),
        ],
    };
    table.rows.push(vec![
        "request a session key".into(),
        71.0.into(),
        Cell::None,
        Cell::Remark(0.0193, "during set-up alone".to_owned()),
        0.041.into(),
        0.044.into(),
        0.0.into(),
    ]);
    Section {
        title: "Outcome".to_owned(),
        blocks: vec![
            Block::Notice(
                Tone::Good,
                "Nothing was lost: 15 800 messages were promised and 31 600 deliveries arrived, each once."
                    .to_owned(),
            ),
            Block::Figures(vec![
                figure(Unit::PerSecond.written(52.3), "new messages, steady", "the article: about 50/s", Tone::Plain),
                figure(
                    Unit::PerSecond.written(314.3),
                    "operations at most",
                    "the article: almost 250/s",
                    Tone::Plain,
                ),
                figure(Unit::Seconds.written(0.0821), "POST message, p99", "threshold: below 100 ms", Tone::Good),
                figure(Unit::Seconds.written(0.0004), "schedule lag, p99", "of the generator itself", Tone::Good),
            ]),
            Block::Table(table),
            Block::Code("countersign-loadtest scaling1 --seed 1 --store mariadb".to_owned()),
            Block::Notice(Tone::Bad, "Failed threshold: send.p99 < 50 ms, and it was 82 ms.".to_owned()),
            Block::Notice(Tone::Plain, "One machine of two cores: nodes are control groups with a quota.".to_owned()),
        ],
    }
}

fn throughput(random: &mut Random) -> Section {
    let operations = [("send", 52.0), ("list", 54.0), ("read", 60.0), ("confirm", 60.0), ("session key", 1.5)];
    let series = operations
        .map(|(name, level)| over_time(name, Shape::Stacked, wander(random, level, level / 4.0)))
        .into_iter()
        .collect();
    let stacked = Plot::new(Axis::elapsed(), Axis::new("operations", Unit::PerSecond), series)
        .reference(250.0, "the article: almost 250/s at most")
        .mark(15.0, "warm-up ends")
        .band(200.0, 206.0, "store stopped")
        .mark(290.0, "the short logs are done");
    let logs = Bars {
        axis: Axis::new("run length", Unit::Elapsed),
        names: vec!["team (12 000 messages)".to_owned(), "club (3 000)".to_owned(), "family (800)".to_owned()],
        series: vec![
            ("without indices".to_owned(), vec![418.0, 288.0, 131.0]),
            ("with indices".to_owned(), vec![291.0, 160.0, f64::NAN]),
        ],
        references: vec![Reference { at: 360.0, label: "last run: 6:00".to_owned() }],
    };
    let replaying =
        Series::new("logs", Shape::Steps, [(0.0, 3.0), (131.0, 2.0), (288.0, 1.0), (418.0, 0.0), (420.0, 0.0)]);
    Section {
        title: "Throughput".to_owned(),
        blocks: vec![
            Block::Text(
                "New messages and checks are about as many, and each delivery is read and confirmed.".to_owned(),
            ),
            Block::Chart(Chart::plot(
                "Throughput by operation",
                "Ended operations in each second, stacked. The tail is the log of 12 000 messages, which is longer than the others.",
                stacked,
            )),
            Block::Chart(Chart::bars("Run length by log", "", logs)),
            Block::Chart(Chart::plot(
                "Logs still being replayed",
                "",
                Plot::new(Axis::elapsed(), Axis::new("logs", Unit::Count), vec![replaying]),
            )),
        ],
    }
}

fn latency(random: &mut Random) -> Section {
    let percentile = |random: &mut Random, name: &str, level: f64, noise: f64| {
        let mut wander = wander(random, level, noise);
        over_time(
            name,
            Shape::Line,
            move |busy| if busy < 0.2 { f64::NAN } else { wander(0.6 + busy * 0.4).max(0.001) },
        )
    };
    let percentiles = vec![
        percentile(random, "p50", 0.012, 0.004),
        percentile(random, "p90", 0.03, 0.01),
        percentile(random, "p99", 0.08, 0.05),
        percentile(random, "longest", 0.3, 0.12),
    ];
    let spent = vec![over_time("spent", Shape::Line, wander(random, 0.9, 0.4))];
    Section {
        title: "POST message duration".to_owned(),
        blocks: vec![
            Block::Chart(Chart::plot(
                "Percentiles of POST message",
                "From the intended start to the whole answer; each second. No line where nothing ended.",
                Plot::new(Axis::elapsed(), Axis::new("duration", Unit::Seconds).log(), percentiles)
                    .reference(0.1, "threshold: p99 below 100 ms")
                    .band(200.0, 206.0, "store stopped"),
            )),
            Block::Chart(Chart::plot(
                "Time spent in POST message",
                "Seconds of duration spent per second, over all clients that wait at once.",
                Plot::new(Axis::elapsed(), Axis::new("spent", Unit::Other("s per s")), spent)
                    .reference(1.0, "the article: more than 1 isn't weird"),
            )),
        ],
    }
}

fn load(random: &mut Random) -> Section {
    let nodes = [("service 1", 0.24), ("service 2", 0.23), ("service 3", 0.25), ("MariaDB and Valkey", 0.31)];
    let stacked =
        nodes.map(|(name, level)| over_time(name, Shape::Stacked, wander(random, level, 0.08))).into_iter().collect();
    let lines =
        nodes.iter().map(|(name, level)| over_time(name, Shape::Line, wander(random, *level, 0.08))).collect();
    let faults: Vec<Mark> = (0..9)
        .map(|index| Mark {
            at: 30.0 + f64::from(index) * 14.0,
            until: Some(36.0 + f64::from(index) * 14.0),
            label: format!("pod {} killed", index % 3 + 1),
        })
        .collect();
    let mut marked = Plot::new(Axis::elapsed(), Axis::new("load", Unit::Other("threads")), lines);
    marked.marks = faults;
    Section {
        title: "Node load".to_owned(),
        blocks: vec![
            Block::List(vec![
                "Load is the mean number of threads that ran or waited for a processor.".to_owned(),
                "Each node has a control group with a quota of its own.".to_owned(),
            ]),
            Block::Chart(Chart::plot(
                "Node load, stacked",
                "",
                Plot::new(Axis::elapsed(), Axis::new("load", Unit::Other("threads")), stacked)
                    .reference(1.0, "the article: a total load of 1"),
            )),
            Block::Chart(Chart::plot("Node load with faults", "", marked)),
        ],
    }
}

fn capacity(random: &mut Random) -> Section {
    let law = |nodes: f64| 212.0 * nodes / (1.0 + 0.012 * (nodes - 1.0) + 0.0009 * nodes * (nodes - 1.0));
    let measured = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
        .into_iter()
        .flat_map(|nodes| [nodes; 3])
        .map(|nodes| (nodes, law(nodes) * (1.0 + (random.fraction() - 0.5) * 0.06)));
    let fitted = (2..=24).map(|half| f64::from(half) / 2.0).map(|nodes| (nodes, law(nodes)));
    let perfect = [(1.0, 212.0), (8.0, 1_696.0)];
    let knee = [10.0, 50.0, 100.0, 150.0, 200.0, 220.0, 240.0, 260.0]
        .map(|rate: f64| (rate, 0.004 / (1.0 - (rate / 265.0).powi(2))));
    let service = knee.map(|(rate, took)| (rate, took * 0.7));
    Section {
        title: "Capacity".to_owned(),
        blocks: vec![
            Block::Chart(Chart::plot(
                "Capacity by number of nodes",
                "Universal Scalability Law: λ = 212/s, σ = 0.012, κ = 0.0009; most at N* = 33 nodes.",
                Plot::new(
                    Axis::new("nodes", Unit::Count).from(0.0),
                    Axis::new("new messages", Unit::PerSecond),
                    vec![
                        Series::new("measured", Shape::Points, measured),
                        Series::new("fitted law", Shape::Fitted, fitted),
                        Series::new("perfect", Shape::Line, perfect),
                    ],
                )
                .reference(200.0, "the article, three nodes: over 200/s"),
            )),
            Block::Chart(Chart::plot(
                "Latency by offered rate",
                "",
                Plot::new(
                    Axis::new("offered", Unit::PerSecond).log(),
                    Axis::new("p99", Unit::Seconds).log(),
                    vec![
                        Series::new("from the intended start", Shape::Line, knee),
                        Series::new("service time alone", Shape::Line, service),
                    ],
                ),
            )),
        ],
    }
}
