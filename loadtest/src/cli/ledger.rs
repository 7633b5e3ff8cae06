//! What shows that no message is lost: the ledger, faults, the canary.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use countersign_loadtest::traffic::Sizes;
use countersign_protocol::id::{OrganizationId, UserId};

use super::{HumanDuration, Keys, Service};

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
    pub(crate) bytes: Sizes,
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
