//! `setup`, `ledger` and `judge`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::entropy::{Entropy, SystemEntropy};
use countersign_loadtest::clock::Stopwatch;
use countersign_loadtest::ledger::{Exit, Facts, Ledger, Options, Progress, RunningLedger, Terms, Verdict, judge};
use countersign_loadtest::people::{Organization, SetUp};
use countersign_loadtest::wire::{Targets, Why};

use super::{clock, say};
use crate::cli;

/// How often a line of progress is written.
const PROGRESS: Duration = Duration::from_secs(10);

/// Writes the super-administrators' certificates.
pub(crate) fn set_up(setup: &cli::Setup) -> Result<Exit> {
    let folder = setup.keys.folder()?;
    let certificates = setup.keys.super_administrators(&folder)?.certificates();
    let file = &setup.super_administrators;
    std::fs::write(file, certificates).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("Start the service with COUNTERSIGN_SUPER_ADMINISTRATORS={}", file.display()));
    Ok(Exit::Kept)
}

impl cli::Traffic {
    /// Returns what the library calls it.
    pub(crate) fn options(&self) -> Options {
        let of = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Options {
            readers: of(self.clients),
            writers: of(self.writers),
            rate: self.rate,
            bytes: self.bytes.clone(),
            receipts_one_in: self.receipts_one_in,
            seed: self.seed,
            ..Options::default()
        }
    }
}

/// Runs a ledger against a service.
pub(crate) async fn run(options: cli::Ledger) -> Result<Exit> {
    let targets = Targets::new(&options.service.urls, &options.service.trust())?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let mut traffic = Options { audit: !options.no_audit, ..options.traffic.options() };
    let mut terms = Terms { late: options.late.0 };
    let mut duration = options.duration.0;
    let ledger = if let (true, Some(folder)) = (options.resume, &options.folder) {
        // Whatever is left has waited for as long as there was no ledger.
        terms.late = Duration::MAX;
        duration = Duration::ZERO;
        traffic.rate = 0.0;
        Ledger::open(folder, traffic, targets, clock(), entropy)?
    } else {
        let keys = options.keys.folder()?;
        let set_up = SetUp {
            targets: &targets,
            super_administrators: &options.keys.super_administrators(&keys)?,
            client_limit: traffic.clients_of_each(),
            clock: &*clock(),
            entropy: &*entropy,
        };
        let people = keys.people(usize::try_from(options.traffic.users)?)?;
        let organization = Organization::create(&set_up, &people).await?;
        let default = || PathBuf::from(format!("data/ledger/{}", organization.id));
        let folder = options.folder.clone().unwrap_or_else(default);
        Ledger::create(&folder, vec![organization], traffic, targets.clone(), clock(), entropy)?
    };
    let running = ledger.start()?;
    tracing::info!(folder = %running.folder().display(), "the ledger is open");
    let running = write_for(running, duration).await?;
    let verdict = running.finish(options.drain.0, terms).await?;
    say(&verdict.to_string());
    if let Some(file) = &options.json {
        write_json(file, &verdict)?;
    }
    Ok(verdict.exit())
}

/// Lets a ledger write for a while, or until somebody interrupts it, and says how it goes.
async fn write_for(mut running: RunningLedger, duration: Duration) -> Result<RunningLedger> {
    let watch = Stopwatch::start();
    let end = tokio::time::sleep(duration);
    tokio::pin!(end);
    loop {
        let tally = running.tally();
        tokio::select! {
            () = &mut end => return Ok(running),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for Ctrl-C")?;
                tracing::info!("interrupted: waiting for what was promised");
                return Ok(running);
            }
            failed = running.failed() => match failed? {},
            () = tokio::time::sleep(PROGRESS) => {
                tracing::info!("{:>5} s  {}", watch.elapsed().as_secs(), in_words(&tally.progress()));
            }
        }
    }
}

fn in_words(progress: &Progress) -> String {
    let again: Vec<String> = Why::ALL
        .iter()
        .filter_map(|why| progress.again.get(why).map(|count| format!("{count} {}", why.name())))
        .collect();
    let again = if again.is_empty() { String::new() } else { format!(", repeated: {}", again.join(", ")) };
    format!("{} promised, {} of {} delivered{again}", progress.accepted, progress.delivered, progress.due)
}

/// Judges a ledger's files.
pub(crate) fn judge_again(options: &cli::Judge) -> Result<Exit> {
    let (run, facts) = Facts::read(&options.folder)
        .with_context(|| format!("there is no ledger in {}", options.folder.display()))?;
    let verdict = judge(&run, &facts, Terms { late: options.late.0 });
    say(&if options.json { serde_json::to_string_pretty(&verdict)? } else { verdict.to_string() });
    Ok(verdict.exit())
}

fn write_json(file: &Path, verdict: &Verdict) -> Result<()> {
    std::fs::write(file, serde_json::to_vec_pretty(verdict)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
