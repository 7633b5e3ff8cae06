//! What measures the service beside others.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use countersign_loadtest::peers::Side;

use super::Keys;

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
