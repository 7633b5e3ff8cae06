//! Real MariaDB servers, started by `scripts/mariadb.sh`, which stops them when this process ends, however it ends.
//!
//! `COUNTERSIGN_TEST_MARIADB` may name the folder of a server that whoever runs the tests has started for all of them;
//! otherwise the first test that needs one starts it. The tests of the store itself use this file too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How often it is looked whether a server is up. The script itself gives up in the end.
const LOOK: Duration = Duration::from_millis(50);

/// A server.
pub(crate) struct MariadbServer {
    directory: PathBuf,
    /// The script's standard input: when it closes, the script stops the server.
    held: Option<(std::process::Child, tempfile::TempDir)>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mariadb.sh")
}

impl MariadbServer {
    /// Returns the server that tests share. Each uses a database or organizations of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<MariadbServer> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("COUNTERSIGN_TEST_MARIADB") {
            Some(directory) => Self { directory: directory.into(), held: None },
            None => Self::start(),
        })
    }

    /// Starts a server of one's own, and waits until it answers.
    pub(crate) fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("mariadb");
        let mut command = Command::new(script());
        command.arg("hold").arg(&directory).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut held = command.spawn().unwrap();
        while !directory.join("address").exists() {
            let ended = held.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "scripts/mariadb.sh did not start MariaDB; scripts/install-packages.sh --test installs it"
            );
            std::thread::sleep(LOOK);
        }
        Self { directory: directory.canonicalize().unwrap(), held: Some((held, place)) }
    }

    /// Returns the server's address, with its port.
    pub(crate) fn address(&self) -> String {
        std::fs::read_to_string(self.directory.join("address")).unwrap().trim().to_owned()
    }

    /// Returns the certificate that the server can be trusted by.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("tls/ca.pem")
    }

    /// Returns the user to log in as, who may do all with databases that begin with `test`.
    pub(crate) const fn user() -> &'static str {
        "countersign"
    }

    /// Returns a file with the user's password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.directory.join("password")
    }

    /// Sends the server a signal: `KILL`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        self.run("signal", &[signal]);
    }

    /// Starts the server again where it was, and waits until it answers.
    pub(crate) fn start_again(&self) {
        self.run("start", &[]);
    }

    /// Does a statement as the server's administrator, and returns the answer: a line a row.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.run("sql", &[statement])
    }

    fn run(&self, what: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(script());
        command.arg(what).arg(&self.directory).args(arguments).stdin(Stdio::null());
        // The server inherits what it is started with, and would keep a pipe open.
        if what == "start" {
            assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{command:?}");
            return String::new();
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for MariadbServer {
    fn drop(&mut self) {
        if let Some((held, _)) = &mut self.held {
            drop(held.stdin.take());
            // It deletes its folder before it ends.
            let _ = held.wait();
        }
    }
}
