//! Real CQL servers, started by `scripts/cql.sh`, which stops them when this process ends, however it ends.
//!
//! `COUNTERSIGN_TEST_CQL` may name the folder of a server that whoever runs the tests has started for all of them;
//! otherwise the first test that needs one starts it. The tests of the store itself use this file too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How often it is looked whether a cluster is up. The script itself gives up in the end.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster of one or more nodes.
pub(crate) struct CqlServer {
    directory: PathBuf,
    /// The script's standard input: when it closes, the script stops the cluster.
    held: Option<(std::process::Child, tempfile::TempDir)>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cql.sh")
}

impl CqlServer {
    /// Returns the one-node server that tests share. Each uses a keyspace or organizations of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<CqlServer> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("COUNTERSIGN_TEST_CQL") {
            Some(directory) => Self { directory: directory.into(), held: None },
            // It is never killed, so it need not sync each write.
            None => Self::begin(1, "periodic"),
        })
    }

    /// Starts a cluster of its own, and waits until all nodes answer.
    pub(crate) fn start(nodes: usize) -> Self {
        Self::begin(nodes, "batch")
    }

    fn begin(nodes: usize, sync: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("cql");
        let mut held = Command::new(script())
            .arg("hold")
            .args([&directory])
            .arg(nodes.to_string())
            .env("CQL_SYNC", sync)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !directory.join("address").exists() {
            assert!(held.try_wait().unwrap().is_none(), "the CQL server did not start");
            std::thread::sleep(LOOK);
        }
        let directory = directory.canonicalize().unwrap();
        Self { directory, held: Some((held, place)) }
    }

    /// Returns how many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.address().split(',').count()
    }

    /// Returns all nodes' addresses, separated by commas.
    pub(crate) fn address(&self) -> String {
        std::fs::read_to_string(self.directory.join("address")).unwrap().trim().to_owned()
    }

    /// Returns the certificate that the servers can be trusted by.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("tls/ca.pem")
    }

    /// Returns the user to log in as.
    pub(crate) const fn user() -> &'static str {
        "cassandra"
    }

    /// Returns a file with the user's password.
    pub(crate) fn password_file(&self) -> PathBuf {
        let path = self.directory.join("password");
        if !path.exists() {
            std::fs::write(&path, "cassandra\n").unwrap();
        }
        path
    }

    /// Sends a signal to a node: `KILL`, `STOP` or `CONT`. Nodes count from 1.
    pub(crate) fn signal(&self, node: usize, signal: &str) {
        self.run(&["signal"], &[&node.to_string(), signal]);
    }

    /// Stops a node in order.
    pub(crate) fn stop_node(&self, node: usize) {
        self.run(&["stop"], &[&node.to_string()]);
    }

    /// Starts a node again and waits until it answers.
    pub(crate) fn start_node(&self, node: usize) {
        self.run(&["start"], &[&node.to_string()]);
    }

    /// Asks Cassandra's nodetool, and returns what it says.
    pub(crate) fn nodetool(&self, node: usize, arguments: &[&str]) -> String {
        let mut command = Command::new(script());
        let output = command.arg("nodetool").arg(&self.directory).arg(node.to_string()).args(arguments);
        let output = output.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, before: &[&str], after: &[&str]) {
        let mut command = Command::new(script());
        let status = command.args(before).arg(&self.directory).args(after).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{command:?} ended with {status}");
    }
}

impl Drop for CqlServer {
    fn drop(&mut self) {
        if let Some((held, _)) = &mut self.held {
            drop(held.stdin.take());
            // It deletes its folder before it ends.
            let _ = held.wait();
        }
    }
}
