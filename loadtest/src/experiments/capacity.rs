//! Where the knee is for each number of nodes: the greatest rate that is still served well. The Universal Scalability Law
//! through those, and what a million messages cost.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::point::{Point, clients, measure};
use super::stage::{Backing, Cut, Stage};
use super::{Laboratory, Programs};
use crate::ledger::Options;
use crate::load::Shape;
use crate::nodes::Nodes;
use crate::report::Page;
use crate::statistics::ScalabilityFit;
use crate::traffic::{Arrivals, Rate};

/// Measurements that halve the gap between a rate that is served well and one that is not.
const HALVINGS: usize = 3;
/// A rate is multiplied by this until it is too much.
const STEP: f64 = 2.0;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct CapacityOptions {
    /// Numbers of nodes.
    pub nodes: Vec<usize>,
    /// What messages are kept in.
    pub backing: Backing,
    /// Cores of a node with business logic, and of the storage node.
    pub cores: (f64, f64),
    /// Served well is a rate whose sending takes no longer than this for 99 of 100 messages.
    pub p99: Duration,
    /// The rate to begin with, in messages a second for one node.
    pub rate: f64,
    /// Price of one core for an hour.
    pub price: f64,
}

/// The knee of a number of nodes.
#[derive(Clone, Debug)]
pub struct Knee {
    /// Nodes with business logic.
    pub nodes: usize,
    /// The greatest rate that was served well.
    pub best: Option<Point>,
    /// All that was measured, with whether it was served well.
    pub tried: Vec<(Point, bool)>,
}

impl Knee {
    /// Returns the messages a second of the knee.
    #[must_use]
    pub fn messages(&self) -> f64 {
        self.best.as_ref().map_or(0.0, Point::messages)
    }
}

/// Finds the knee for each number of nodes, and the law through them where there are enough.
///
/// # Errors
/// If a process does not start, the set-up fails, or not even a small rate is served well.
pub async fn capacity(
    laboratory: &Laboratory,
    programs: &Programs,
    options: &CapacityOptions,
) -> Result<(Vec<Knee>, Page)> {
    let (business, storage) = options.cores;
    let cut = Cut::Split { storage, business };
    let mut nodes = Nodes::open()?;
    let mut stage = Stage::set((laboratory, programs), &mut nodes, options.backing, cut, "capacity").await?;
    let mut knees: Vec<Knee> = Vec::new();
    for pods in &options.nodes {
        stage
            .pods(laboratory, &mut nodes, (options.backing, cut), (*pods, &format!("countersign_knee_{pods}")))
            .await?;
        // What one node did, for as many.
        let each = knees.last().map_or(options.rate, |knee| knee.messages() / float(knee.nodes));
        let knee = find(laboratory, &stage, *pods, each * float(*pods), options.p99).await?;
        ensure!(
            knee.best.is_some(),
            "{pods} nodes do not even serve {:.0} messages/s well: begin with less",
            each * float(*pods) / 4.0
        );
        knees.push(knee);
    }
    stage.end().await?;
    let points: Vec<(f64, f64)> = knees.iter().map(|knee| (float(knee.nodes), knee.messages())).collect();
    let fit = ScalabilityFit::new(&points);
    let page = super::pages::capacity(&knees, fit, options);
    Ok((knees, page))
}

/// Looks for the greatest rate that is served well, from a guess.
async fn find(laboratory: &Laboratory, stage: &Stage, pods: usize, guess: f64, p99: Duration) -> Result<Knee> {
    let mut knee = Knee { nodes: pods, best: None, tried: Vec::new() };
    let (mut low, mut high, mut rate) = (None::<f64>, None::<f64>, guess);
    let mut halvings = 0;
    while halvings < HALVINGS && knee.tried.len() < 10 {
        let point = at_rate(laboratory, stage, pods, rate).await?;
        let well = is_well(&point, p99);
        if well {
            low = Some(rate);
            knee.best = Some(point.clone());
        } else {
            high = Some(rate);
        }
        knee.tried.push((point, well));
        rate = match (low, high) {
            (Some(low), None) => low * STEP,
            (None, Some(high)) => high / STEP,
            (Some(low), Some(high)) => {
                halvings += 1;
                f64::midpoint(low, high)
            }
            (None, None) => rate,
        };
    }
    Ok(knee)
}

/// Tells whether a rate was served well: sent in time, nothing given up, nothing wrong. Where more is due than is done, times
/// from when messages were due grow without end, so they tell that too.
fn is_well(point: &Point, p99: Duration) -> bool {
    let summary = &point.summary;
    summary.send.at(0.99) <= p99 && summary.dropped == 0 && summary.errors() < 0.001 && summary.ledger.lost == 0
}

async fn at_rate(laboratory: &Laboratory, stage: &Stage, pods: usize, rate: f64) -> Result<Point> {
    let shape = Shape::Drawn {
        rate: Rate::constant(rate),
        arrivals: Arrivals::Poisson,
        skew: 0.5,
        organizations: 4,
        users: 25,
    };
    let options = Options { long_polling: 0.5, pause: Duration::from_secs(2), ..clients(laboratory.seed) };
    let nodes = if pods == 1 { "node" } else { "nodes" };
    let name = format!("{pods} {nodes} at {rate:.0} messages a second");
    measure(laboratory, stage, (&name, pods), (shape, options, laboratory.measured)).await
}

fn float(number: usize) -> f64 {
    crate::measure::float(u64::try_from(number).unwrap_or(u64::MAX))
}
