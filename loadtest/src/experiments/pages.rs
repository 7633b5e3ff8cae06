//! What experiments look like, held against the article's figures.

use super::capacity::{CapacityOptions, Knee};
use super::point::Point;
use crate::measure::Delivered;
use crate::pages::{delivered, node_loads, post_duration, post_percentiles, throughput};
use crate::report::{Axis, Block, Cell, Chart, Column, Page, Plot, Section, Series, Shape, Table, Tone, Unit};
use crate::statistics::{FitError, Scalability, ScalabilityFit};

/// What the article says of its one node.
const ARTICLE_ONE: &str = "The article, of one node with two cores (Python, MariaDB and Valkey): about 50 new messages/s and about as many \
                           checks in the steady state, almost 250 operations/s at most.";
/// What it says of three.
const ARTICLE_THREE: &str = "The article, of three nodes with business logic and one with storage, all of two cores: over 200 new messages/s \
                             with a total load of 1, limited by its clients.";

fn float(number: usize) -> f64 {
    crate::measure::float(u64::try_from(number).unwrap_or(u64::MAX))
}

fn points_table(points: &[Point]) -> Table {
    let columns = vec![
        Column::text("point"),
        Column::number("messages", Unit::PerSecond),
        Column::number("requests", Unit::PerSecond),
        Column::number("send p50", Unit::Seconds),
        Column::number("send p99", Unit::Seconds),
        Column::number("business", Unit::Cores),
        Column::number("storage", Unit::Cores),
        Column::number("load", Unit::Other("")),
        Column::number("lost", Unit::Count),
    ];
    let rows = points
        .iter()
        .map(|point| {
            let (business, storage) = point.cores();
            let send = |share| Cell::Number(point.summary.send.at(share).as_secs_f64());
            let messages = match point.doubt() {
                Some(doubt) => Cell::Remark(point.messages(), doubt),
                None => Cell::Number(point.messages()),
            };
            vec![
                Cell::from(point.name.as_str()),
                messages,
                Cell::Number(point.requests()),
                send(0.5),
                send(0.99),
                business.map_or(Cell::None, Cell::Number),
                Cell::Number(storage),
                Cell::Number(point.load()),
                Cell::Number(crate::measure::float(point.summary.ledger.lost)),
            ]
        })
        .collect();
    Table {
        title: "Business and storage: cores in use; where one node has both, all of them stand under storage. Load: threads that ran or waited, of all nodes."
            .to_owned(),
        columns,
        rows,
    }
}

fn charts(point: &Point, with_article: bool) -> Vec<Block> {
    let mut blocks = vec![
        throughput(&point.summary, with_article),
        post_duration(&point.summary),
        post_percentiles(&point.summary),
        node_loads(&point.nodes),
    ];
    for chart in &mut blocks {
        // Each picture has a name of its own.
        chart.title = format!("{}: {}", point.name, chart.title.to_lowercase());
    }
    let mut blocks: Vec<Block> = blocks.into_iter().map(Block::Chart).collect();
    if let Some(doubt) = point.doubt() {
        blocks.insert(0, Block::Notice(Tone::Bad, format!("These figures are not to be believed: {doubt}.")));
    }
    blocks
}

fn run_lengths(points: &[Point]) -> Option<Table> {
    let mut rows = Vec::new();
    for point in points {
        let mut programs = point.summary.programs.clone();
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        for program in programs {
            rows.push(vec![Cell::from(point.name.as_str()), Cell::from(program.name), Cell::Number(program.seconds)]);
        }
    }
    let columns = vec![
        Column::text("point"),
        Column::text("conversation"),
        Column::number("until it was done, or stopped", Unit::Seconds),
    ];
    (!rows.is_empty()).then_some(Table { title: "Run lengths".to_owned(), columns, rows })
}

fn kept(points: &[Point]) -> Block {
    let mut sum = Delivered::default();
    for point in points {
        sum.add(&point.summary.ledger);
    }
    Block::Figures(delivered(&sum))
}

/// The page of the first experiment.
pub(super) fn scaling1(points: &[Point], cores: f64) -> Page {
    let mut sections = vec![Section {
        title: "What came out".to_owned(),
        blocks: vec![Block::Table(points_table(points)), Block::Text(ARTICLE_ONE.to_owned()), kept(points)],
    }];
    if let Some(table) = run_lengths(points)
        && let Some(section) = sections.first_mut()
    {
        section.blocks.push(Block::Table(table));
    }
    sections.extend(points.iter().map(|point| Section { title: point.name.clone(), blocks: charts(point, true) }));
    Page {
        title: "Scaling (1): one node".to_owned(),
        lead: format!(
            "MariaDB and Valkey beside the service in one node of {cores} core, half of the article's, and three programs that replay \
             a conversation each, one thing after the other. Seen from such clients, a service is as fast as its answers."
        ),
        sections,
    }
}

/// The page of the second experiment.
pub(super) fn scaling2(article: &[Point], scaled: &[Point]) -> Page {
    let mut sections = vec![
        Section {
            title: "As in the article".to_owned(),
            blocks: vec![Block::Table(points_table(article)), Block::Text(ARTICLE_THREE.to_owned()), kept(article)],
        },
        Section { title: "Another store, and more nodes".to_owned(), blocks: scaling(scaled) },
    ];
    sections.extend(
        article.iter().chain(scaled).map(|point| Section { title: point.name.clone(), blocks: charts(point, false) }),
    );
    Page {
        title: "Scaling (2): business logic apart from storage".to_owned(),
        lead: "Nodes are control groups with a quota of processor time on one machine. First the article's points, then the CQL store \
               with one to eight nodes that always have something to do."
            .to_owned(),
        sections,
    }
}

/// The page of pods that were scaled in a cluster. What storage used is not known there.
#[cfg(feature = "kubernetes")]
pub(super) fn cluster(points: &[Point]) -> Page {
    let mut sections = vec![Section { title: "Pods".to_owned(), blocks: scaling(points) }];
    sections.extend(points.iter().map(|point| Section { title: point.name.clone(), blocks: charts(point, false) }));
    Page {
        title: "Scaling on Kubernetes".to_owned(),
        lead: "The service's Deployment with one number of pods after the other, each with programs that always have something \
               to do. Business logic is what the pods say that they used; what storage used is not known here."
            .to_owned(),
        sections,
    }
}

fn scaling(points: &[Point]) -> Vec<Block> {
    let Some(first) = points.first() else { return Vec::new() };
    let one = first.requests() / float(first.pods);
    let columns = vec![
        Column::number("business nodes", Unit::Count),
        Column::number("new messages", Unit::PerSecond),
        Column::number("requests", Unit::PerSecond),
        Column::number("efficiency", Unit::Share),
        Column::number("business logic", Unit::Cores),
        Column::number("storage", Unit::Cores),
        Column::number("business logic for a request", Unit::Seconds),
    ];
    let rows = points
        .iter()
        .map(|point| {
            let (business, storage) = point.cores();
            let business = business.unwrap_or(0.0);
            [
                float(point.pods),
                point.messages(),
                point.requests(),
                point.requests() / (one * float(point.pods)),
                business,
                storage,
                business / point.requests().max(1e-9),
            ]
            .map(Cell::Number)
            .to_vec()
        })
        .collect();
    let pairs: Vec<(f64, f64)> = points.iter().map(|point| (float(point.pods), point.requests())).collect();
    let fit = ScalabilityFit::new(&pairs);
    let mut blocks = vec![
        Block::Table(Table { title: String::new(), columns, rows }),
        Block::Text(
            "Efficiency is what so many nodes did, by so many times what one did. Storage is saturated where it used all of its cores."
                .to_owned(),
        ),
    ];
    blocks.extend(law(&pairs, &fit, "requests"));
    blocks.push(kept(points));
    blocks
}

/// The curve through what was measured, and what it says.
fn law(points: &[(f64, f64)], fit: &Result<ScalabilityFit, FitError>, of: &str) -> Vec<Block> {
    let most = points.iter().map(|(nodes, _)| *nodes).fold(1.0, f64::max);
    let mut series = vec![Series::new("measured", Shape::Points, points.iter().copied())];
    let words = match fit {
        Ok(ScalabilityFit { law, r_squared, .. }) => {
            let steps = 64_u32;
            let curve = (0..=steps).map(|step| {
                let nodes = 1.0 + (most * 1.5 - 1.0) * f64::from(step) / f64::from(steps);
                (nodes, law.throughput(nodes))
            });
            series.push(Series::new("Universal Scalability Law", Shape::Fitted, curve));
            let Scalability { lambda, sigma, kappa } = law;
            let best = law.best().map_or_else(
                || "there is no number of nodes from which on more do less".to_owned(),
                |best| format!("more than {best:.0} nodes would do less"),
            );
            format!(
                "Universal Scalability Law: one node does {lambda:.0} {of}/s (λ); contention σ = {sigma:.4}, coherency κ = {kappa:.5}; \
                 {best}. R² = {r_squared:.4}."
            )
        }
        Err(error) => format!("No law is fitted: {error}."),
    };
    let plot = Plot::new(
        Axis::new("business nodes", Unit::Count).from(0.0),
        Axis::new(of, Unit::PerSecond).from(0.0),
        series,
    );
    vec![Block::Chart(Chart::plot(format!("{of} by business nodes"), "", plot)), Block::Text(words)]
}

/// The page of capacities.
pub(super) fn capacity(knees: &[Knee], fit: Result<ScalabilityFit, FitError>, options: &CapacityOptions) -> Page {
    let columns = vec![
        Column::number("business nodes", Unit::Count),
        Column::number("messages at the knee", Unit::PerSecond),
        Column::number("requests", Unit::PerSecond),
        Column::number("send p50", Unit::Seconds),
        Column::number("send p99", Unit::Seconds),
        Column::number("business logic", Unit::Cores),
        Column::number("storage", Unit::Cores),
        Column::number("a million messages", Unit::Other("core-seconds")),
        Column::number("a million messages", Unit::Other("money")),
    ];
    let rows = knees
        .iter()
        .filter_map(|knee| {
            let point = knee.best.as_ref()?;
            let (business, storage) = point.cores();
            let business = business.unwrap_or(0.0);
            let cost = point.core_seconds_per_million();
            Some(
                [
                    float(knee.nodes),
                    point.messages(),
                    point.requests(),
                    point.summary.send.at(0.5).as_secs_f64(),
                    point.summary.send.at(0.99).as_secs_f64(),
                    business,
                    storage,
                    cost,
                    cost / 3600.0 * options.price,
                ]
                .map(Cell::Number)
                .to_vec(),
            )
        })
        .collect();
    let pairs: Vec<(f64, f64)> = knees.iter().map(|knee| (float(knee.nodes), knee.messages())).collect();
    let mut blocks = vec![Block::Table(Table { title: String::new(), columns, rows })];
    blocks.extend(law(&pairs, &fit, "messages"));
    let (business, storage) = options.cores;
    blocks.push(Block::Text(format!(
        "A rate is served well if 99 of 100 messages are promised within {} of when they were due, nothing is given up, and less than one \
         request in a thousand fails. Nodes have {business} cores with business logic and {storage} with storage; a core costs {} an hour. \
         Each message goes to one to three users, each with one reading client; half of the clients wait, the others check every 2 s.",
        humantime::format_duration(options.p99),
        options.price,
    )));
    Page {
        title: "Capacity".to_owned(),
        lead: format!(
            "The greatest rate that is served well, over {}, for each number of nodes.",
            options.backing.name()
        ),
        sections: vec![
            Section { title: "Knees".to_owned(), blocks },
            Section { title: "What was tried".to_owned(), blocks: vec![Block::Table(tried(knees))] },
        ],
    }
}

fn tried(knees: &[Knee]) -> Table {
    let columns = vec![
        Column::text("point"),
        Column::number("new messages", Unit::PerSecond),
        Column::number("send p99", Unit::Seconds),
        Column::number("dropped", Unit::Count),
        Column::text("served well"),
    ];
    let rows = knees
        .iter()
        .flat_map(|knee| &knee.tried)
        .map(|(point, well)| {
            vec![
                Cell::from(point.name.as_str()),
                Cell::Number(point.messages()),
                Cell::Number(point.summary.send.at(0.99).as_secs_f64()),
                Cell::Number(crate::measure::float(point.summary.dropped)),
                Cell::from(if *well { "yes" } else { "no" }),
            ]
        })
        .collect();
    Table { title: String::new(), columns, rows }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::experiments::Backing;
    use crate::measure::{Second, Summary};
    use crate::nodes::NodeLoad;
    use crate::pages::NodeSeries;

    /// A point of 20 s in which so many messages and as many checks were done, and each node was busy.
    pub(in crate::experiments) fn point(name: &str, pods: usize, messages: u64) -> Point {
        let mut summary = Summary { measured: 20.0, ..Summary::default() };
        for second in 0..20 {
            let mut of = Second { second, done: [0, messages, messages, 0, 0, 0], ..Second::default() };
            of.send.record(Duration::from_millis(3));
            summary.seconds.push(of);
        }
        summary.operations[1].endings[0] = messages * 20;
        summary.operations[2].endings[0] = messages * 20;
        summary.send.record(Duration::from_millis(3));
        summary.ledger = Delivered { promised: messages * 20, ..Delivered::default() };
        let node = |name: String, cores: f64| NodeSeries {
            name,
            cores,
            samples: (1..=20)
                .map(|at| NodeLoad { at: f64::from(at), load: cores * 2.0, load1: cores, cores, throttled: 0.5 })
                .collect(),
        };
        let mut nodes: Vec<NodeSeries> = (1..=pods).map(|number| node(format!("business-{number}"), 0.1)).collect();
        nodes.push(node("storage".to_owned(), 0.4));
        Point { name: name.to_owned(), pods, summary, nodes }
    }

    #[test]
    fn cores_and_cost_are_those_of_all_nodes() {
        let point = point("three", 3, 100);

        let (business, storage) = point.cores();
        assert!((business.unwrap() - 0.3).abs() < 1e-9 && (storage - 0.4).abs() < 1e-9);
        assert!((point.load() - 1.4).abs() < 1e-9);
        assert!((point.core_seconds_per_million() - 7_000.0).abs() < 1e-6);
    }

    #[test]
    fn efficiency_is_held_against_one_node() {
        let scaled = [point("one", 1, 100), point("two", 2, 198), point("four", 4, 380)];

        let text = scaling2(&[point("MariaDB", 1, 50)], &scaled).markdown("");

        for words in ["95", "99", "Universal Scalability Law", "one node does", "The article, of three nodes"] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
    }

    #[test]
    fn a_point_that_is_not_to_be_believed_says_so() {
        let mut lost = point("One node, MariaDB, no indices", 1, 50);
        lost.summary.ledger.lost = 2;

        let page = scaling1(&[lost], 1.0);

        let text = page.markdown("");
        assert!(text.contains("not to be believed: 2 lost"), "{text}");
        assert!(page.html().contains("the article: almost 250/s at most"));
    }

    #[test]
    fn a_capacity_has_its_knees_and_what_they_cost() {
        let knee = |nodes, messages| Knee {
            nodes,
            best: Some(point("best", nodes, messages)),
            tried: vec![(point("tried", nodes, messages), true), (point("too much", nodes, messages * 2), false)],
        };
        let knees = [knee(1, 100), knee(2, 190), knee(4, 350)];
        let options = CapacityOptions {
            nodes: vec![1, 2, 4],
            backing: Backing::Cql,
            cores: (0.1, 0.4),
            p99: Duration::from_millis(500),
            rate: 50.0,
            price: 0.04,
        };
        let pairs: Vec<(f64, f64)> = knees.iter().map(|knee| (float(knee.nodes), knee.messages())).collect();

        let text = capacity(&knees, ScalabilityFit::new(&pairs), &options).markdown("");

        for words in ["5 000", "core-seconds", "too much", "within 500ms", "R²"] {
            assert!(text.replace('\u{202f}', " ").contains(words), "{words} is not in\n{text}");
        }
    }
}
