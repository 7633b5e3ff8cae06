//! One load on one stage.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::Laboratory;
use crate::clock::Stopwatch;
use crate::ledger::{Keeping, Options};
use crate::load::{LoadOptions, Shape, run};
use crate::measure::Summary;
use crate::nodes::NodeLoad;
use crate::pages::NodeSeries;
use crate::people::SetUp;
use crate::wire::{Operation, Targets};

/// The time at the start of a point that is in no figure.
pub(super) const WARM_UP: Duration = Duration::from_secs(5);

/// How often nodes are looked at.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Where a service runs that is measured.
pub(super) trait Place {
    /// Returns where clients send requests.
    fn targets(&self) -> Result<Targets>;

    /// Returns its nodes, without what they did.
    fn nodes(&self) -> Result<Vec<NodeSeries>>;

    /// Hands over each node's name and load, at each [`EVERY`] from now on, until it is dropped.
    async fn watch(&self, watch: Stopwatch, each: impl FnMut(&str, NodeLoad)) -> Result<()>;
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What it is called.
    pub name: String,
    /// Pods with business logic.
    pub pods: usize,
    /// The run.
    pub summary: Summary,
    /// Its nodes, storage last.
    pub nodes: Vec<NodeSeries>,
}

impl Point {
    /// Returns new messages a second.
    #[must_use]
    pub fn messages(&self) -> f64 {
        self.summary.rate(Operation::SendMessage)
    }

    /// Returns requests a second.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.summary.total_rate()
    }

    /// Returns the cores that business logic used, and those that storage used; where both share one node, nothing and what
    /// that used.
    #[must_use]
    pub fn cores(&self) -> (Option<f64>, f64) {
        let of = |storage: bool| {
            let within = |node: &&NodeSeries| (node.name == "storage" || node.name == "node") == storage;
            self.nodes.iter().filter(within).fold(0.0, |sum, node| sum + self.mean(node, NodeSeries::cores_used))
        };
        let apart = self.nodes.iter().all(|node| node.name != "node");
        (apart.then(|| of(false)), of(true))
    }

    /// Returns the load of all nodes together.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.nodes.iter().map(|node| self.mean(node, NodeSeries::load)).sum()
    }

    fn mean(&self, node: &NodeSeries, of: fn(&NodeSeries, f64, f64) -> f64) -> f64 {
        let Summary { warm_up, measured, .. } = self.summary;
        of(node, warm_up, warm_up + measured)
    }

    /// Returns core-seconds of all nodes for a million messages.
    #[must_use]
    pub fn core_seconds_per_million(&self) -> f64 {
        let (business, storage) = self.cores();
        (business.unwrap_or(0.0) + storage) / self.messages().max(1e-9) * 1e6
    }

    /// Says what is wrong with it, if its figures are not to be believed.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let ledger = &self.summary.ledger;
        if ledger.lost + ledger.corrupted + ledger.duplicated > 0 {
            return Some(format!(
                "{} lost, {} corrupted, {} duplicated",
                ledger.lost, ledger.corrupted, ledger.duplicated
            ));
        }
        self.summary.invalid()
    }
}

/// How clients of a point behave.
pub(super) fn clients(seed: u64) -> Options {
    Options {
        readers: 1,
        writers: 1,
        receipts_one_in: 0,
        patience: Duration::from_secs(30),
        long_polling: 0.0,
        audit: false,
        keeping: Keeping::Buffered,
        seed,
        ..Options::default()
    }
}

/// Puts a load on a service.
///
/// # Errors
/// If the set-up fails.
pub(super) async fn measure(
    laboratory: &Laboratory,
    place: &impl Place,
    (name, pods): (&str, usize),
    (shape, clients, duration): (Shape, Options, Duration),
) -> Result<Point> {
    let targets = place.targets()?;
    let set_up = SetUp {
        targets: &targets,
        super_administrators: &laboratory.super_administrators,
        client_limit: clients.clients_of_each(),
        clock: &*laboratory.clock,
        entropy: &*laboratory.entropy,
    };
    let folder: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let folder = laboratory.work.join(format!("ledger-{folder}"));
    // What an earlier experiment left there is of no use.
    let _ = std::fs::remove_dir_all(&folder);
    let options = LoadOptions {
        name: name.to_owned(),
        duration: WARM_UP + duration,
        warm_up: WARM_UP,
        drain: Duration::from_mins(2),
        late: Duration::from_mins(2),
        clients,
        threads: laboratory.threads,
        folder: folder.clone(),
    };
    let mut nodes = place.nodes()?;
    let begun = std::cell::OnceCell::new();
    let ready = async {
        let _ = begun.set(Stopwatch::start());
        Ok(())
    };
    let running = run(
        &options,
        shape,
        (&set_up, &laboratory.keys),
        (std::sync::Arc::clone(&laboratory.clock), std::sync::Arc::clone(&laboratory.entropy)),
        (None, &*laboratory.view),
        ready,
        std::future::pending(),
    );
    tokio::pin!(running);
    // Nodes are looked at from when the load begins.
    let outcome = loop {
        let Some(watch) = begun.get().copied() else {
            tokio::select! {
                outcome = &mut running => break outcome?,
                () = tokio::time::sleep(Duration::from_millis(20)) => continue,
            }
        };
        let watching = place.watch(watch, |name, load| {
            if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
                node.samples.push(load);
            }
        });
        tokio::select! {
            outcome = &mut running => break outcome?,
            watched = watching => watched?,
        }
    };
    // The ledger of a point that lost nothing is large and says no more.
    if outcome.summary.ledger.lost == 0 {
        let _ = std::fs::remove_dir_all(&folder);
    }
    let point = Point { name: name.to_owned(), pods, summary: outcome.summary, nodes };
    let (business, storage) = point.cores();
    tracing::info!(
        "{name}: {:.0} messages/s, {:.0} requests/s, send p99 {:.1} ms, cores {:.2} + {storage:.2}{}",
        point.messages(),
        point.requests(),
        point.summary.send.at(0.99).as_secs_f64() * 1e3,
        business.unwrap_or(0.0),
        point.doubt().map(|doubt| format!("; {doubt}")).unwrap_or_default()
    );
    Ok(point)
}
