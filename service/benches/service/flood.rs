//! Many password requests at once, while messages are sent and checks are made.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};

use crate::client::Client;
use crate::clock::nanos;
use crate::connection::Connection;
use crate::load::{Measured, Plan};
use crate::random::Random;
use crate::shard::{Kind, LATENCY_MAX, phase};
use crate::world::{World, password_request};

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of the password requests.
pub(crate) struct Flood {
    /// What came of the others: the first phase is before, the second during.
    pub(crate) load: Measured,
    /// Latencies of the password requests, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Those that were refused.
    pub(crate) refused: u64,
    /// How long all of them took.
    pub(crate) time: Duration,
}

/// Sends `count` password requests at once in the middle of a load. Each is of another user and a new client.
pub(crate) fn run(plan: &Plan, clients: &mut Vec<Client>, count: usize, random: &mut Random) -> Result<Flood> {
    let world = plan.world.clone().context("password requests need users")?;
    let mut latency = Histogram::new_with_max(LATENCY_MAX, 3)?;
    let (mut refused, mut time) = (0, Duration::ZERO);
    let load = plan.run_with(clients, |phase| {
        let requests = signed(&world, count, random)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let mut ready = Vec::new();
            for (request, address) in requests.into_iter().zip(plan.addresses.iter().cycle()) {
                ready.push((Connection::open(*address).await?, request));
            }
            phase.store(phase::SECOND, Ordering::Relaxed);
            let began = nanos();
            let mut tasks = JoinSet::new();
            for (mut connection, request) in ready {
                tasks.spawn_local(async move {
                    let answer = connection.exchange(request.as_bytes()).await?;
                    anyhow::Ok((answer.status, nanos()))
                });
            }
            let all = async {
                while let Some(answered) = tasks.join_next().await {
                    match answered? {
                        Ok((200, at)) => latency.saturating_record(at - began),
                        _ => refused += 1,
                    }
                }
                anyhow::Ok(())
            };
            if tokio::time::timeout(PATIENCE, all).await.is_err() {
                refused += u64::try_from(tasks.len())?;
            }
            time = Duration::from_nanos(nanos() - began);
            anyhow::Ok(())
        })
    })?;
    Ok(Flood { load, latency, refused, time })
}

fn signed(world: &World, count: usize, random: &mut Random) -> Result<Vec<String>> {
    let step = (world.users.len() / count.max(1)).max(1);
    let users = world.users.iter().step_by(step).take(count);
    users.map(|user| Ok(password_request(user, random.uuid().into())?.2)).collect()
}

impl Flood {
    /// Writes what was measured.
    pub(crate) fn text(&self) -> Result<String> {
        let cells = |phase, kind| {
            let tally = self.load.outcome.tally(phase, &[kind])?;
            anyhow::Ok(format!("{} | {}", crate::report::percentiles(&tally.latency), tally.errors))
        };
        Ok(format!(
            "| latency | p50, ms | p99, ms | p99.9, ms | errors |\n|---|---:|---:|---:|---:|\n\
             | messages before | {} |\n| messages during | {} |\n| checks before | {} |\n| checks during | {} |\n\
             | password requests ({:.1} s for all) | {} | {} |\n",
            cells(phase::FIRST, Kind::Send)?,
            cells(phase::SECOND, Kind::Send)?,
            cells(phase::FIRST, Kind::Check)?,
            cells(phase::SECOND, Kind::Check)?,
            self.time.as_secs_f64(),
            crate::report::percentiles(&self.latency),
            self.refused,
        ))
    }
}
