//! The article's first experiment: one node, the database and Valkey beside the service, three dumb clients that replay one
//! conversation each.

use anyhow::Result;

use super::point::{Point, clients, measure};
use super::stage::{Backing, Cut, Stage};
use super::{Laboratory, Programs, shipped};
use crate::load::Shape;
use crate::nodes::Nodes;
use crate::report::Page;

/// Clients of the article's experiment.
const PROGRAMS: usize = 3;
/// Cores of the node. The article's had two; this one has what leaves the generator a core of its own on two.
const CORES: f64 = 1.0;

/// Measures one node with and without indices.
///
/// # Errors
/// If a process does not start, or the set-up fails.
pub async fn scaling1(laboratory: &Laboratory, programs: &Programs) -> Result<(Vec<Point>, Page)> {
    let mut nodes = Nodes::open()?;
    let cut = Cut::One(CORES);
    let mut points = Vec::new();
    let first = Backing::Mariadb { indices: false };
    let mut stage = Stage::set((laboratory, programs), &mut nodes, first, cut, "scaling1").await?;
    for (backing, database) in
        [(first, "countersign_bare"), (Backing::Mariadb { indices: true }, "countersign_indexed")]
    {
        stage.pods(laboratory, &mut nodes, (backing, cut), (1, database)).await?;
        let name = format!("One node, {}", backing.name());
        let load = (Shape::Closed(shipped(PROGRAMS)?), clients(laboratory.seed), laboratory.measured);
        points.push(measure(laboratory, &stage, (&name, 1), load).await?);
    }
    stage.end().await?;
    let page = super::pages::scaling1(&points, CORES);
    Ok((points, page))
}
