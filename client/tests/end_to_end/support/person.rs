//! A person at a device: the command, run with their GnuPG home and a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use countersign_virtual_card::GnupgHome;
use serde_json::Value;
use tempfile::TempDir;

use super::Key;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// A person at a device.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) key: Key,
    folder: Arc<TempDir>,
    /// Variables that their GnuPG needs beside its home.
    environment: Vec<(&'static str, PathBuf)>,
    /// How wrong the device's clock is, as libfaketime writes it: `-3h`.
    clock: Option<&'static str>,
    /// Their id, once they are in an organization.
    pub(crate) user: String,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Person {
    /// A device on which nothing was done yet.
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            key: key.clone(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            environment: Vec::new(),
            clock: None,
            user: String::new(),
        }
    }

    /// The same, for somebody whose secret keys are on a card.
    pub(crate) fn with_card(key: &Key, home: &GnupgHome) -> Self {
        let environment = home.environment().map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { environment, ..Self::new(key) }
    }

    /// A device whose clock is wrong, for this program and for GnuPG.
    pub(crate) fn with_clock(key: &Key, offset: &'static str) -> Self {
        Self { clock: Some(offset), ..Self::new(key) }
    }

    /// Returns the path of a file on the device.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file on the device and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .env("GNUPGHOME", &self.key.home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.clock.into_iter().flat_map(|offset| {
                // Not by the wrapper of that name: it leaves semaphores behind, and fails where it finds one of its own number.
                let library = "/usr/$LIB/faketime/libfaketime.so.1";
                [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
            }))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    /// Starts the command.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs the command with `--json` and returns what it printed. It must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[&["--json"], arguments].concat()).json(0)
    }

    /// Sends a text and returns the message's number.
    pub(crate) fn send(&self, to: &[&str], text: &str) -> i64 {
        let sent = self.json(&[&["send"], to, &["--message", text]].concat());
        assert_eq!(sent["messages"][0]["state"], "sent");
        sent["messages"][0]["number"].as_i64().unwrap()
    }

    /// Fetches what is new, and returns all texts that arrived so far, in their order.
    pub(crate) fn texts(&self) -> Vec<String> {
        let inbox = self.json(&["inbox", "--all", "--limit", "1000"]);
        let messages = inbox["messages"].as_array().unwrap();
        let arrived = messages.iter().filter(|message| message["outgoing"] == false);
        arrived.filter_map(|message| message["text"].as_str().map(str::to_owned)).collect()
    }

    /// Returns all texts that arrived so far, without asking the server.
    pub(crate) fn texts_offline(&self) -> Vec<String> {
        let inbox = self.json(&["inbox", "--all", "--offline", "--limit", "1000"]);
        let messages = inbox["messages"].as_array().unwrap();
        let arrived = messages.iter().filter(|message| message["outgoing"] == false);
        arrived.filter_map(|message| message["text"].as_str().map(str::to_owned)).collect()
    }

    /// Returns who has received a message, as far as this device knows.
    pub(crate) fn received_by(&self, number: i64) -> Vec<String> {
        let receipts = self.json(&["receipts", &number.to_string()]);
        let recipients = receipts["messages"][0]["recipients"].as_array().unwrap();
        let received = recipients.iter().filter(|recipient| recipient["received"] == true);
        received.map(|recipient| recipient["user"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Insists on an exit code.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Insists on an exit code and reads the first JSON value.
    pub(crate) fn json(self, code: i32) -> Value {
        let ended = self.expect(code);
        let mut values = serde_json::Deserializer::from_slice(&ended.stdout).into_iter::<Value>();
        values.next().unwrap_or_else(|| panic!("no JSON; stderr: {}", ended.stderr)).unwrap()
    }
}
