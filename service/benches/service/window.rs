//! What a check costs where very many messages were fetched within the inconsistent window, with arrivals and without.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use crate::client::{Client, Scratch};
use crate::clock::{float, nanos};
use crate::connection::Connection;
use crate::cpu::CpuReading;
use crate::held;
use crate::load::Plan;
use crate::process::Server;
use crate::report::{micros_each, percentiles};
use crate::shard::LATENCY_MAX;
use crate::world::CLIENTS;

/// How often the sides take turns; the first turn warms up.
const TURNS: usize = 4;
/// Checks in each turn.
const CHECKS: usize = 50;
/// Most that a check may cost, beside one on a quiet mailbox.
const RATIO_MAX: f64 = 3.0;

/// One mailbox, asked through one pod.
struct Side {
    fetched: u64,
    pod: usize,
    client: usize,
    latency: Histogram<u64>,
    cpu: Duration,
    checks: u64,
}

/// Fills two users' mailboxes, has their clients fetch everything, and compares checks that find nothing. The first pod
/// relies on arrivals, the second does not.
pub(crate) fn run(plan: &Plan, clients: &mut Vec<Client>, fetched: [u64; 2], pods: &[Server]) -> Result<String> {
    let world = plan.world.as_ref().context("there are no users")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut own = Vec::new();
    for (number, fetched) in fetched.into_iter().enumerate() {
        let recipient = world.users.get(world.users.len() - 1 - number).context("there are too few users")?;
        let mut of_user = clients.split_off(clients.len() - CLIENTS);
        held::fill(&Plan { recipient: Some(recipient.id), ..plan.clone() }, clients, fetched)?;
        let mut client = of_user.pop().context("a user has no client")?;
        runtime.block_on(held::fetch(plan, &mut client, fetched, 0))?;
        own.push(client);
    }
    let mut sides = Vec::new();
    for pod in 0..pods.len() {
        for (client, fetched) in fetched.into_iter().enumerate() {
            let latency = Histogram::new_with_max(LATENCY_MAX, 3)?;
            sides.push(Side { fetched, pod, client, latency, cpu: Duration::ZERO, checks: 0 });
        }
    }
    for turn in 0..=TURNS {
        for side in &mut sides {
            let pod = pods.get(side.pod).context("there are two pods")?;
            let client = own.get_mut(side.client).context("there are two clients")?;
            let measured = runtime.block_on(checks(pod, client))?;
            if turn > 0 {
                side.latency.add(&measured.0)?;
                side.cpu += measured.1;
                side.checks += u64::try_from(CHECKS)?;
            }
        }
    }
    text(&sides)
}

async fn checks(pod: &Server, client: &mut Client) -> Result<(Histogram<u64>, Duration)> {
    let mut connection = Connection::open(pod.address).await?;
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let mut latency = Histogram::new_with_max(LATENCY_MAX, 3)?;
    let before = CpuReading::of(pod.pid())?;
    for _ in 0..CHECKS {
        out.clear();
        client.write_check(100, &mut scratch, &mut out);
        let began = nanos();
        let answer = connection.exchange(&out).await?;
        latency.saturating_record(nanos() - began);
        ensure!(answer.is_success(), "a check is refused: {}", answer.text());
        ensure!(answer.body.starts_with(br#"{"messages":[]"#), "something is new: {}", answer.text());
    }
    Ok((latency, CpuReading::of(pod.pid())?.since(&before).total))
}

fn text(sides: &[Side]) -> Result<String> {
    use std::fmt::Write as _;
    let mut text = "| | fetched within the window | check p50, ms | p99, ms | p99.9, ms | pod's CPU, µs a check |\n\
                    |---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for side in sides {
        let name = if side.pod == 0 { "with arrivals" } else { "without" };
        let cpu = micros_each(side.cpu, side.checks);
        writeln!(text, "| {name} | {} | {} | {cpu:.1} |", side.fetched, percentiles(&side.latency))?;
    }
    let [quiet, busy, quiet_without, busy_without] = sides else { return Ok(text) };
    let ratio = |busy: &Side, quiet: &Side| {
        let median = |side: &Side| float(side.latency.value_at_quantile(0.5));
        (median(busy) / median(quiet), micros_each(busy.cpu, busy.checks) / micros_each(quiet.cpu, quiet.checks))
    };
    let (by_latency, by_cpu) = ratio(busy, quiet);
    let (latency_without, cpu_without) = ratio(busy_without, quiet_without);
    let judged = if by_latency.max(by_cpu) <= RATIO_MAX { "Met" } else { "Missed" };
    write!(
        text,
        "\n{judged}: {by_latency:.2} times the median and {by_cpu:.2} times the CPU of a quiet mailbox; the goal is at most \
         {RATIO_MAX}. Without arrivals it is {latency_without:.1} times the median and {cpu_without:.1} times the CPU.\n"
    )?;
    Ok(text)
}
