//! `chaos`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::entropy::{SystemEntropy, random_id};
use countersign_loadtest::chaos::{self, ChaosOptions, Plan, Settings, Shape, Store};
use countersign_loadtest::ledger::{Exit, Options};

use super::{beside_this, clock, say};
use crate::cli::{self, ChaosStore};

const NODES: usize = 3;
const VALKEYS: usize = 6;
/// How long clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Runs the ledger while a plan of faults is done.
pub(crate) async fn run(options: cli::Chaos) -> Result<Exit> {
    let embedded = options.store == ChaosStore::Embedded;
    let pods = if embedded { 1 } else { options.pods };
    let seed = options.traffic.seed;
    if options.plan {
        print_plan(&options, pods, embedded);
        return Ok(Exit::Kept);
    }
    let entropy = Arc::new(SystemEntropy);
    let name = random_id(&*entropy).simple().to_string();
    let settings = Settings {
        binary: options.countersignd.clone().map_or_else(beside_this, Ok)?,
        scripts: options.scripts.canonicalize().with_context(|| {
            format!("there is no folder {}; run this from the project's folder", options.scripts.display())
        })?,
        store: if embedded { Store::Embedded } else { Store::OwnCql(NODES) },
        pods,
        keyspace: format!("chaos_{name}"),
    };
    let folder = options.folder.clone();
    let folder = folder.unwrap_or_else(|| PathBuf::from(format!("data/chaos/{seed}-{}", name.split_at(8).0)));
    let minutes = humantime::format_duration(options.duration.0);
    let store = if embedded { " --store embedded" } else { "" };
    let chaos_options = ChaosOptions {
        seed,
        duration: options.duration.0,
        // One who waits ten seconds for a pod that is stopped gets little done among three.
        traffic: Options { patience: PATIENCE, ..options.traffic.options() },
        users: usize::try_from(options.traffic.users)?,
        drain: options.drain.0,
        late: options.late.0,
        folder,
        again: format!("countersign-loadtest chaos --seed {seed} --duration {minutes}{store}"),
    };
    let keys = options.keys.folder()?;
    let outcome = tokio::select! {
        outcome = chaos::run(&settings, &chaos_options, &keys, clock(), entropy) => outcome?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot listen for Ctrl-C")?;
            anyhow::bail!("interrupted: nothing is shown by this run; its files are in {}", chaos_options.folder.display())
        }
    };
    say(&outcome.verdict.to_string());
    say(&format!("The report is {}.", chaos_options.folder.join("report.md").display()));
    Ok(outcome.verdict.exit())
}

fn print_plan(options: &cli::Chaos, pods: usize, embedded: bool) {
    let shape = if embedded {
        Shape { pods, nodes: 0, own_nodes: false, valkeys: 0, clocks: true }
    } else {
        Shape { pods, nodes: NODES, own_nodes: true, valkeys: VALKEYS, clocks: true }
    };
    for step in Plan::draw(options.traffic.seed, shape, options.duration.0).steps {
        let seconds = |millis: u64| format!("{}.{}", millis / 1_000, millis % 1_000 / 100);
        say(&format!("{:>6} s  for {:>4} s  {}", seconds(step.at), seconds(step.lasts), step));
    }
}
