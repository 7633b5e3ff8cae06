//! The store's nodes: a cluster of this run's own, which `scripts/cql.sh` starts and ends, or a server that is there.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, ChildStdin, Command};

use super::proxy::Proxy;

/// How often it is looked whether the cluster is up. The script itself gives up in the end.
const LOOK: Duration = Duration::from_millis(100);
/// The port of CQL.
const PORT: u16 = 9042;

/// Nodes behind proxies.
#[derive(Debug)]
pub(super) struct Nodes {
    script: PathBuf,
    folder: PathBuf,
    proxies: Vec<Proxy>,
    own: bool,
    /// The script, and its standard input, on whose end it stops the cluster.
    held: Option<(Child, ChildStdin)>,
}

impl Nodes {
    /// Starts a cluster, and waits until all nodes answer. Each node tells its clients the address of its proxy.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn start(scripts: &Path, folder: &Path, number: usize) -> Result<Self> {
        let script = scripts.join("cql.sh");
        let mut held = Command::new(&script)
            .arg("hold")
            .arg(folder)
            .arg(number.to_string())
            .env("CQL_SYNC", "batch")
            .env("CQL_PROXIED", "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", script.display()))?;
        let input = held.stdin.take().context("the script has no input")?;
        while !folder.join("address").exists() {
            if let Some(status) = held.try_wait()? {
                bail!("the store did not start: {} ended with {status}", script.display());
            }
            tokio::time::sleep(LOOK).await;
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        let (net, public) = (read("net")?, read("public")?);
        let mut proxies = Vec::new();
        for node in 1..=number {
            let of = |net: &str| -> Result<SocketAddr> {
                let address: IpAddr = format!("{}.{node}", net.trim()).parse()?;
                Ok(SocketAddr::new(address, PORT))
            };
            proxies.push(Proxy::start(of(&public)?, of(&net)?).await?);
        }
        Ok(Self { script, folder: folder.to_owned(), proxies, own: true, held: Some((held, input)) })
    }

    /// Puts a proxy before a server that is there, of one node.
    ///
    /// # Errors
    /// If its folder does not say where it is.
    pub(super) async fn shared(scripts: &Path, folder: &Path) -> Result<Self> {
        let address = std::fs::read_to_string(folder.join("address"))
            .with_context(|| format!("there is no CQL server in {}", folder.display()))?;
        let upstream: SocketAddr = address.trim().parse().context("a shared CQL server has one node")?;
        // Clients take a node's address from what it says, and the port from what they were told: so the proxy has the
        // same address and another port.
        let proxy = Proxy::start(SocketAddr::new(upstream.ip(), 0), upstream).await?;
        let script = scripts.join("cql.sh");
        Ok(Self { script, folder: folder.to_owned(), proxies: vec![proxy], own: false, held: None })
    }

    /// Tells whether nodes may be stopped and killed.
    #[must_use]
    pub(super) const fn own(&self) -> bool {
        self.own
    }

    /// Returns the proxies, node by node.
    #[must_use]
    pub(super) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Returns the service's settings for a keyspace of this store.
    ///
    /// # Errors
    /// If the password's file cannot be written.
    pub(super) fn settings(&self, keyspace: &str, folder: &Path) -> Result<Vec<(String, String)>> {
        let password = folder.join("cql-password");
        std::fs::write(&password, "cassandra\n").context("cannot write the store's password")?;
        let addresses: Vec<String> = self.proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let set = |name: &str, value: String| (name.to_owned(), value);
        Ok(vec![
            set("STORE", format!("scylla://{}/{keyspace}", addresses.join(","))),
            set("SCYLLA_REPLICATION", self.proxies.len().to_string()),
            set("SCYLLA_USER", "cassandra".to_owned()),
            set("SCYLLA_PASSWORD_FILE", password.display().to_string()),
            set("SCYLLA_DATACENTER", "datacenter1".to_owned()),
        ])
    }

    /// Sends a node a signal: `KILL`, `STOP` or `CONT`. Nodes count from 0.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) async fn signal(&self, node: usize, signal: &str) -> Result<()> {
        self.run(&["signal"], node, &[signal]).await
    }

    /// Starts a node again, and waits until it answers.
    ///
    /// # Errors
    /// If it does not.
    pub(super) async fn restart(&self, node: usize) -> Result<()> {
        self.run(&["start"], node, &[]).await
    }

    async fn run(&self, before: &[&str], node: usize, after: &[&str]) -> Result<()> {
        ensure!(self.own, "the store is not this run's own");
        let mut command = Command::new(&self.script);
        command.args(before).arg(&self.folder).arg((node + 1).to_string()).args(after);
        let status = command.stdin(Stdio::null()).status().await?;
        ensure!(status.success(), "{} {} {} ended with {status}", self.script.display(), before.join(" "), node + 1);
        Ok(())
    }

    /// Stops the cluster, if it is this run's own, and waits until it is gone.
    ///
    /// # Errors
    /// If the script fails.
    pub(super) async fn stop(mut self) -> Result<()> {
        let Some((mut held, input)) = self.held.take() else { return Ok(()) };
        drop(input);
        held.wait().await.context("the store's script cannot be waited for")?;
        Ok(())
    }
}
