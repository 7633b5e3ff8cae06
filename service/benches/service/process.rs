//! The processes that are measured.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long a process may take to be ready.
const START_MILLIS: u64 = 20_000;

/// A process that listens on the loopback interface, ended when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: Option<PathBuf>,
}

impl Server {
    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the service in a folder, with settings by their variables' names without `COUNTERSIGN_`.
    pub(crate) fn service(folder: &Path, settings: &[(&str, String)]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let log: PathBuf = folder.join("log.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersignd"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("COUNTERSIGN_")) {
                command.env_remove(name);
            }
        }
        command
            .arg("serve")
            .env("COUNTERSIGN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_STORE", format!("embedded:{}", folder.join("store").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        for (name, value) in settings {
            command.env(format!("COUNTERSIGN_{name}"), value);
        }
        let child = command.spawn().context("cannot start the service")?;
        // From here on dropping it ends it.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log: None };
        server.address = server.wait_for_address(&log)?;
        server.log = Some(log);
        Ok(server)
    }

    /// Starts this program as the bare server that everything is compared with.
    pub(crate) fn hello() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(crate::hello::ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the bare server")?;
        let stdout = child.stdout.take().context("the bare server has no output")?;
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log: None };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        server.address = line.trim().parse().context("the bare server said no address")?;
        Ok(server)
    }

    /// Says whether the process still runs, and if not, what it logged last besides requests.
    pub(crate) fn state(&mut self) -> String {
        let ended = match self.child.try_wait() {
            Ok(None) => return "the service still runs".to_owned(),
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let text = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("countersign::request")).collect();
        let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n");
        format!("the service ended by itself ({ended}), after logging:\n{last}")
    }

    fn wait_for_address(&mut self, log: &Path) -> Result<SocketAddr> {
        for _ in 0..START_MILLIS / 10 {
            let text = std::fs::read_to_string(log)?;
            let address = text.split_once(r#""public":""#).and_then(|(_, rest)| rest.split_once('"'));
            // The line after it says that it serves.
            if let Some((address, _)) = address.filter(|_| text.contains("ready")) {
                return Ok(address.parse()?);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the service ended with {status}: {text}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the service was not ready in {START_MILLIS} ms")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
