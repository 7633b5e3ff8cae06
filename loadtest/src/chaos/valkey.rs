//! Valkey's servers: one, or six that are a cluster, which `scripts/valkey.sh` starts and ends. Each tells its clients and
//! its replica the address of its proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::proxy::Proxy;
use crate::clock::Stopwatch;

/// How long servers may take until all know each other's new addresses.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// How many servers, and how they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One server.
    Single,
    /// Three primaries with a replica each.
    Cluster,
}

/// Running servers behind proxies. They end when this is dropped, or when this process ends.
#[derive(Debug)]
pub(super) struct Valkey {
    mode: Mode,
    servers: Vec<Server>,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Server {
    port: u16,
    pid: std::sync::Mutex<i32>,
    proxy: Proxy,
}

#[derive(Debug)]
struct Script {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Valkey {
    /// Starts servers.
    ///
    /// # Errors
    /// If they do not start.
    pub(super) async fn start(scripts: &Path, mode: Mode) -> Result<Self> {
        let path = scripts.join("valkey.sh");
        let mut child = Command::new(&path)
            .arg(if mode == Mode::Cluster { "cluster" } else { "single" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", path.display()))?;
        let input = child.stdin.take().context("the script has no input")?;
        let mut lines = BufReader::new(child.stdout.take().context("the script has no output")?).lines();
        let mut servers = Vec::new();
        loop {
            let line = lines.next_line().await?.context("scripts/valkey.sh did not start Valkey")?;
            if line == "ready" {
                break;
            }
            let (port, pid) = of_line(&line)?;
            let upstream = SocketAddr::from(([127, 0, 0, 1], port));
            let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 0)), upstream).await?;
            servers.push(Server { port, pid: std::sync::Mutex::new(pid), proxy });
        }
        let valkey = Self { mode, servers, script: Mutex::new(Script { _child: child, input, lines }) };
        if mode == Mode::Cluster {
            valkey.announce().await?;
        }
        Ok(valkey)
    }

    /// Has each server of a cluster tell the address of its proxy, and waits until all know all.
    async fn announce(&self) -> Result<()> {
        for server in &self.servers {
            let port = server.proxy.address().port().to_string();
            let set = server.command(&["CONFIG", "SET", "cluster-announce-port", &port]).await?;
            ensure!(set == "OK", "Valkey does not announce another port: {set}");
        }
        let watch = Stopwatch::start();
        'look: loop {
            for server in &self.servers {
                let known = server.command(&["CLUSTER", "NODES"]).await?;
                let all = |other: &Server| known.contains(&format!(":{}@", other.proxy.address().port()));
                if !self.servers.iter().all(all) {
                    ensure!(watch.elapsed() < PATIENCE, "the cluster of Valkey does not learn its addresses");
                    tokio::time::sleep(LOOK).await;
                    continue 'look;
                }
            }
            return Ok(());
        }
    }

    /// Returns the proxies, server by server.
    pub(super) fn proxies(&self) -> impl ExactSizeIterator<Item = &Proxy> {
        self.servers.iter().map(|server| &server.proxy)
    }

    /// Returns the service's settings.
    #[must_use]
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let addresses: Vec<String> = self.proxies().map(|proxy| proxy.address().to_string()).collect();
        vec![("EPHEMERAL".to_owned(), format!("valkey://{}", addresses.join(",")))]
    }

    /// Sends a server a signal.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn signal(&self, server: usize, signal: Signal) -> Result<()> {
        let server = self.servers.get(server).context("there is no such server")?;
        let pid = *server.pid.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kill_process(Pid::from_raw(pid).context("a process has a number")?, signal).context("cannot send a signal")
    }

    /// Starts a server again that was killed, with nothing in it.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn restart(&self, server: usize) -> Result<()> {
        let server = self.servers.get(server).context("there is no such server")?;
        let mut script = self.script.lock().await;
        let announce = match self.mode {
            Mode::Cluster => format!(" --cluster-announce-port {}", server.proxy.address().port()),
            Mode::Single => String::new(),
        };
        script.input.write_all(format!("start {}{announce}\n", server.port).as_bytes()).await?;
        let line = script.lines.next_line().await?.context("scripts/valkey.sh ended")?;
        let (port, pid) = of_line(&line)?;
        ensure!(port == server.port, "scripts/valkey.sh started another server");
        *server.pid.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = pid;
        Ok(())
    }

    /// Deletes everything on every server that can be asked.
    pub(super) async fn flush(&self) {
        for server in &self.servers {
            // A replica refuses, one that is stopped does not answer: its primary is asked as well.
            let _ = tokio::time::timeout(Duration::from_secs(2), server.command(&["FLUSHALL"])).await;
        }
    }
}

impl Server {
    /// Has the server do a command, past its proxy, and returns its answer as `valkey-cli` prints it.
    async fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("valkey-cli");
        command.args(["-p", &self.port.to_string()]).args(words).kill_on_drop(true);
        let output = command.output().await.context("cannot run valkey-cli")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// Reads a line `<port> <pid>`.
fn of_line(line: &str) -> Result<(u16, i32)> {
    let (port, pid) = line.split_once(' ').with_context(|| format!("scripts/valkey.sh says: {line}"))?;
    Ok((port.parse()?, pid.parse()?))
}
