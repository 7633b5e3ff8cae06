//! `peers`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::entropy::SystemEntropy;
use countersign_loadtest::ledger::Exit;
use countersign_loadtest::peers::{self, Options, Settings, Side, Terms};

use super::{beside_this, clock, say};
use crate::cli;

/// How long to wait at most for what was promised. It ends earlier once nothing more comes.
const DRAIN: Duration = Duration::from_secs(60);
/// How long a delivery may take.
const LATE: Duration = Duration::from_secs(10);

/// Measures Countersign and its peers, and writes the table.
pub(crate) async fn run(options: cli::Peers) -> Result<Exit> {
    let sides: Vec<Side> = match options.only.as_slice() {
        [] => Side::ALL.into_iter().filter(|side| side.is_usual()).collect(),
        only => Side::ALL.into_iter().filter(|side| only.iter().any(|named| named.0 == *side)).collect(),
    };
    let folder = &options.report;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let keys = options.keys.folder()?;
    let super_administrators = options.keys.super_administrators(&keys)?;
    let certificates = folder.join("super-administrators.asc");
    std::fs::write(&certificates, super_administrators.certificates())
        .with_context(|| format!("cannot write {}", certificates.display()))?;
    let settings = Settings {
        scripts: options.scripts.canonicalize().with_context(|| {
            format!("there is no folder {}; run this from the project's folder", options.scripts.display())
        })?,
        countersignd: options.countersignd.clone().map_or_else(beside_this, Ok)?,
        super_administrators: certificates.canonicalize()?,
    };
    let clients = usize::try_from(options.clients)?;
    let plan = Options {
        sides,
        turns: usize::try_from(options.turns)?,
        clients,
        rates: options.rates.clone(),
        terms: Terms {
            duration: Duration::from_secs(options.seconds),
            bytes: options.bytes.0.clone(),
            seed: options.seed,
            drain: DRAIN,
            late: LATE,
        },
        look_for_losses: Duration::from_secs(options.loss_seconds),
        bursts: options.bursts,
    };
    let people = keys.people(clients)?;
    let comparing = peers::compare(&plan, &settings, people, &super_administrators, clock(), Arc::new(SystemEntropy));
    let report = tokio::select! {
        report = comparing => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot listen for Ctrl-C")?;
            anyhow::bail!("interrupted: nothing was measured to its end")
        }
    };
    let write = |name: &str, text: &str| {
        let file: PathBuf = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    write("peers.json", &report.json()?)?;
    write("peers.md", &report.to_string())?;
    say(&report.to_string());
    Ok(if report.countersign_is_kept() { Exit::Kept } else { Exit::Lost })
}
