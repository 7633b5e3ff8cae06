//! What `countersign-loadtest` understands.

mod experiments;
mod ledger;
mod load;
mod peers;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use countersign_client::connection::{ServerUrl, Trust};
use countersign_loadtest::ledger::Exit;

#[cfg(feature = "kubernetes")]
pub(crate) use experiments::Scale;
pub(crate) use experiments::{Capacity, Experiment, ExperimentStore, Measuring};
pub(crate) use ledger::{Canary, Chaos, ChaosStore, Judge, Ledger, Traffic};
pub(crate) use load::{Compare, Conversation, Load, Run};
pub(crate) use peers::Peers;

/// Shows how fast a Countersign service is, what it costs beside others, and that it loses no message.
#[derive(Debug, Parser)]
#[command(name = "countersign-loadtest", version, max_term_width = 100, after_long_help = Exit::TABLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the certificates of the super-administrators whose keys this tool has, for the service to know them
    #[command(after_long_help = "\
Example:
  countersign-loadtest setup --super-administrators supers.asc
  COUNTERSIGN_SUPER_ADMINISTRATORS=supers.asc countersignd serve")]
    Setup(Setup),
    /// Write and read messages, write down every promise and every delivery, and compare
    #[command(after_long_help = "\
Examples:
  countersign-loadtest ledger --url http://127.0.0.1:8080
  countersign-loadtest ledger --url http://127.0.0.1:8081 --url http://127.0.0.1:8082 --rate 50 --duration 1h
  countersign-loadtest ledger --url http://127.0.0.1:8080 --folder data/ledger/… --resume
Ctrl-C ends the writing; what was promised is still waited for.")]
    Ledger(Ledger),
    /// Send and read messages at a rate or in a closed loop, measure, and judge what was delivered
    #[command(after_long_help = "\
Examples:
  countersign-loadtest run --url http://127.0.0.1:8080 --rate 200 --duration 1m
  countersign-loadtest run --url http://127.0.0.1:8080 --rate 10..2000 --poisson --users 2000 --threshold 'send.p99<50ms'
  countersign-loadtest run --url http://127.0.0.1:8080 --replay loadtest/conversations/long.jsonl --speed 100
  countersign-loadtest run --url http://127.0.0.1:8080 --closed 4 --duration 30s
Ctrl-C ends the sending; what was promised is still waited for.")]
    Run(Box<Run>),
    /// Repeat the article's first experiment on this machine: one node, with and without indices
    Scaling1(Experiment),
    /// Repeat the article's second experiment: business logic apart from storage; then more nodes over CQL
    Scaling2(Experiment),
    /// Find the greatest rate that is served well for each number of nodes, and what a million messages cost
    #[command(after_long_help = "\
Example:
  countersign-loadtest capacity --nodes 1,2,4 --store cql --price 0.04")]
    Capacity(Capacity),
    /// Scale the service's Deployment in a Kubernetes cluster, and measure each number of pods
    #[cfg(feature = "kubernetes")]
    #[command(after_long_help = "\
Examples:
  countersign-loadtest scale --url https://messages.example.org --namespace countersign --pods 1,2,4
  countersign-loadtest scale --url http://countersign:8080 --super-administrator-keys supers.pgp --pods 1,2,4,8
In a pod it needs the service account of k8s/scaling. In the end the Deployment has as many pods as before.")]
    Scale(Scale),
    /// Compare two runs, or two sets of runs, with intervals of confidence
    #[command(after_long_help = "\
Examples:
  countersign-loadtest compare data/load/before data/load/after
  countersign-loadtest compare before/1 before/2 before/3 --with after/1 after/2 after/3
Of one run each, the seconds are compared; of several, the runs. Exit code 7: something is worse.")]
    Compare(Compare),
    /// Judge the files of a ledger again, without any service
    Judge(Judge),
    /// Run the ledger over processes of its own while they are killed, stopped, cut off and set wrong
    #[command(after_long_help = "\
Examples:
  countersign-loadtest chaos --seed 7 --duration 5m
  countersign-loadtest chaos --seed 7 --duration 5m --plan")]
    Chaos(Chaos),
    /// Write to oneself through the ingress, for ever, and export what becomes of it as metrics
    #[command(after_long_help = "\
Examples:
  countersign-loadtest canary --url https://messages.example.org --organization … --user … --key canary.pgp
  countersign-loadtest canary --url http://127.0.0.1:8080 --create
The first run keeps who the canary is in its folder; later ones need --url alone.")]
    Canary(Canary),
    /// Draw a log of a conversation that can be replayed as a load, or check one
    #[command(after_long_help = "\
Examples:
  countersign-loadtest conversation --users 40 --messages 12000 --seed 1 >team.jsonl
  countersign-loadtest conversation --check team.jsonl
The format: docs/conversation-logs.md")]
    Conversation(Conversation),
    /// Measure Countersign beside the article's design rebuilt and beside Matrix Synapse, on this machine
    #[command(after_long_help = "\
Examples:
  countersign-loadtest peers --report data/peers
  countersign-loadtest peers --only countersign-embedded,article --seconds 10 --rates 50,200 --report data/peers
Installs what the sides need at first use. What the table means: docs/peers.md.")]
    Peers(Peers),
}

impl Command {
    /// Returns how many threads do the work; none for as many as there are cores.
    pub(crate) fn threads(&self) -> Option<usize> {
        match self {
            Self::Run(run) => usize::try_from(run.threads).ok(),
            Self::Scaling1(experiment) | Self::Scaling2(experiment) => {
                usize::try_from(experiment.measuring.threads).ok()
            }
            Self::Capacity(capacity) => usize::try_from(capacity.experiment.measuring.threads).ok(),
            #[cfg(feature = "kubernetes")]
            Self::Scale(scale) => usize::try_from(scale.measuring.threads).ok(),
            _ => None,
        }
    }
}

/// A duration as people write it: `300ms`, `30s`, `5m`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HumanDuration(pub(crate) Duration);

impl FromStr for HumanDuration {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

/// Where keys are.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Folder of the keys that this tool makes [default: under ~/.cache/countersign]
    #[arg(long, value_name = "FOLDER", env = "COUNTERSIGN_LOADTEST_KEYS")]
    pub(crate) keys: Option<PathBuf>,
    /// File with two secret keys without passphrases, instead of super-administrators that this tool makes
    #[arg(long, value_name = "FILE")]
    pub(crate) super_administrator_keys: Option<PathBuf>,
}

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Address of the service, with its scheme; several are used by turns
    #[arg(long = "url", value_name = "URL", required = true)]
    pub(crate) urls: Vec<ServerUrl>,
    /// PEM file of the authorities that vouch for it [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Service {
    pub(crate) fn trust(&self) -> Trust {
        self.ca.clone().map_or(Trust::System, Trust::File)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// File to write them to
    #[arg(long, value_name = "FILE")]
    pub(crate) super_administrators: PathBuf,
    #[command(flatten)]
    pub(crate) keys: Keys,
}
