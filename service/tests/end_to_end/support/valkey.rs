//! A Valkey of a test's own: a process, or six that are a cluster. `scripts/valkey.sh` starts and ends them.
//!
//! The service's unit tests use this file too.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock};

use rustix::process::{Pid, Signal, kill_process};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/valkey.sh");

/// How many servers, and how they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One server.
    Single,
    /// Three primaries with a replica each.
    Cluster,
}

/// An option of the script, before those of the servers: each syncs its append-only file before it answers.
pub(crate) const PERSISTING: &str = "persisting";

/// Running servers. They end when this is dropped, or when the test program ends.
pub(crate) struct Valkey {
    nodes: Vec<Node>,
    script: Child,
    /// The script runs until it is closed, and starts servers again when it is told to.
    talk: Option<Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>>,
}

struct Node {
    port: u16,
    pid: AtomicI32,
}

impl Valkey {
    /// Starts servers, with options of `valkey-server`.
    pub(crate) fn start(mode: Mode, options: &[&str]) -> Self {
        let name = match mode {
            Mode::Single => "single",
            Mode::Cluster => "cluster",
        };
        let mut command = Command::new(SCRIPT);
        command.arg(name).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut valkey = Self { nodes: Vec::new(), script: command.spawn().unwrap(), talk: None };
        let input = valkey.script.stdin.take().unwrap();
        let mut lines = BufReader::new(valkey.script.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next() {
            let line = line.unwrap();
            if line == "ready" {
                valkey.talk = Some(Mutex::new((input, lines)));
                return valkey;
            }
            let (port, pid) = line.split_once(' ').unwrap();
            valkey.nodes.push(Node { port: port.parse().unwrap(), pid: AtomicI32::new(pid.parse().unwrap()) });
        }
        panic!("scripts/valkey.sh did not start Valkey; scripts/install-packages.sh installs it");
    }

    /// Returns servers that all tests of this program share, which must not mind each other's keys.
    pub(crate) fn shared(mode: Mode) -> &'static Self {
        static SINGLE: OnceLock<Valkey> = OnceLock::new();
        static CLUSTER: OnceLock<Valkey> = OnceLock::new();
        match mode {
            Mode::Single => SINGLE.get_or_init(|| Self::start(mode, &[])),
            Mode::Cluster => CLUSTER.get_or_init(|| Self::start(mode, &[])),
        }
    }

    /// Returns a cluster that persists, which all tests of this program share.
    pub(crate) fn shared_store() -> &'static Self {
        static STORE: OnceLock<Valkey> = OnceLock::new();
        STORE.get_or_init(|| Self::start(Mode::Cluster, &[PERSISTING, "--maxmemory", "1gb"]))
    }

    /// Starts a server again that was killed, where it was, and returns when it answers.
    pub(crate) fn start_again(&self, port: u16) {
        let mut talk = self.talk.as_ref().unwrap().lock().unwrap();
        writeln!(talk.0, "start {port}").unwrap();
        let line = talk.1.next().unwrap().unwrap();
        let (started, pid) = line.split_once(' ').unwrap();
        assert_eq!(started, port.to_string());
        let node = self.nodes.iter().find(|node| node.port == port).unwrap();
        node.pid.store(pid.parse().unwrap(), Ordering::SeqCst);
    }

    /// Returns the URL of all servers.
    pub(crate) fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("valkey://{}", nodes.join(","))
    }

    /// Returns the servers' ports.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Has a server do a command, and returns its answer as `valkey-cli` prints it.
    pub(crate) fn command(&self, port: u16, words: &[&str]) -> String {
        assert!(self.ports().contains(&port));
        let mut command = Command::new("valkey-cli");
        let output = command.args(["-p", &port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Has every server do a command.
    pub(crate) fn command_all(&self, words: &[&str]) -> Vec<String> {
        self.ports().into_iter().map(|port| self.command(port, words)).collect()
    }

    /// Sends a server a signal.
    pub(crate) fn signal(&self, port: u16, signal: Signal) {
        let node = self.nodes.iter().find(|node| node.port == port).unwrap();
        kill_process(Pid::from_raw(node.pid.load(Ordering::SeqCst)).unwrap(), signal).unwrap();
    }

    /// Counts how often all servers together did a command, by the clients' will or a function's.
    pub(crate) fn count(&self, command: &str) -> u64 {
        let prefix = format!("cmdstat_{command}:calls=");
        let of_server = |info: String| -> u64 {
            let line = info.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
            line.unwrap_or(0)
        };
        self.command_all(&["INFO", "commandstats"]).into_iter().map(of_server).sum()
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        self.talk = None;
        let _ = self.script.wait();
    }
}
