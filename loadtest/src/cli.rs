//! What `countersign-loadtest` understands.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use countersign_client::connection::{ServerUrl, Trust};
use countersign_loadtest::ledger::Exit;
use countersign_protocol::id::{OrganizationId, UserId};

/// Shows that a Countersign service loses no message.
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

/// A number of bytes, or from one to another: `1000`, `200-2000`.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) RangeInclusive<usize>);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if 16 <= from && from <= to => Ok(Self(from..=to)),
            _ => Err("a size is a number of bytes of at least 16, or two such as 200-2000"),
        }
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

/// What writers and readers do.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// Users
    #[arg(long, value_name = "NUMBER", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
    /// Clients of each user that read, by long polling and by polling in turns
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) clients: u32,
    /// Clients of each user that write
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) writers: u32,
    /// Messages a second in all, sent when they are due and not when the one before was answered
    #[arg(long, value_name = "NUMBER", default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "200-2000")]
    pub(crate) bytes: Bytes,
    /// Have each user's first client acknowledge one in so many messages; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) receipts_one_in: usize,
    /// What decides contents, recipients and faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1, env = "SEED")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Ledger {
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// How long to write
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) duration: HumanDuration,
    /// How long to wait in the end for what was promised
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    pub(crate) drain: HumanDuration,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) late: HumanDuration,
    /// Leave out the new client of each user that looks at everything in the end
    #[arg(long)]
    pub(crate) no_audit: bool,
    /// Folder of the ledger's files [default: a new one under ./data/ledger]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Go on with the folder's ledger, whose process was ended: write nothing, read what is left, judge
    #[arg(long, requires = "folder")]
    pub(crate) resume: bool,
    /// Write the verdict to this file as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// Folder of the ledger's files
    pub(crate) folder: PathBuf,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) late: HumanDuration,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the pods keep their messages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ChaosStore {
    /// Three CQL nodes and six Valkey servers
    Cql,
    /// The embedded store of one pod
    Embedded,
}

#[derive(Debug, Args)]
pub(crate) struct Chaos {
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// How long faults are done
    #[arg(long, value_name = "DURATION", default_value = "3m")]
    pub(crate) duration: HumanDuration,
    /// How long to wait, once all is well again, for what was promised
    #[arg(long, value_name = "DURATION", default_value = "180s")]
    pub(crate) drain: HumanDuration,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) late: HumanDuration,
    /// What the pods keep their messages in
    #[arg(long, value_enum, default_value = "cql")]
    pub(crate) store: ChaosStore,
    /// Pods; the embedded store has one
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub(crate) pods: usize,
    /// The service's program [default: beside this one]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGND")]
    pub(crate) countersignd: Option<PathBuf>,
    /// The project's folder of scripts, which start the servers
    #[arg(long, value_name = "FOLDER", default_value = "scripts")]
    pub(crate) scripts: PathBuf,
    /// Folder for logs, the ledger and the report [default: a new one under ./data/chaos]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Only print the plan
    #[arg(long)]
    pub(crate) plan: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Canary {
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// The canary's organization
    #[arg(long, value_name = "ID", requires_all = ["user", "key"])]
    pub(crate) organization: Option<OrganizationId>,
    /// The canary, a user of it whom its administrators have added. It needs two clients
    #[arg(long, value_name = "ID", requires_all = ["organization", "key"])]
    pub(crate) user: Option<UserId>,
    /// File with the canary's secret key, without a passphrase
    #[arg(long, value_name = "FILE", requires_all = ["organization", "user"])]
    pub(crate) key: Option<PathBuf>,
    /// Create an organization for the canary, as the super-administrators whose keys this tool has
    #[arg(long, conflicts_with = "organization")]
    pub(crate) create: bool,
    /// Folder of what the canary must not forget: who it is, what is on its way
    #[arg(long, value_name = "FOLDER", default_value = "data/canary")]
    pub(crate) folder: PathBuf,
    /// Address for /metrics and /livez
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub(crate) admin_listen: SocketAddr,
    /// How often to send
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) every: HumanDuration,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) late: HumanDuration,
    /// After how long a message is lost
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) lost_after: HumanDuration,
}
