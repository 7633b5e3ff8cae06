//! The article's second experiment: business logic apart from storage, with and without indices, on one node and on three,
//! with more clients, then with an asynchronous client. After that what it only planned: another store, and more nodes.

use anyhow::Result;

use super::point::{Point, clients, measure};
use super::stage::{Backing, Cut, Stage};
use super::{Laboratory, Programs, shipped};
use crate::ledger::Options;
use crate::load::Shape;
use crate::nodes::Nodes;
use crate::report::Page;
use crate::traffic::{Arrivals, Rate};

/// Clients of the article's second experiment.
const PROGRAMS: usize = 8;
/// Cores of the nodes of the article's part.
const ARTICLE: Cut = Cut::Split { storage: 0.8, business: 0.25 };
/// Cores of the nodes that are scaled from one to eight: as small as lets the storage of one machine keep up with eight.
const SCALED: Cut = Cut::Split { storage: 1.1, business: 0.05 };
/// Numbers of nodes that are scaled.
const SCALE: [usize; 4] = [1, 2, 4, 8];
/// Turns in which those are measured: what else the machine does then hits all of them, and the median leaves it out.
const TURNS: usize = 3;
/// Programs of a closed loop for each node: enough that each node always has something to do.
const PROGRAMS_EACH: usize = 12;

/// Measures business logic apart from storage.
///
/// # Errors
/// If a process does not start, or the set-up fails.
pub async fn scaling2(laboratory: &Laboratory, programs: &Programs) -> Result<(Vec<Point>, Vec<Point>, Page)> {
    let article = article(laboratory, programs).await?;
    let scaled = scaled(laboratory, programs, &SCALE).await?;
    let page = super::pages::scaling2(&article, &scaled);
    Ok((article, scaled, page))
}

async fn article(laboratory: &Laboratory, programs: &Programs) -> Result<Vec<Point>> {
    let mut nodes = Nodes::open()?;
    let mut points = Vec::new();
    let bare = Backing::Mariadb { indices: false };
    let indexed = Backing::Mariadb { indices: true };
    let mut stage = Stage::set((laboratory, programs), &mut nodes, bare, ARTICLE, "scaling2").await?;
    for (backing, pods) in [(bare, 1), (indexed, 1), (bare, 3), (indexed, 3)] {
        let database = format!("countersign_{}_{pods}", if backing == bare { "bare" } else { "indexed" });
        stage.pods(laboratory, &mut nodes, (backing, ARTICLE), (pods, &database)).await?;
        let name = format!("{}, {pods} business node{}", backing.name(), if pods == 1 { "" } else { "s" });
        let load = (Shape::Closed(shipped(PROGRAMS)?), clients(laboratory.seed), laboratory.measured);
        points.push(measure(laboratory, &stage, (&name, pods), load).await?);
    }
    // The article's asynchronous client: it has many requests on their way, and waits for none before the next.
    stage.pods(laboratory, &mut nodes, (indexed, ARTICLE), (3, "countersign_open_3")).await?;
    let rate = points.last().map_or(50.0, |point| point.messages() * 0.8).max(10.0);
    let shape = Shape::Drawn {
        rate: Rate::constant(rate.round()),
        arrivals: Arrivals::Poisson,
        skew: 1.0,
        organizations: 4,
        users: 25,
    };
    let load = (shape, Options { long_polling: 0.5, ..clients(laboratory.seed) }, laboratory.measured);
    points.push(
        measure(laboratory, &stage, ("MariaDB, indices, 3 business nodes, asynchronous client", 3), load).await?,
    );
    stage.end().await?;
    Ok(points)
}

/// Measures what so many nodes do when they always have something to do: in [`TURNS`] turns, each half as long as a point of
/// the other experiments. Of each number of nodes, the turn with the median rate of requests is returned, with what the
/// ledgers of all of them found.
///
/// # Errors
/// If a process does not start, or the set-up fails.
pub(super) async fn scaled(laboratory: &Laboratory, programs: &Programs, scale: &[usize]) -> Result<Vec<Point>> {
    let mut nodes = Nodes::open()?;
    let mut stage = Stage::set((laboratory, programs), &mut nodes, Backing::Cql, SCALED, "scaled").await?;
    let mut turns: Vec<Vec<Point>> = scale.iter().map(|_| Vec::new()).collect();
    for turn in 0..TURNS {
        for (pods, points) in scale.iter().zip(&mut turns) {
            let keyspace = format!("countersign_{pods}_{turn}");
            stage.pods(laboratory, &mut nodes, (Backing::Cql, SCALED), (*pods, &keyspace)).await?;
            let name = format!("CQL, {pods} business node{}", if *pods == 1 { "" } else { "s" });
            let shape = super::closed(PROGRAMS_EACH * pods, laboratory.seed);
            let load = (shape, clients(laboratory.seed), laboratory.measured / 2);
            points.push(measure(laboratory, &stage, (&name, *pods), load).await?);
        }
    }
    stage.end().await?;
    Ok(turns.into_iter().filter_map(median).collect())
}

/// Returns the point with the median rate of requests, with the sum of all ledgers: what was lost in another turn is lost too.
fn median(mut points: Vec<Point>) -> Option<Point> {
    points.sort_by(|one, other| one.requests().total_cmp(&other.requests()));
    let mut median = (!points.is_empty()).then(|| points.remove(points.len() / 2))?;
    for other in &points {
        median.summary.ledger.add(&other.summary.ledger);
    }
    Some(median)
}

#[cfg(test)]
mod tests {
    use super::super::pages::tests::point;
    use super::*;

    #[test]
    fn the_median_turn_counts_and_what_another_lost_is_lost() {
        let turns = |lost: u64| {
            let mut slowest = point("one", 1, 10);
            slowest.summary.ledger.lost = lost;
            vec![point("one", 1, 30), slowest, point("one", 1, 20)]
        };

        for lost in [0, 3] {
            let median = median(turns(lost)).unwrap();

            assert!((median.messages() - 20.0).abs() < 1e-9, "{}", median.messages());
            assert_eq!(median.summary.ledger.lost, lost);
            assert_eq!(median.summary.ledger.promised, (10 + 20 + 30) * 20);
        }
        assert!(median(Vec::new()).is_none());
    }
}
