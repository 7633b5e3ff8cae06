//! The subcommands.

mod canary;
mod chaos;
mod ledger;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use countersign_client::clock::{Clock, SystemClock};
use countersign_loadtest::keys::{KeyFolder, SuperAdministrators};
use countersign_loadtest::ledger::Exit;

use crate::cli::{Command, Keys};

/// Runs a subcommand.
pub(crate) async fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Setup(setup) => ledger::set_up(&setup),
        Command::Ledger(options) => ledger::run(options).await,
        Command::Judge(options) => ledger::judge_again(&options),
        Command::Chaos(options) => chaos::run(options).await,
        Command::Canary(options) => canary::run(options).await,
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

impl Keys {
    fn folder(&self) -> Result<KeyFolder> {
        let named: Option<PathBuf> = self.keys.clone();
        let folder = named.map_or_else(|| KeyFolder::default_folder(|name| std::env::var_os(name)), Ok)?;
        KeyFolder::open(folder, clock())
    }

    fn super_administrators(&self, folder: &KeyFolder) -> Result<SuperAdministrators> {
        match &self.super_administrator_keys {
            Some(file) => SuperAdministrators::read(file),
            None => folder.super_administrators(),
        }
    }
}

/// Writes a line to standard output. Whoever reads no further is not to be bothered.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
