//! What makes load, and what compares the runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use countersign_client::connection::ServerUrl;
use countersign_loadtest::measure::Threshold;
use countersign_loadtest::traffic::{Rate, Sizes};

use super::{HumanDuration, Keys, Service};

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
