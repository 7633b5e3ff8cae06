//! A load test: people are set up, messages are sent and read for a while, the ledger judges, and what was measured is
//! summed up.
//!
//! Owns: the order of all that. Refuses to know: where messages come from, what the figures should be, how they are shown.
//!
//! Invariants: the ledger is always on; sessions are open before the first message is due; nothing of the set-up is in a
//! figure.

mod shape;

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::clock::{CpuTime, Stopwatch};
use crate::keys::KeyFolder;
use crate::ledger::{Ledger, Options, Progress, RunningLedger, Terms, Verdict};
use crate::measure::{
    Circumstances, Delivered, Exporter, GeneratorUse, ProgramRun, Recorder, Second, Summary, Window,
};
use crate::people::{Organization, SetUp};

pub use shape::{Replay, Shape};

/// Organizations that are set up at once.
const AT_ONCE: usize = 4;
/// How often it is looked what is new to be told.
const LOOK: Duration = Duration::from_secs(1);

/// How a load test is made.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What it is called in reports.
    pub name: String,
    /// How long messages are due, or closed programs may work.
    pub duration: Duration,
    /// The time at the start of that which is in no total.
    pub warm_up: Duration,
    /// How long is waited, in the end, for what was promised.
    pub drain: Duration,
    /// How long a delivery may take.
    pub late: Duration,
    /// What clients do.
    pub clients: Options,
    /// Threads of the generator.
    pub threads: usize,
    /// The folder of the ledger's files and of `results.jsonl`.
    pub folder: PathBuf,
}

/// Is told how it goes.
pub trait View: Send + Sync {
    /// So much of the set-up is done.
    fn set_up(&self, what: &'static str, done: usize, of: usize);

    /// A second of the run is over.
    fn running(&self, second: &Second, progress: &Progress);

    /// No more is sent; what was promised is waited for.
    fn draining(&self, outstanding: u64);
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In figures.
    pub summary: Summary,
    /// What the ledger found.
    pub verdict: Verdict,
}

/// Runs a load test. `ready` is waited for when everything is set up: workers begin together. `interrupted` ends the
/// sending early; what was promised is still waited for.
///
/// # Errors
/// If the service refuses the set-up, or a file cannot be written.
pub async fn run(
    options: &LoadOptions,
    shape: Shape,
    (set_up, keys): (&SetUp<'_>, &KeyFolder),
    (clock, entropy): (Arc<dyn crate::clock::Clock>, Arc<dyn countersign_client::entropy::Entropy>),
    (exporter, view): (Option<Arc<Exporter>>, &dyn View),
    ready: impl Future<Output = Result<()>>,
    interrupted: impl Future<Output = ()>,
) -> Result<Outcome> {
    let organizations = organizations(&shape, set_up, keys, view).await?;
    let users = organizations.iter().map(|organization| organization.users.len()).sum();
    let window = Window { from: options.warm_up, until: options.duration };
    ensure!(window.from < window.until, "the warm-up is as long as the whole run: nothing would be measured");
    let recorder = Arc::new(Recorder::new(window, exporter.clone()));
    let clients = options.clients.clone();
    let targets = set_up.targets.clone();
    let mut ledger = Ledger::create(&options.folder, organizations, clients, targets, Arc::clone(&clock), entropy)?
        .observed_by(Arc::clone(&recorder) as Arc<dyn crate::wire::Observer>);
    let (clients, opened) = (ledger.clients(), AtomicUsize::new(0));
    ledger.prepare(|| view.set_up("sessions", opened.fetch_add(1, Ordering::Relaxed) + 1, clients)).await?;
    ready.await?;

    let load = shape.in_words(&options.clients, options.duration);
    let (names, work) = shape.work(&options.clients, options.duration);
    let (began, watch) = (clock.now().0, Stopwatch::start());
    recorder.begin();
    let mut running = ledger.start_with(work)?;
    let (programs, cpu) =
        drive(options, &mut running, &recorder, (exporter.as_deref(), view), !names.is_empty(), interrupted).await?;
    let until = watch.elapsed().min(options.duration);
    view.draining(running.progress().outstanding());
    let tally = running.tally();
    let verdict = running.finish(options.drain, Terms { late: options.late }).await?;
    let allowed = options.threads.min(std::thread::available_parallelism()?.get());
    let programs = programs
        .into_iter()
        .map(|(number, took)| ProgramRun {
            name: names.get(number).cloned().unwrap_or_default(),
            seconds: took.as_secs_f64(),
        })
        .collect();
    let about = Circumstances {
        name: options.name.clone(),
        began,
        load,
        users,
        clients,
        generator: GeneratorUse { used: cpu, allowed: f64::from(u32::try_from(allowed)?) },
        programs,
    };
    let summary = Summary::new(about, Window { until, ..window }, recorder.recorded(), &tally.progress(), &verdict);
    if let Some(exporter) = exporter {
        exporter.judged(&Delivered::from(&verdict));
    }
    Ok(Outcome { summary, verdict })
}

async fn organizations(
    shape: &Shape,
    set_up: &SetUp<'_>,
    keys: &KeyFolder,
    view: &dyn View,
) -> Result<Vec<Organization>> {
    let sizes = shape.organizations();
    let most = sizes.iter().copied().max().context("a load test has at least one organization")?;
    ensure!(sizes.iter().all(|users| *users > 0), "an organization has at least one user");
    let people = keys.people_telling(most, |done| view.set_up("keys", done, most))?;
    let (all, added) = (sizes.iter().sum(), AtomicUsize::new(0));
    let added = || view.set_up("users", added.fetch_add(1, Ordering::Relaxed) + 1, all);
    stream::iter(sizes.into_iter().map(|users| {
        let people = people.get(..users).unwrap_or(&people);
        Organization::create_telling(set_up, people, &added)
    }))
    .buffered(AT_ONCE)
    .try_collect()
    .await
}

/// Lets it run to its end, writes each second down, and returns which programs were done and how many cores were used.
async fn drive(
    options: &LoadOptions,
    running: &mut RunningLedger,
    recorder: &Recorder,
    (exporter, view): (Option<&Exporter>, &dyn View),
    closed: bool,
    interrupted: impl Future<Output = ()>,
) -> Result<(Vec<(usize, Duration)>, f64)> {
    let file = options.folder.join("results.jsonl");
    let mut results = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let end = tokio::time::sleep(options.duration);
    tokio::pin!(end, interrupted);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.tick().await;
    let (mut told, tally) = (0, running.tally());
    let (watch, cpu) = (Stopwatch::start(), CpuTime::of_process());
    loop {
        tokio::select! {
            () = &mut end => break,
            () = &mut interrupted => break,
            done = running.done(), if closed => { done?; break }
            _ = ticks.tick() => {
                let progress = tally.progress();
                if let Some(exporter) = exporter {
                    exporter.offered(&progress);
                }
                let second = recorder.second(told);
                told += 1;
                // Written as it goes, so that what an interrupted run found is not lost.
                serde_json::to_writer(&mut results, &second)?;
                results.write_all(b"\n")?;
                running.flush()?;
                view.running(&second, &progress);
            }
        }
    }
    let used = CpuTime::of_process().since(&cpu).as_secs_f64() / watch.elapsed().as_secs_f64().max(1e-9);
    if closed {
        running.stop_programs().await?;
    }
    Ok((running.programs_done().to_vec(), used))
}
