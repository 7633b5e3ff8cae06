//! A whole comparison: each side is started, set up, loaded, judged and stopped, one after the other, and that in turns,
//! so that what else the machine does hits all of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::clock::Clock;
use countersign_client::connection::{HttpClient, Trust};
use countersign_client::entropy::Entropy;

use super::cpu::CpuTime;
use super::driver::Client;
use super::load::{Crowd, Load, Pace, Terms};
use super::report::{Report, Row};
use super::servers::{Servers, Settings, Side, versions};
use super::synapse::Way;
use super::{article, countersign, synapse};
use crate::clock;
use crate::keys::{Person, SuperAdministrators};
use crate::measure::float;
use crate::people::{Organization, SetUp};
use crate::random::Random;
use crate::wire::Targets;

/// Users who only read, in the run that looks for losses.
const READERS: usize = 4;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sides, in this order.
    pub sides: Vec<Side>,
    /// How often each of them has its turn.
    pub turns: usize,
    /// Users, each on one device.
    pub clients: usize,
    /// New messages a second that are offered, one after the other, after the closed load.
    pub rates: Vec<f64>,
    /// How long each load lasts, and what messages are.
    pub terms: Terms,
    /// How long to look for losses, once for each side; none if this is zero.
    pub look_for_losses: Duration,
    /// How often a second all write at once then.
    pub bursts: f64,
}

/// Who takes part.
struct People<'a> {
    all: Vec<Arc<Person>>,
    super_administrators: &'a SuperAdministrators,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Compares sides.
///
/// # Errors
/// If one of them cannot be started, set up or asked.
pub async fn compare(
    options: &Options,
    settings: &Settings,
    people: Vec<Arc<Person>>,
    super_administrators: &SuperAdministrators,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Report> {
    let people = People { all: people, super_administrators, clock, entropy };
    let (mut rows, mut losses) = (Vec::new(), Vec::new());
    for turn in 1..=options.turns {
        for &side in &options.sides {
            tracing::info!(side = side.name(), turn, "starting");
            one_turn(options, settings, &people, side, turn == 1, (&mut rows, &mut losses))
                .await
                .with_context(|| side.title())?;
        }
    }
    let terms = &options.terms;
    let bytes = format!("{} to {} bytes", terms.bytes.start(), terms.bytes.end());
    Ok(Report {
        terms: format!(
            "{} users with one device each, who write to two others in turns with checking for news; contents of {bytes}, \
             seed {}; {} turns of {} s for each load, servers started anew for each turn.",
            options.clients,
            terms.seed,
            options.turns,
            terms.duration.as_secs_f64(),
        ),
        loss_terms: format!(
            "{} users write to {READERS} others, all at the same moment, {} times a second for {} s, while the others \
             check without a pause.",
            options.clients.saturating_sub(READERS),
            options.bursts,
            options.look_for_losses.as_secs_f64(),
        ),
        versions: versions(&settings.scripts).await?,
        rows,
        losses,
    })
}

async fn one_turn(
    options: &Options,
    settings: &Settings,
    people: &People<'_>,
    side: Side,
    first: bool,
    (rows, losses): (&mut Vec<Row>, &mut Vec<Row>),
) -> Result<()> {
    let servers = Servers::start(settings, side).await?;
    let ring = Crowd::ring(options.clients);
    let few = Crowd::many_to_few(options.clients, READERS);
    let mut clients = enter(side, &servers, people, &Crowd::partners(&[&ring, &few])).await?;
    // The first request of each is not as the others: sessions, connections, what is compiled or read at first use.
    for client in &mut clients {
        let items = client.check().await?;
        client.confirm(&items).await?;
    }
    for pace in std::iter::once(Pace::Closed).chain(options.rates.iter().copied().map(Pace::Open)) {
        let (back, row) = measure(clients, &ring, pace, &options.terms, side, &servers).await?;
        clients = back;
        merge(rows, row)?;
    }
    if first && !options.look_for_losses.is_zero() {
        let terms = Terms { duration: options.look_for_losses, ..options.terms.clone() };
        let (_, row) = measure(clients, &few, Pace::Bursts(options.bursts), &terms, side, &servers).await?;
        merge(losses, row)?;
    }
    servers.stop().await
}

/// Sets users up, each of whom may write to its partners.
async fn enter(
    side: Side,
    servers: &Servers,
    people: &People<'_>,
    partners: &[Vec<usize>],
) -> Result<Vec<Box<dyn Client>>> {
    let url = servers.url()?;
    let http = || HttpClient::new(url.clone(), &Trust::System);
    match side {
        Side::CountersignEmbedded
        | Side::CountersignMariadb
        | Side::CountersignCql
        | Side::CountersignValkey
        | Side::CountersignDynamodb => {
            let targets = Targets::new(std::slice::from_ref(&url), &Trust::System)?;
            let set_up = SetUp {
                targets: &targets,
                super_administrators: people.super_administrators,
                client_limit: 2,
                clock: &*people.clock,
                entropy: &*people.entropy,
            };
            let organization = Organization::create(&set_up, &people.all).await?;
            let mut random = Random::new(0);
            Ok(countersign::clients(&organization, &targets, &people.clock, &*people.entropy, &mut random))
        }
        Side::Article | Side::ArticleWithoutIndices => {
            article::clients(&http()?, servers.secret(), &people.all, &people.clock, &*people.entropy).await
        }
        Side::Synapse => synapse::clients(&http()?, Way::Rooms, partners).await,
        Side::SynapseToDevice => synapse::clients(&http()?, Way::ToDevice, partners).await,
    }
}

async fn measure(
    clients: Vec<Box<dyn Client>>,
    crowd: &Crowd,
    pace: Pace,
    terms: &Terms,
    side: Side,
    servers: &Servers,
) -> Result<(Vec<Box<dyn Client>>, Row)> {
    let read = || -> Result<([CpuTime; 2], clock::CpuTime)> {
        let of_servers = [CpuTime::of_trees(servers.service())?, CpuTime::of_trees(servers.store())?];
        Ok((of_servers, clock::CpuTime::of_process()))
    };
    let mut load = Load::new(clients, crowd, pace, terms)?;
    let before = read()?;
    load.press().await?;
    let after = read()?;
    load.drain().await?;
    let (clients, figures) = load.finish()?;
    let [service, store] = [0, 1].map(|which: usize| after.0[which].since(before.0[which]).0);
    let driver = after.1.since(&before.1);
    let store = (!servers.store().is_empty()).then_some(store);
    let rate = float(figures.sends) / figures.elapsed.as_secs_f64();
    let verdict = figures.verdict;
    tracing::info!(side = side.name(), ?pace, rate = rate.round(), lost = verdict.lost, "measured");
    Ok((clients, Row { side, pace, figures, service, store, driver, turns: vec![rate] }))
}

/// Adds a turn to the row of its side and load.
fn merge(rows: &mut Vec<Row>, turn: Row) -> Result<()> {
    let known = rows.iter_mut().find(|row| row.side == turn.side && row.pace == turn.pace);
    let Some(row) = known else {
        rows.push(turn);
        return Ok(());
    };
    row.figures.add(&turn.figures)?;
    row.service += turn.service;
    row.store = row.store.zip(turn.store).map(|(store, more)| store + more);
    row.driver += turn.driver;
    row.turns.extend(turn.turns);
    Ok(())
}
