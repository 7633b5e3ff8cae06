//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::SettingsLayer;

/// A store-and-forward service for end-to-end encrypted messages, which need not be trusted.
#[derive(Debug, Parser)]
#[command(name = "countersignd", version, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT; a second one ends at once
    Serve(Configured),
    /// Read the configuration, print every setting, and say what is wrong
    CheckConfig(Configured),
    /// Look at everything that the configuration names, and say what is wrong; exit code 1 if anything is
    Doctor(Configured),
    /// Create the tables of a scylla://, mariadb:// or dynamodb:// store, or add to them what this version needs
    Schema(SchemaArguments),
    /// Ask a running service whether it is ready; the exit code tells
    Healthcheck(Configured),
}

/// What `schema` does.
#[derive(Debug, clap::Args)]
pub struct SchemaArguments {
    /// Print the statements for an empty store, and connect to nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The settings.
    #[command(flatten)]
    pub configured: Configured,
}

/// A command that reads the settings.
#[derive(Debug, clap::Args)]
pub struct Configured {
    /// TOML file with settings, by their flags' names with underscores
    #[arg(long, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsLayer,
}
