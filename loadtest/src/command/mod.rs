//! The subcommands.

mod canary;
mod chaos;
mod compare;
mod conversation;
mod experiments;
mod ledger;
mod load;
mod peers;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_client::clock::{Clock, SystemClock};
use countersign_loadtest::keys::{KeyFolder, SuperAdministrators};
use countersign_loadtest::ledger::Exit;

use crate::cli::{Command, Keys};

/// Runs a subcommand.
pub(crate) async fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Setup(setup) => ledger::set_up(&setup),
        Command::Ledger(options) => ledger::run(options).await,
        Command::Run(options) => load::run(*options).await,
        Command::Scaling1(options) => experiments::scaling1(options).await,
        Command::Scaling2(options) => experiments::scaling2(options).await,
        Command::Capacity(options) => experiments::capacity(options).await,
        #[cfg(feature = "kubernetes")]
        Command::Scale(options) => experiments::scale(options).await,
        Command::Compare(options) => compare::run(&options),
        Command::Judge(options) => ledger::judge_again(&options),
        Command::Chaos(options) => chaos::run(options).await,
        Command::Canary(options) => canary::run(options).await,
        Command::Conversation(options) => conversation::run(&options),
        Command::Peers(options) => peers::run(options).await,
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

/// Returns the service's program, which is built into the same folder as this one.
fn beside_this() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let path = this.with_file_name("countersignd");
    anyhow::ensure!(path.is_file(), "{} is missing: build it, or name it with --countersignd", path.display());
    Ok(path)
}

/// Writes a line to standard output. Whoever reads no further is not to be bothered.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
