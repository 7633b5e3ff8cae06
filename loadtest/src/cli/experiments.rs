//! What measures how the service scales.

use std::path::PathBuf;

use clap::Args;

#[cfg(feature = "kubernetes")]
use super::Service;
use super::{HumanDuration, Keys};

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
