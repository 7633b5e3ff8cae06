//! Processes that end with the test, folders, and waiting for conditions.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign_client::clock::{Clock, SystemClock};
use countersign_client::connection::{HttpClient, ServerUrl, Trust};
use countersign_client::entropy::{Entropy, SystemEntropy, random_id};
use countersign_loadtest::clock::Stopwatch;
use countersign_loadtest::keys::KeyFolder;
use countersign_loadtest::people::{Organization, SetUp};
use countersign_loadtest::wire::Targets;
use serde_json::Value;
use tempfile::TempDir;

/// The command that is tested.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign-loadtest");

/// How long a condition may take that should come true soon, on a machine that has much else to do.
const SOON: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);

/// Returns the service's program, which is built beside the load tester's.
pub(crate) fn countersignd() -> PathBuf {
    let beside = || Path::new(BINARY).with_file_name("countersignd");
    let path = std::env::var_os("COUNTERSIGND").map_or_else(beside, PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build -p countersign-service", path.display());
    path
}

/// Returns the project's folder of scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").canonicalize().unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub(crate) fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SystemEntropy)
}

/// Returns a name for a keyspace that nobody else has.
pub(crate) fn keyspace() -> String {
    format!("loadtest_{}", random_id(&SystemEntropy).simple())
}

/// Waits until `look` returns something, and returns it.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(watch.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A process that is killed when the test is done with it, and what it says to standard error.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let lines: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let written = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Returns what it said so far.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines.lock().unwrap();
            eprintln!("its last lines:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A running service, with keys that may create organizations there.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) url: ServerUrl,
}

impl Service {
    /// Starts a service with settings, without their `COUNTERSIGN_`; those of AWS have names of their own.
    pub(crate) async fn start(settings: &[(&str, String)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let keys = folder.path().join("keys");
        let supers = KeyFolder::open(keys, clock()).unwrap().super_administrators().unwrap();
        std::fs::write(folder.path().join("super-administrators.asc"), supers.certificates()).unwrap();
        Self::launch(folder, settings).await
    }

    /// Starts a second process for the same folder.
    pub(crate) async fn another(&self, settings: &[(&str, String)]) -> Self {
        Self::launch(Arc::clone(&self.folder), settings).await
    }

    async fn launch(folder: Arc<TempDir>, settings: &[(&str, String)]) -> Self {
        let mut command = Command::new(countersignd());
        command
            .arg("serve")
            .env_clear()
            .env("COUNTERSIGN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_STORE", format!("embedded:{}", folder.path().join("store").display()))
            .env("COUNTERSIGN_LOG_FORMAT", "json")
            .env("COUNTERSIGN_DRAIN_DELAY", "0s")
            .env("COUNTERSIGN_SUPER_ADMINISTRATORS", folder.path().join("super-administrators.asc"))
            .envs(settings.iter().map(|(name, value)| match name.strip_prefix("AWS_") {
                Some(_) => ((*name).to_owned(), value),
                None => (format!("COUNTERSIGN_{name}"), value),
            }));
        let process = Process::start(command);
        let (public, admin) = eventually("the service listens", async || {
            process.text().lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let of = |name: &str| line[name].as_str().map(|address| format!("http://{address}"));
                (line["message"] == "listening").then(|| Some((of("public")?, of("admin")?)))?
            })
        })
        .await;
        eventually("the service is ready", async || get(&admin, "/readyz").await).await;
        Self { process, folder, url: public.parse().unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.as_str().trim_start_matches("http://").parse().unwrap()
    }

    pub(crate) fn targets(&self) -> Targets {
        Targets::new(std::slice::from_ref(&self.url), &Trust::System).unwrap()
    }

    /// Returns the folder of the keys that the service knows.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub(crate) async fn organization(&self, users: usize) -> Organization {
        let keys = KeyFolder::open(self.keys(), clock()).unwrap();
        let set_up = SetUp {
            targets: &self.targets(),
            super_administrators: &keys.super_administrators().unwrap(),
            client_limit: 10,
            clock: &*clock(),
            entropy: &*entropy(),
        };
        Organization::create(&set_up, &keys.people(users).unwrap()).await.unwrap()
    }
}

/// Gets a page of an administrative listener; none unless it is answered 200.
pub(crate) async fn get(url: &str, path: &str) -> Option<String> {
    let http = HttpClient::new(url.parse().unwrap(), &Trust::System).unwrap();
    let request = http::Request::get(format!("{url}{path}")).body(http_body_util::Full::default()).unwrap();
    let answer = http.send(request, Duration::from_secs(5)).await.ok()?;
    answer.status.is_success().then(|| String::from_utf8(answer.body.to_vec()).unwrap())
}
