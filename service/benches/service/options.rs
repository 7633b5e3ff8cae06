//! What a person may choose, by environment variables.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// The choices.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Length of the main measurement; the others are shorter.
    pub(crate) measured: Duration,
    /// A short run with few users, to see that all works. Its figures mean little.
    pub(crate) quick: bool,
    /// Messages, and as many checks, offered a second.
    pub(crate) rate: f64,
    /// Messages, and as many checks, offered to each of several pods a second.
    pub(crate) pod_rate: f64,
    /// Connections.
    pub(crate) connections: usize,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// Whether the service writes a log line for each request, as by default.
    pub(crate) request_lines: bool,
    /// Parts to run; all if empty.
    parts: Vec<String>,
    /// Where temporary folders are made.
    pub(crate) folder: PathBuf,
    /// The stores that pods share, if those are to be measured.
    pub(crate) stores: Option<Stores>,
}

/// Stores that pods share.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    /// The folder of the CQL server, as `scripts/cql.sh` makes it.
    pub(crate) cql: PathBuf,
    /// The Valkey cluster's URL.
    pub(crate) valkey: String,
}

impl Options {
    /// Reads the environment.
    pub(crate) fn read() -> Result<Self> {
        let quick = text("BENCH_QUICK").is_some_and(|value| value != "0");
        let seconds: f64 = number("BENCH_SECONDS", if quick { 3.0 } else { 20.0 })?;
        let parts = text("BENCH_PARTS").unwrap_or_default();
        let options = Self {
            measured: Duration::try_from_secs_f64(seconds).context("BENCH_SECONDS is no length of time")?,
            quick,
            rate: number("BENCH_RATE", if quick { 2_000.0 } else { 10_000.0 })?,
            pod_rate: number("BENCH_POD_RATE", if quick { 50.0 } else { 150.0 })?,
            connections: number("BENCH_CONNECTIONS", 128)?,
            threads: number("BENCH_THREADS", 1)?,
            request_lines: text("BENCH_LOG").is_none_or(|value| value != "off"),
            parts: parts.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            folder: text("BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from),
            stores: text("BENCH_CQL")
                .zip(text("BENCH_VALKEY"))
                .map(|(cql, valkey)| Stores { cql: cql.into(), valkey }),
        };
        ensure!(options.connections > 0 && options.threads > 0, "BENCH_CONNECTIONS and BENCH_THREADS are at least 1");
        ensure!(options.rate > 0.0 && seconds > 0.0, "BENCH_RATE and BENCH_SECONDS are above 0");
        Ok(options)
    }

    /// Tells whether a part is to run.
    pub(crate) fn runs(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|chosen| chosen == part)
    }
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, default: T) -> Result<T> {
    text(name).map_or(Ok(default), |value| value.parse().with_context(|| format!("{name} is no number")))
}
