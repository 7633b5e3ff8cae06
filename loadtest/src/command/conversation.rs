//! `conversation`.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, Result};
use countersign_loadtest::conversation::{Drawing, Reader, Summary};
use countersign_loadtest::ledger::Exit;

use super::say;
use crate::cli;

/// Draws a log, or checks one.
pub(crate) fn run(options: &cli::Conversation) -> Result<Exit> {
    if let Some(file) = &options.check {
        say(&check(file).with_context(|| format!("{} is no log that can be replayed", file.display()))?.to_string());
        return Ok(Exit::Kept);
    }
    let cli::Conversation { users, messages, seed, days, seconds, .. } = *options;
    let drawing = Drawing { users, messages, seed, days, seconds };
    match &options.output {
        None => match drawing.write(BufWriter::new(std::io::stdout().lock())) {
            // Whoever reads no further is not to be bothered.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.context("cannot write the log")?,
        },
        Some(file) => {
            let cannot = || format!("cannot write {}", file.display());
            drawing.write(BufWriter::new(File::create(file).with_context(cannot)?)).with_context(cannot)?;
        }
    }
    Ok(Exit::Kept)
}

fn check(file: &Path) -> Result<Summary> {
    Ok(Summary::of(Reader::open(BufReader::new(File::open(file)?))?)?)
}
