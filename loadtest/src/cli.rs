//! What `countersign-loadtest` understands.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use countersign_client::connection::{ServerUrl, Trust};
use countersign_loadtest::ledger::Exit;
use countersign_loadtest::measure::Threshold;
use countersign_loadtest::peers::Side;
use countersign_loadtest::traffic::{Rate, Sizes};
use countersign_protocol::id::{OrganizationId, UserId};

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

/// How many write how much.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Messages a second, sent when they are due and not when the one before was answered: 200, a ramp 10..500, parts that
    /// follow each other 100@30s,100..1000@2m
    #[arg(long, value_name = "RATE", default_value = "100", conflicts_with_all = ["replay", "closed"])]
    pub(crate) rate: Rate,
    /// Have messages lie as those of many people who know nothing of each other (a Poisson process), and not evenly
    #[arg(long)]
    pub(crate) poisson: bool,
    /// Replay these conversations, by users of their own (docs/conversation-logs.md)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) replay: Vec<PathBuf>,
    /// How many times faster than they were
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Have so many programs do one thing after the other, as fast as they can: each sends a message, then has its
    /// recipients look what is new. With --replay each program replays one of the conversations, in turn
    #[arg(long, value_name = "PROGRAMS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) closed: Option<u32>,
    /// Users in all
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
    /// Users of one organization
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) organization_users: u32,
    /// How unequal users are: the nth writes and gets in proportion to 1/n to this power (Zipf); 0 for all alike
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    pub(crate) skew: f64,
    /// Bytes of a message: 1000; from to 200-2000; median and 99th percentile 400~20000
    #[arg(long, value_name = "BYTES", default_value = "400~10000")]
    pub(crate) bytes: Sizes,
    /// Clients of each user that read
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) clients: u32,
    /// Clients of each user that write
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) writers: u32,
    /// Share of the readers that learn by long polling what is new, from 0 to 1; the others poll
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) long_polling: f64,
    /// How far apart a polling reader's checks are
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) poll: HumanDuration,
    /// Have each user's first client acknowledge one in so many messages; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) receipts_one_in: usize,
    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) patience: HumanDuration,
    /// What decides contents, people and times
    #[arg(long, value_name = "NUMBER", default_value_t = 1, env = "SEED")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How long to send
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) duration: HumanDuration,
    /// The time at the start that is in no figure
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) warm_up: HumanDuration,
    /// How long to wait in the end for what was promised
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) drain: HumanDuration,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) late: HumanDuration,
    /// Have a new client of each user look at everything in the end
    #[arg(long)]
    pub(crate) audit: bool,
    /// What must be reached: 'send.p99<50ms', 'errors<0.1%', 'rate>=200/s', 'lost==0' and others
    #[arg(long = "threshold", value_name = "CONDITION")]
    pub(crate) thresholds: Vec<Threshold>,
    /// What the run is called in reports
    #[arg(long, value_name = "TEXT", default_value = "load test")]
    pub(crate) name: String,
    /// Folder for the ledger's files, results.jsonl, summary.json and report.html [default: a new one under ./data/load]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Threads of the generator
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Address for /metrics and /livez
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// How many workers share the load, which begin together and end in one verdict
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: u32,
    /// Which of them this is; the first, 0, collects
    #[arg(long, value_name = "NUMBER", default_value_t = 0, env = "JOB_COMPLETION_INDEX", requires = "workers")]
    pub(crate) worker: u32,
    /// Where the first worker listens for the others
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9190")]
    pub(crate) collect_listen: SocketAddr,
    /// Where the others find the first, by its scheme, name and port
    #[arg(long, value_name = "URL")]
    pub(crate) collector: Option<ServerUrl>,
}

/// How points are measured.
#[derive(Debug, Args)]
pub(crate) struct Measuring {
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// How long each point is measured
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) measured: HumanDuration,
    /// What decides contents, people and times
    #[arg(long, value_name = "NUMBER", default_value_t = 1, env = "SEED")]
    pub(crate) seed: u64,
    /// Threads of the generator
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Folder for the report
    #[arg(long, value_name = "FOLDER", default_value = "data/experiments")]
    pub(crate) folder: PathBuf,
}

/// What every experiment on this machine takes.
#[derive(Debug, Args)]
pub(crate) struct Experiment {
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// The service's program [default: beside this one]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGND")]
    pub(crate) countersignd: Option<PathBuf>,
    /// The project's folder of scripts, which start the servers
    #[arg(long, value_name = "FOLDER", default_value = "scripts")]
    pub(crate) scripts: PathBuf,
}

/// A Deployment that is scaled.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Namespace of the Deployment [default: this pod's, or that of the kubeconfig]
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Name of the Deployment
    #[arg(long, value_name = "NAME", default_value = "countersign")]
    pub(crate) deployment: String,
    /// Numbers of pods, in their order
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,2,4")]
    pub(crate) pods: Vec<usize>,
    /// Programs of a closed loop for each pod: enough that each always has something to do
    #[arg(long, value_name = "PROGRAMS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) programs_each: u32,
    /// Port of each pod's metrics, which say how much processor time it used
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    pub(crate) admin_port: u16,
}

/// What messages are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExperimentStore {
    /// A CQL server
    Cql,
    /// `MariaDB`, with indices
    Mariadb,
}

#[derive(Debug, Args)]
pub(crate) struct Capacity {
    #[command(flatten)]
    pub(crate) experiment: Experiment,
    /// Numbers of business nodes
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,2,4")]
    pub(crate) nodes: Vec<usize>,
    /// What messages are kept in
    #[arg(long, value_enum, default_value = "cql")]
    pub(crate) store: ExperimentStore,
    /// Cores of each business node
    #[arg(long, value_name = "CORES", default_value_t = 0.04)]
    pub(crate) business_cores: f64,
    /// Cores of the storage node
    #[arg(long, value_name = "CORES", default_value_t = 1.1)]
    pub(crate) storage_cores: f64,
    /// How long sending may take for 99 of 100 messages
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    pub(crate) p99: HumanDuration,
    /// Messages a second of one node to begin with
    #[arg(long, value_name = "RATE", default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Price of one core for an hour, in whatever money
    #[arg(long, value_name = "MONEY", default_value_t = 0.04)]
    pub(crate) price: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The first run, or the first runs: folders of `run`, or their summary.json
    #[arg(required = true, num_args = 1..)]
    pub(crate) first: Vec<PathBuf>,
    /// The second runs, where there are several of each
    #[arg(long = "with", value_name = "RUN", num_args = 1..)]
    pub(crate) second: Vec<PathBuf>,
    /// Write the page to this folder too
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report: Option<PathBuf>,
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

#[derive(Debug, Args)]
pub(crate) struct Conversation {
    /// Users
    #[arg(long, value_name = "NUMBER", default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) users: u32,
    /// Messages
    #[arg(long, value_name = "NUMBER", default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: u32,
    /// What decides everything else
    #[arg(long, value_name = "NUMBER", default_value_t = 1, env = "SEED")]
    pub(crate) seed: u64,
    /// Days of the conversation
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) days: u32,
    /// Seconds that these days are pressed into
    #[arg(long, value_name = "NUMBER", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// File to write it to [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Read a log instead, and say what is in it, or what is wrong with it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "messages", "seed", "days", "seconds", "output"])]
    pub(crate) check: Option<PathBuf>,
}

/// A number of bytes, or from one to another: `1000`, `200-2000`.
#[derive(Clone, Debug)]
pub(crate) struct ByteRange(pub(crate) RangeInclusive<usize>);

impl FromStr for ByteRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if 16 <= from && from <= to => Ok(Self(from..=to)),
            _ => Err("a size is a number of bytes of at least 16, or two such as 200-2000"),
        }
    }
}

/// One of the sides that are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideName(pub(crate) Side);

impl FromStr for SideName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Side::ALL.into_iter().find(|side| side.name() == text);
        named.map(Self).ok_or_else(|| format!("a side is one of {}", Side::ALL.map(Side::name).join(", ")))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// Folder for peers.md and peers.json
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report: PathBuf,
    /// Only these sides, separated by commas [default: all but countersign-valkey and countersign-dynamodb]
    #[arg(long, value_name = "SIDE", value_delimiter = ',')]
    pub(crate) only: Vec<SideName>,
    /// How long each load lasts in each turn
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// How often each side has its turn
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) turns: u32,
    /// Users, each on one device
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u32).range(6..))]
    pub(crate) clients: u32,
    /// New messages a second that are offered, separated by commas, each as a load of its own after the closed one
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', value_parser = positive)]
    pub(crate) rates: Vec<f64>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "200-2000")]
    pub(crate) bytes: ByteRange,
    /// How long to look for losses, once for each side: all write at the same moment; 0 for not at all
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    pub(crate) loss_seconds: u64,
    /// How often a second they do
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = positive)]
    pub(crate) bursts: f64,
    /// What decides partners and contents
    #[arg(long, value_name = "NUMBER", default_value_t = 1, env = "SEED")]
    pub(crate) seed: u64,
    /// The service's program [default: beside this one]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGND")]
    pub(crate) countersignd: Option<PathBuf>,
    /// The project's folder of scripts, which start the servers
    #[arg(long, value_name = "FOLDER", default_value = "scripts")]
    pub(crate) scripts: PathBuf,
}

fn positive(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or("a rate is a number above 0")
}
