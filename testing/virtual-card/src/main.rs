//! `countersign-virtual-card`: a virtual OpenPGP card for people and for shell scripts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use countersign_virtual_card::{GnupgHome, OpenPgpCard, VirtualCard};

/// Tries GnuPG with an OpenPGP card where there is no card. For tests only: the card protects nothing.
#[derive(Debug, Parser)]
#[command(name = "countersign-virtual-card", version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs a program, or a shell, with a new card in a virtual reader, and removes both when it ends.
    Run {
        /// The card's serial number. It decides the keys that the card makes.
        #[arg(long, default_value_t = 1)]
        serial: u32,
        /// The program and its arguments; where it is left out, $SHELL.
        #[arg(trailing_var_arg = true)]
        program: Vec<OsString>,
    },
    /// Makes a GnuPG home use the virtual reader, and PINs typed from its files `pin` and `admin-pin`.
    Configure {
        /// The GnuPG home: a folder that exists, and is not one that you need.
        home: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Action::Run { serial, program } => run(serial, program),
        Action::Configure { home } => {
            let home = home.canonicalize().with_context(|| format!("cannot find {}", home.display()))?;
            GnupgHome::configure(&home)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(serial: u32, mut program: Vec<OsString>) -> Result<ExitCode> {
    if program.is_empty() {
        program.push(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()));
        eprintln!(
            "A new OpenPGP card is in the virtual reader: PIN 123456, Admin PIN 12345678. Leave it with `exit`."
        );
    }
    let (program, arguments) = program.split_first().context("there is no program to run")?;
    let card = VirtualCard::start(OpenPgpCard::new(serial))?;
    let (variable, socket) = card.environment();
    let status = Command::new(program)
        .args(arguments)
        .env(variable, socket)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    drop(card);
    // A program that was ended by a signal has no code; 128 is what a shell would begin with.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128)))
}
