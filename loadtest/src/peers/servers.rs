//! The processes of a side, which `scripts/peers.sh` starts and ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use countersign_client::connection::ServerUrl;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Countersign over its embedded store.
    CountersignEmbedded,
    /// Countersign over one CQL server and one Valkey.
    CountersignCql,
    /// Countersign over the same `MariaDB` and Valkey as the article's server.
    CountersignMariadb,
    /// Countersign with everything in a Valkey cluster, each write in the append-only files of a primary and a replica.
    CountersignValkey,
    /// Countersign over `DynamoDB` Local, which is an emulator, and one Valkey.
    CountersignDynamodb,
    /// The article's server over `MariaDB`, with indices, and Valkey.
    Article,
    /// The same without indices.
    ArticleWithoutIndices,
    /// Matrix Synapse over `PostgreSQL`, by messages into rooms.
    Synapse,
    /// The same, by messages to devices.
    SynapseToDevice,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CountersignEmbedded,
        Self::CountersignMariadb,
        Self::CountersignCql,
        Self::CountersignValkey,
        Self::CountersignDynamodb,
        Self::Article,
        Self::ArticleWithoutIndices,
        Self::Synapse,
        Self::SynapseToDevice,
    ];

    /// Returns its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CountersignEmbedded => "countersign-embedded",
            Self::CountersignCql => "countersign-cql",
            Self::CountersignMariadb => "countersign-mariadb",
            Self::CountersignValkey => "countersign-valkey",
            Self::CountersignDynamodb => "countersign-dynamodb",
            Self::Article => "article",
            Self::ArticleWithoutIndices => "article-without-indices",
            Self::Synapse => "synapse",
            Self::SynapseToDevice => "synapse-to-device",
        }
    }

    /// Returns what the table calls it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::CountersignEmbedded => "Countersign, embedded store",
            Self::CountersignCql => "Countersign, Cassandra and Valkey",
            Self::CountersignMariadb => "Countersign, MariaDB and Valkey",
            Self::CountersignValkey => "Countersign, all in a Valkey cluster",
            Self::CountersignDynamodb => "Countersign, DynamoDB Local (an emulator) and Valkey",
            Self::Article => "the article's design, MariaDB and Valkey",
            Self::ArticleWithoutIndices => "the same without indices",
            Self::Synapse => "Matrix Synapse, PostgreSQL: rooms",
            Self::SynapseToDevice => "Matrix Synapse, PostgreSQL: to-device",
        }
    }

    /// Tells whether it is Countersign.
    #[must_use]
    pub const fn is_countersign(self) -> bool {
        match self {
            Self::CountersignEmbedded
            | Self::CountersignMariadb
            | Self::CountersignCql
            | Self::CountersignValkey
            | Self::CountersignDynamodb => true,
            Self::Article | Self::ArticleWithoutIndices | Self::Synapse | Self::SynapseToDevice => false,
        }
    }

    /// Tells whether it is compared where nobody says what. Stores that few choose are compared among stores only
    /// (`make bench-stores`): the program has them as features.
    #[must_use]
    pub const fn is_usual(self) -> bool {
        !matches!(self, Self::CountersignValkey | Self::CountersignDynamodb)
    }

    /// Returns what the script calls the servers.
    const fn servers(self) -> &'static str {
        match self {
            Self::SynapseToDevice => Self::Synapse.name(),
            other => other.name(),
        }
    }
}

/// What starting servers takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's folder of scripts.
    pub scripts: PathBuf,
    /// The service's program.
    pub countersignd: PathBuf,
    /// File with the certificates of the super-administrators whose keys we have.
    pub super_administrators: PathBuf,
}

/// Running servers of a side. They end when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct Servers {
    script: Child,
    input: Option<ChildStdin>,
    ready: Ready,
}

/// What the script says of what it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ready {
    url: Option<String>,
    secret: String,
    service: Vec<u32>,
    store: Vec<u32>,
}

impl Ready {
    /// Takes a line; tells whether it was the last one.
    fn take(&mut self, line: &str) -> Result<bool> {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let pid = || value.parse().with_context(|| format!("no process id: {line}"));
        match word {
            "url" => self.url = Some(value.to_owned()),
            "secret" => value.clone_into(&mut self.secret),
            "service" => self.service.push(pid()?),
            "store" => self.store.push(pid()?),
            "ready" => return Ok(true),
            _ => bail!("not understood: {line}"),
        }
        Ok(false)
    }
}

impl Servers {
    /// Starts the servers of a side, and waits until they are ready.
    ///
    /// # Errors
    /// If they do not start.
    pub async fn start(settings: &Settings, side: Side) -> Result<Self> {
        let path = settings.scripts.join("peers.sh");
        let mut script = Command::new(&path)
            .args(["hold", side.servers()])
            .env("COUNTERSIGND", &settings.countersignd)
            .env("COUNTERSIGN_SUPER_ADMINISTRATORS", &settings.super_administrators)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", path.display()))?;
        let input = script.stdin.take();
        let mut lines = BufReader::new(script.stdout.take().context("the script has no output")?).lines();
        let mut ready = Ready::default();
        loop {
            let line = lines.next_line().await?;
            let line = line.with_context(|| format!("{} did not start {}", path.display(), side.name()))?;
            if ready.take(&line)? {
                return Ok(Self { script, input, ready });
            }
        }
    }

    /// Returns where the service is.
    ///
    /// # Errors
    /// If the script did not say.
    pub fn url(&self) -> Result<ServerUrl> {
        Ok(self.ready.url.as_deref().context("the script said no address")?.parse()?)
    }

    /// Returns what users are added by, where that takes a secret.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.ready.secret
    }

    /// Returns the roots of the service's processes.
    #[must_use]
    pub fn service(&self) -> &[u32] {
        &self.ready.service
    }

    /// Returns the roots of its stores' processes; none where the store is in the service.
    #[must_use]
    pub fn store(&self) -> &[u32] {
        &self.ready.store
    }

    /// Ends them, and waits for that.
    ///
    /// # Errors
    /// If the script cannot be waited for.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.input.take());
        self.script.wait().await.context("cannot wait for the script")?;
        Ok(())
    }
}

/// Asks which versions there are of what is measured.
///
/// # Errors
/// If the script fails.
pub(super) async fn versions(scripts: &Path) -> Result<Vec<String>> {
    let output = Command::new(scripts.join("peers.sh")).arg("versions").stdin(Stdio::null()).output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_says_is_read() {
        let mut ready = Ready::default();
        let lines = ["store 7", "store 8", "url http://127.0.0.1:1", "secret s", "service 9", "ready"];

        let ended: Vec<bool> = lines.iter().map(|line| ready.take(line).unwrap()).collect();

        assert_eq!(ended, [false, false, false, false, false, true]);
        let url = Some("http://127.0.0.1:1".to_owned());
        assert_eq!(ready, Ready { url, secret: "s".to_owned(), service: vec![9], store: vec![7, 8] });
        assert!(ready.take("store x").is_err() && ready.take("nonsense").is_err());
    }
}
