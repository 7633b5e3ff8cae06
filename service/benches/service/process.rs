//! The processes that are measured.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// How long a process may take to be ready.
const START_MILLIS: u64 = 20_000;

/// A process that listens on the loopback interface, ended when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its metrics are.
    admin: Option<SocketAddr>,
    log: Option<PathBuf>,
}

/// Settings under which nobody is kept waiting: no rate limits, and a long queue of public-key work.
pub(crate) fn unlimited() -> Vec<(&'static str, String)> {
    [("RATE_PER_CLIENT", "0"), ("RATE_PER_ADDRESS", "0"), ("PUBLIC_KEY_QUEUE", "2048")]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
}

impl Server {
    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes the tables of the service's store.
    pub(crate) fn schema(settings: &[(&str, String)]) -> Result<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersignd"));
        command.arg("schema").stdin(Stdio::null()).stdout(Stdio::null());
        for (name, value) in settings {
            command.env(format!("COUNTERSIGN_{name}"), value);
        }
        let output = command.output().context("cannot run the service")?;
        ensure!(output.status.success(), "no schema: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
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
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), admin: None, log: None };
        let (public, admin) = server.wait_for_addresses(&log)?;
        server.address = public;
        server.admin = Some(admin);
        server.log = Some(log);
        Ok(server)
    }

    /// Starts this program as the bare server that everything is compared with.
    pub(crate) fn hello() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(crate::hello::ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the bare server")?;
        let stdout = child.stdout.take().context("the bare server has no output")?;
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), admin: None, log: None };
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

    /// Returns the sum of a metric's series.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let admin = self.admin.context("the bare server has no metrics")?;
        let mut socket = TcpStream::connect(admin)?;
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let of_name = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
        };
        Ok(answer.lines().filter_map(of_name).sum())
    }

    fn wait_for_addresses(&mut self, log: &Path) -> Result<(SocketAddr, SocketAddr)> {
        for _ in 0..START_MILLIS / 10 {
            let text = std::fs::read_to_string(log)?;
            let address = |name: &str| {
                let (_, rest) = text.split_once(&format!(r#""{name}":""#))?;
                rest.split_once('"').map(|(address, _)| address)
            };
            // The line after it says that it serves.
            if let (Some(public), Some(admin), true) = (address("public"), address("admin"), text.contains("ready")) {
                return Ok((public.parse()?, admin.parse()?));
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
