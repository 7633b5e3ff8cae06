//! What a listing costs where very many messages are held, all but the last few of them fetched.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::client::{Client, Scratch, confirmation, listed_ids};
use crate::clock::nanos;
use crate::connection::Connection;
use crate::cpu::CpuReading;
use crate::load::Plan;
use crate::report::{micros_each, progress};
use crate::shard::LATENCY_MAX;
use crate::world::CLIENTS;

/// Messages that the clients do not confirm.
const UNCONFIRMED: usize = 10;
/// Items of one listing while the clients catch up.
const PAGE: usize = 10_000;
/// How often the two users take turns.
const TURNS: u32 = 20;
/// Listings in each turn.
const LISTINGS: u32 = 250;

/// What was measured of one user.
struct Side {
    held: u64,
    client: Client,
    latency: Histogram<u64>,
    cpu: Duration,
    listings: u64,
}

/// Settings of a service with an inconsistent window that is shorter than by default, and so with shorter windows of ids.
pub(crate) fn settings(window: Duration) -> [(&'static str, String); 3] {
    [
        ("INCONSISTENT_WINDOW", format!("{}s", window.as_secs())),
        ("MESSAGE_ID_BEHIND", "2s".to_owned()),
        ("MESSAGE_ID_AHEAD", "2s".to_owned()),
    ]
}

/// Fills two users' mailboxes, has their clients fetch them, and compares what a listing costs. `plan` says how they
/// are filled; `window` is the service's inconsistent window.
pub(crate) fn run(plan: &Plan, clients: &mut Vec<Client>, held: [u64; 2], window: Duration) -> Result<String> {
    let mut sides = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (number, held) in held.into_iter().enumerate() {
        let world = plan.world.as_ref().context("there are no users")?;
        // The last users, so that the numbers of the other clients stay what they are.
        let recipient = world.users.get(world.users.len() - 1 - number).context("there are too few users")?;
        let own = clients.split_off(clients.len() - CLIENTS);
        let began = nanos();
        fill(&Plan { recipient: Some(recipient.id), ..plan.clone() }, clients, held)?;
        progress(&format!("{held} messages sent in {:.1} s", Duration::from_nanos(nanos() - began).as_secs_f64()));
        sides.push((held, own));
    }
    let mut measured = Vec::new();
    for (held, own) in sides {
        let mut of_side = None;
        for mut client in own {
            runtime.block_on(fetch(plan, &mut client, held, UNCONFIRMED))?;
            of_side = Some(client);
        }
        let client = of_side.context("a user has no client")?;
        measured.push(Side {
            held,
            client,
            latency: Histogram::new_with_max(LATENCY_MAX, 3)?,
            cpu: Duration::ZERO,
            listings: 0,
        });
    }
    // What was fetched leaves the inconsistent window, so that listings need not read it again.
    std::thread::sleep(window + Duration::from_millis(500));
    runtime.block_on(alternate(plan, &mut measured))?;
    text(&measured)
}

/// Sends messages to the plan's recipient until there are so many.
pub(crate) fn fill(plan: &Plan, clients: &mut Vec<Client>, held: u64) -> Result<()> {
    let mut left = held;
    for _ in 0..10 {
        let sent = Plan { sends: Some(left), ..plan.clone() }.run(clients)?;
        let tally = sent.outcome.tally(crate::shard::phase::FIRST, &[crate::shard::Kind::Send])?;
        left = left.saturating_sub(tally.latency.len());
        if left == 0 {
            return Ok(());
        }
        if let Some(sample) = sent.outcome.sample {
            progress(&format!("{left} messages are to be sent again; a refusal: {sample}"));
        }
    }
    bail!("{left} of {held} messages could not be sent")
}

/// Lists and confirms until only the last `unconfirmed` messages are new.
pub(crate) async fn fetch(plan: &Plan, client: &mut Client, held: u64, unconfirmed: usize) -> Result<()> {
    let mut connection = Connection::open(*plan.addresses.first().context("there is no service")?).await?;
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let mut confirmed = 0;
    loop {
        out.clear();
        client.write_check(PAGE, &mut scratch, &mut out);
        let answer = connection.exchange(&out).await?;
        ensure!(answer.is_success(), "a listing is refused: {}", answer.text());
        let mut ids: Vec<String> = listed_ids(answer.body).map(str::to_owned).collect();
        let last = answer.body.ends_with(br#""more":false}"#);
        if last {
            ids.truncate(ids.len().saturating_sub(unconfirmed));
        }
        confirmed += ids.len();
        out.clear();
        client.write_confirm(&confirmation(ids.iter().map(String::as_str)), &mut scratch, &mut out);
        let answer = connection.exchange(&out).await?;
        ensure!(answer.is_success(), "a confirmation is refused: {}", answer.text());
        if last {
            ensure!(
                u64::try_from(confirmed + unconfirmed)? == held,
                "{confirmed} messages were listed besides the last {unconfirmed}, of {held}"
            );
            return Ok(());
        }
    }
}

async fn alternate(plan: &Plan, sides: &mut [Side]) -> Result<()> {
    let mut connection = Connection::open(*plan.addresses.first().context("there is no service")?).await?;
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    for turn in 0..=TURNS {
        for side in sides.iter_mut() {
            let before = CpuReading::of_all(&plan.pids)?;
            for _ in 0..LISTINGS {
                out.clear();
                side.client.write_check(100, &mut scratch, &mut out);
                let began = nanos();
                let answer = connection.exchange(&out).await?;
                let took = nanos() - began;
                let listed = listed_ids(answer.body).count();
                ensure!(listed == UNCONFIRMED, "{listed} items instead of {UNCONFIRMED}: {}", answer.text());
                // The first turn is for warming up.
                if turn > 0 {
                    side.latency.saturating_record(took);
                }
            }
            if turn > 0 {
                side.cpu += CpuReading::of_all(&plan.pids)?.since(&before).total;
                side.listings += u64::from(LISTINGS);
            }
        }
    }
    Ok(())
}

fn text(sides: &[Side]) -> Result<String> {
    use std::fmt::Write as _;
    let mut text = "| held messages | listing p50, ms | p99, ms | p99.9, ms | service CPU, µs a listing |\n\
                    |---:|---:|---:|---:|---:|\n"
        .to_owned();
    for side in sides {
        let cpu = micros_each(side.cpu, side.listings);
        writeln!(text, "| {} | {} | {cpu:.1} |", side.held, crate::report::percentiles(&side.latency))?;
    }
    if let [few, many] = sides {
        let median = |side: &Side| crate::clock::float(side.latency.value_at_quantile(0.5));
        let by_latency = median(many) / median(few);
        let by_cpu = micros_each(many.cpu, many.listings) / micros_each(few.cpu, few.listings);
        let judged = if by_latency.max(by_cpu) <= 1.2 { "Met" } else { "Missed" };
        write!(
            text,
            "\n{judged}: {by_latency:.2} times the median, {by_cpu:.2} times the CPU; the goal is at most 1.2."
        )?;
    }
    Ok(text)
}
