//! A run: the stage is set, the ledger writes and reads, the plan is done, everything is well again, the judge judges.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_client::clock::Clock;
use countersign_client::entropy::Entropy;
use tokio::task::JoinSet;

use super::plan::{Plan, Shape};
use super::pod::troubled_lines;
use super::report::Report;
use super::stage::{Settings, Stage, Store};
use super::timeline::Timeline;
use crate::keys::KeyFolder;
use crate::ledger::{Ledger, Options, RunningLedger, Terms, Verdict};
use crate::people::{Organization, SetUp};

/// How often it is noted how the ledger fares.
const SAMPLE: Duration = Duration::from_secs(5);

/// How a run is made.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// What decides the plan.
    pub seed: u64,
    /// How long faults are done.
    pub duration: Duration,
    /// What writers and readers do.
    pub traffic: Options,
    /// Users.
    pub users: usize,
    /// How long is waited, once all is well, for what was promised.
    pub drain: Duration,
    /// How long a delivery may take.
    pub late: Duration,
    /// The folder for logs, the ledger and the report.
    pub folder: PathBuf,
    /// The command that makes the same plan again.
    pub again: String,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The report.
    pub report: Report,
}

/// Runs the ledger while a plan of faults is done, judges, and writes the report.
///
/// # Errors
/// If the stage cannot be set, a fault cannot be done, or a pod does not end well.
pub async fn run(
    settings: &Settings,
    options: &ChaosOptions,
    keys: &KeyFolder,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Outcome> {
    std::fs::create_dir_all(&options.folder).with_context(|| format!("cannot make {}", options.folder.display()))?;
    // What is started works in other folders.
    let folder = options.folder.canonicalize()?;
    let began = clock.now().to_string();
    tracing::info!(folder = %folder.display(), "starting everything");
    let supers = keys.super_administrators()?;
    let stage = Arc::new(Stage::set(settings, &supers, &folder, Arc::clone(&clock)).await?);
    let targets = stage.targets().await?;
    let set_up = SetUp {
        targets: &targets,
        super_administrators: &supers,
        client_limit: options.traffic.clients_of_each(),
        clock: &*clock,
        entropy: &*entropy,
    };
    let organization = Organization::create(&set_up, &keys.people(options.users)?).await?;
    let traffic = options.traffic.clone();
    let ledger = Ledger::create(
        &folder.join("ledger"),
        vec![organization],
        traffic,
        targets.clone(),
        Arc::clone(&clock),
        entropy,
    )?;
    let mut ledger = ledger.start()?;

    let plan = Plan::draw(options.seed, stage.shape(), options.duration);
    tracing::info!(seed = plan.seed, steps = plan.steps.len(), "the faults begin");
    let timeline = Timeline::begin();
    perform(&plan, &stage, &timeline, &mut ledger).await?;
    timeline.note("all is well again");
    let tally = ledger.tally();
    let verdict = ledger.finish(options.drain, Terms { late: options.late }).await?;
    let progress = tally.progress();
    timeline.sample(&progress);
    timeline.note("the ledger is closed");

    let proxied = (stage.store_connections(), stage.valkey_connections());
    let shape = stage.shape();
    ensure!(
        shape.nodes == 0 || (proxied.0 > 0 && proxied.1 > 0),
        "nothing went through the proxies, so no connection was harmed: this run shows nothing"
    );
    let stage = Arc::into_inner(stage).context("something is still done to the stage")?;
    stage.clear().await?;
    let (events, samples) = timeline.all();
    let report = Report {
        seed: plan.seed,
        seconds: options.duration.as_secs(),
        stage: in_words(&settings.store, shape),
        again: options.again.clone(),
        began,
        kept: verdict.exit().code() == 0,
        verdict: verdict.clone(),
        faults: plan.sorts(),
        plan: plan.steps,
        events,
        samples,
        repeated: progress.again.iter().map(|(why, count)| (why.name(), *count)).collect(),
        skipped: progress.skipped,
        proxied,
        troubled: troubled_lines(&folder)?,
    };
    report.write(&folder)?;
    Ok(Outcome { verdict, report })
}

/// Does all steps, each at its time, and waits until all is undone.
async fn perform(plan: &Plan, stage: &Arc<Stage>, timeline: &Timeline, ledger: &mut RunningLedger) -> Result<()> {
    let mut steps = JoinSet::new();
    for step in plan.steps.clone() {
        let (stage, timeline) = (Arc::clone(stage), timeline.clone());
        steps.spawn(async move {
            let at = Duration::from_millis(step.at);
            tokio::time::sleep(at.saturating_sub(timeline.elapsed())).await;
            stage.perform(&step, &timeline).await
        });
    }
    let mut samples = tokio::time::interval(SAMPLE);
    loop {
        let tally = ledger.tally();
        tokio::select! {
            ended = steps.join_next() => match ended {
                Some(ended) => ended.context("a fault panicked")??,
                None => return Ok(()),
            },
            failed = ledger.failed() => match failed? {},
            _ = samples.tick() => timeline.sample(&tally.progress()),
        }
    }
}

fn in_words(store: &Store, shape: Shape) -> String {
    let Shape { pods, nodes, valkeys, clocks, .. } = shape;
    let clocks = if clocks { "" } else { "; clocks were left alone, since libfaketime is missing or has no effect" };
    match store {
        Store::Embedded => format!("one pod with the embedded store{clocks}"),
        Store::SharedCql(_) | Store::OwnCql(_) => {
            format!("{pods} pods over {nodes} CQL nodes and {valkeys} Valkey servers{clocks}")
        }
    }
}
