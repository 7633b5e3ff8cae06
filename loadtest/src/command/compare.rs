//! `compare`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use countersign_loadtest::ledger::Exit;
use countersign_loadtest::measure::Summary;
use countersign_loadtest::pages::{Compared, Side, compared};

use super::say;
use crate::cli;

/// Compares two runs, or two sets of runs.
pub(crate) fn run(options: &cli::Compare) -> Result<Exit> {
    let (first, second) = match (options.first.as_slice(), options.second.as_slice()) {
        ([first, second], []) => (std::slice::from_ref(first), std::slice::from_ref(second)),
        (_, []) => bail!("two runs, or several --with several: countersign-loadtest compare A B"),
        (first, second) => (first, second),
    };
    let Compared { page, worse } =
        compared(&side(first)?, &side(second)?).context("there is too little to compare")?;
    say(&page.markdown(""));
    if let Some(folder) = &options.report {
        page.write(folder, "comparison")?;
    }
    Ok(if worse > 0 { Exit::BelowThreshold } else { Exit::Kept })
}

fn side(files: &[PathBuf]) -> Result<Side> {
    let runs: Vec<Summary> = files.iter().map(|file| read(file)).collect::<Result<_>>()?;
    let one = runs.first().context("a side has at least one run")?;
    // Runs that nobody has named are told apart by their folders.
    let folder = files.first().and_then(|file| file.file_name()).map(|name| name.to_string_lossy().into_owned());
    let name = if one.name == "load test" { folder.unwrap_or_default() } else { one.name.clone() };
    Ok(Side { name, runs })
}

fn read(file: &Path) -> Result<Summary> {
    let file = if file.is_dir() { file.join("summary.json") } else { file.to_owned() };
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no summary of a run", file.display()))
}
