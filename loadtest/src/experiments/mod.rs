//! The article's experiments and ours, on this machine: services, stores and load in nodes with a quota of processor time
//! each.
//!
//! Owns: which processes are in which node, which load meets them, and what is held against what. Refuses to know: how a
//! load is made, how a node is.
//!
//! Invariants: everything listens on the loopback and ends with this process; the generator is in no node; a point whose
//! generator lagged, or whose ledger found something, is marked as such and not left out.
//!
//! `stage` starts and ends processes, `point` measures one load on one stage, and `scaling1`, `scaling2` and `capacity` are
//! the experiments; `cluster` measures a service on Kubernetes that it scales itself.

mod capacity;
#[cfg(feature = "kubernetes")]
mod cluster;
mod pages;
mod point;
mod scaling1;
mod scaling2;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::entropy::Entropy;

use crate::clock::Clock;
use crate::conversation::{Entry, Shipped};
use crate::keys::{KeyFolder, SuperAdministrators};
use crate::load::{Replay, Shape, View};
use crate::random::Random;
use crate::traffic::{Arrivals, BYTES_MIN, Due, Population, Rate, Schedule, Sizes, drawn};

pub use capacity::{CapacityOptions, capacity};
#[cfg(feature = "kubernetes")]
pub use cluster::{ClusterOptions, scale};
pub use point::Point;
pub use scaling1::scaling1;
pub use scaling2::scaling2;
pub use stage::Backing;

/// What is started on this machine.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The service's program.
    pub service: PathBuf,
    /// The project's folder of scripts, which start servers.
    pub scripts: PathBuf,
}

/// What every experiment needs.
pub struct Laboratory {
    /// Where logs and ledgers of points go.
    pub work: PathBuf,
    /// Keys of people.
    pub keys: KeyFolder,
    /// Those who create organizations.
    pub super_administrators: SuperAdministrators,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// How long one point is measured.
    pub measured: Duration,
    /// What decides contents, people and times.
    pub seed: u64,
    /// Threads of the generator.
    pub threads: usize,
    /// Is told how it goes.
    pub view: Box<dyn View>,
}

impl std::fmt::Debug for Laboratory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Laboratory({})", self.work.display())
    }
}

/// Returns the shipped conversations, so many of them, in turn.
fn shipped(count: usize) -> Result<Vec<Replay>> {
    let mut replays = Vec::with_capacity(count);
    for number in 0..count {
        let shipped = crate::conversation::SHIPPED;
        let log = shipped.get(number % shipped.len()).context("there are shipped conversations")?;
        let name = if count > shipped.len() {
            format!("{} {}", log.name, number / shipped.len() + 1)
        } else {
            log.name.to_owned()
        };
        replays.push(replay(*log, name)?);
    }
    Ok(replays)
}

/// Returns a shipped conversation to be replayed.
fn replay(log: Shipped, name: String) -> Result<Replay> {
    let reader = log.open()?;
    let users = usize::try_from(reader.head().users)?;
    // What is shipped is checked by a test.
    let messages = Box::new(reader.filter_map(Result::ok).map(due));
    Ok(Replay { name, users, messages })
}

/// Turns a line of a conversation into a message that is due. One of fewer than [`BYTES_MIN`] bytes is filled up to them, so
/// that each message is unlike all others.
#[must_use]
pub fn due(entry: Entry) -> Due {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Due {
        after: entry.at,
        from: number(entry.from),
        to: entry.to.into_iter().map(number).collect(),
        bytes: number(entry.bytes).max(BYTES_MIN),
    }
}

/// Users of a program that goes on for ever.
const USERS: usize = 4;

/// Returns programs that go on for ever, each with [`USERS`] of its own.
fn closed(programs: usize, seed: u64) -> Shape {
    let program = |number: usize| {
        let mut random = Random::new(seed.wrapping_add(u64::try_from(number).unwrap_or(0)));
        let population =
            Population::new(1, USERS, 0.0, Sizes::LogNormal { median: 400.0, p99: 10_000.0 }, random.split());
        let schedule = Schedule::new(&Rate::constant(1.0), Duration::MAX, Arrivals::Even, random);
        Replay { name: format!("program {}", number + 1), users: USERS, messages: drawn(schedule, population) }
    };
    Shape::Closed((0..programs).map(program).collect())
}
