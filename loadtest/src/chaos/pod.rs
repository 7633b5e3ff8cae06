//! A pod: the real `countersignd`, behind a proxy, with a clock that can be shifted.
//!
//! Invariant: a pod never outlives this process, however it ends: `setpriv` asks the kernel for that.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_client::clock::Clock;
use countersign_client::connection::{HttpClient, ServerUrl, Trust};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::proxy::{Proxy, Weather};
use crate::clock::Stopwatch;
use crate::readiness::until_ready;

/// How long a pod may take until it is ready, until it has ended after SIGTERM, and until its clock is another.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// How far a pod's clock may be from what it was shifted to, in seconds: it is read once a second.
const CLOCK_TOLERANCE: i64 = 2;

/// Where Debian has libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Finds the library that shifts the clock of a process.
#[must_use]
pub(super) fn find_faketime() -> Option<PathBuf> {
    FAKETIME.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// How every pod is launched.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Settings, without their `COUNTERSIGN_`.
    pub settings: Vec<(String, String)>,
    /// The folder of its log and its clock.
    pub folder: PathBuf,
    /// The library that shifts its clock; none if clocks are to be left alone.
    pub faketime: Option<PathBuf>,
}

impl Launch {
    /// Returns the command with the pod's settings.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.binary)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.settings.iter().map(|(name, value)| (format!("COUNTERSIGN_{name}"), value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command of the service's that ends by itself, and returns what it said.
    ///
    /// # Errors
    /// If it fails.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().await.context("cannot run countersignd")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "countersignd {}: {}", arguments.join(" "), text(&output.stderr));
        Ok(text(&output.stdout))
    }
}

/// A pod.
#[derive(Debug)]
pub(super) struct Pod {
    number: usize,
    launch: Launch,
    proxy: Proxy,
    running: Option<Running>,
    /// Seconds by which its clock is wrong.
    shift: i64,
    starts: usize,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: Pid,
    public: SocketAddr,
}

impl Pod {
    /// Starts a pod and its proxy, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(super) async fn start(number: usize, launch: Launch) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 0)), nowhere).await?;
        let mut pod = Self { number, launch, proxy, running: None, shift: 0, starts: 0 };
        pod.write_clock()?;
        pod.restart().await?;
        Ok(pod)
    }

    /// Returns where its clients find it, whichever process it is.
    #[must_use]
    pub(super) const fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Changes what is done to its connections.
    pub(super) fn set(&self, weather: Weather) {
        self.proxy.set(weather);
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let running = self.running.as_ref().with_context(|| format!("pod {} does not run", self.number + 1))?;
        kill_process(running.pid, signal).context("cannot send a signal")
    }

    /// Kills it.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let mut running = self.running.take().with_context(|| format!("pod {} does not run", self.number + 1))?;
        running.child.kill().await.context("cannot kill a pod")
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(super) async fn restart(&mut self) -> Result<()> {
        let running = self.launch_one().await?;
        self.proxy.pass_to(running.public);
        self.running = Some(running);
        Ok(())
    }

    /// Has another process take its place, and then stops it in order.
    ///
    /// # Errors
    /// If the other does not become ready, or it does not end well.
    pub(super) async fn replace(&mut self, alone: bool) -> Result<()> {
        if alone {
            // The store has room for one process at a time.
            self.terminate().await?;
            return self.restart().await;
        }
        let next = self.launch_one().await?;
        self.proxy.pass_to(next.public);
        self.terminate().await?;
        self.running = Some(next);
        Ok(())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// If it does not end well.
    pub(super) async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let ended = tokio::time::timeout(PATIENCE, running.child.wait()).await;
        let status: ExitStatus = ended.with_context(|| format!("pod {} does not end", self.number + 1))??;
        ensure!(status.success(), "pod {} ended with {status} after SIGTERM", self.number + 1);
        Ok(())
    }

    /// Shifts its clock, and waits until it tells the other time.
    ///
    /// # Errors
    /// If it goes on telling the old one.
    pub(super) async fn shift_clock(&mut self, seconds: i64, clock: &dyn Clock, within: Duration) -> Result<()> {
        self.shift = seconds;
        self.write_clock()?;
        let address = self.running.as_ref().context("a pod whose clock is shifted runs")?.public;
        let watch = Stopwatch::start();
        loop {
            let told = date(address).await;
            let now = i64::try_from(clock.now().to_seconds()).unwrap_or(i64::MAX);
            if told.is_ok_and(|told| (told - now - seconds).abs() <= CLOCK_TOLERANCE) {
                return Ok(());
            }
            ensure!(watch.elapsed() < within, "the clock of pod {} cannot be shifted", self.number + 1);
            tokio::time::sleep(LOOK).await;
        }
    }

    fn clock_file(&self) -> PathBuf {
        self.launch.folder.join(format!("pod-{}.clock", self.number + 1))
    }

    fn write_clock(&self) -> Result<()> {
        // As a whole: it may be reading.
        let partial = self.launch.folder.join(format!("pod-{}.clock.new", self.number + 1));
        std::fs::write(&partial, format!("{:+}\n", self.shift))
            .and_then(|()| std::fs::rename(&partial, self.clock_file()))
            .context("cannot write a pod's clock")
    }

    async fn launch_one(&mut self) -> Result<Running> {
        self.starts += 1;
        let log = self.launch.folder.join(format!("pod-{}-{}.log", self.number + 1, self.starts));
        let mut command = self.launch.command(&["serve"]);
        if let Some(library) = &self.launch.faketime {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.clock_file())
                .env("FAKETIME_CACHE_DURATION", "1")
                // The runtime's timers are no clock that an operator can set wrong.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().context("cannot start a pod")?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("a pod has no number")?;
        let public = until_ready(&mut child, &log, PATIENCE);
        let public = public.await.with_context(|| format!("pod {} did not start", self.number + 1))?;
        Ok(Running { child, pid, public })
    }
}

/// Asks a pod what time it is, in seconds since 1970: every answer has a `Date`.
async fn date(public: SocketAddr) -> Result<i64> {
    let url: ServerUrl = format!("http://{public}").parse()?;
    let http = HttpClient::new(url, &Trust::System)?;
    let request = http::Request::get(format!("http://{public}/")).body(http_body_util::Full::default())?;
    let answer = http.send(request, Duration::from_secs(2)).await?;
    let date = answer.headers.get(http::header::DATE).context("an answer has no date")?;
    Ok(jiff::fmt::rfc2822::parse(date.to_str()?)?.timestamp().as_second())
}

/// Leaves addresses out of a text, so that lines which differ in nothing else are counted together.
fn without_addresses(text: &str) -> String {
    let is_address = |word: &&str| word.trim_matches(['[', ']', ',', ':']).parse::<SocketAddr>().is_ok();
    let words = text.split(' ').map(|word| if is_address(&word) { "(address)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Counts a pod's log lines that a person should look at, by their level.
pub(super) fn troubled_lines(folder: &Path) -> std::io::Result<Vec<(String, String, usize)>> {
    let mut counts: std::collections::BTreeMap<(String, String), usize> = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "log") {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let level = line["level"].as_str().unwrap_or_default().to_uppercase();
            if level == "ERROR" || level == "WARN" {
                let message = without_addresses(line["message"].as_str().unwrap_or_default());
                *counts.entry((level, message)).or_default() += 1;
            }
        }
    }
    Ok(counts.into_iter().map(|((level, message), count)| (level, message, count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_addresses_only_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        let line = |level: &str, port: u16| {
            format!("{{\"level\":\"{level}\",\"message\":\"connection to 127.0.0.1:{port}, lost\"}}\n")
        };
        let log = [line("WARN", 1), line("WARN", 2), line("INFO", 3), line("ERROR", 4), "not JSON\n".to_owned()];
        std::fs::write(folder.path().join("pod-1-1.log"), log.concat()).unwrap();

        let troubled = troubled_lines(folder.path()).unwrap();

        let told = "connection to (address) lost".to_owned();
        assert_eq!(troubled, [("ERROR".to_owned(), told.clone(), 1), ("WARN".to_owned(), told, 2)]);
    }
}
