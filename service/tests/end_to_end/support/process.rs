//! The real binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use countersign_protocol::id::ClientId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{OnceCell, watch};

use super::cql::CqlServer;
use super::dynamodb::{CREDENTIALS, DynamodbServer, REGION};
use super::gnupg::keys;
use super::http::{Http, Seen, Version};
use super::mariadb::MariadbServer;
use super::time::{eventually, random, soon};
use super::valkey::{Mode, Valkey};

const BINARY: &str = env!("CARGO_BIN_EXE_countersignd");

/// How a service is set up. It can be started again and again on the same folder.
#[derive(Clone)]
pub(crate) struct Setup {
    directory: Arc<TempDir>,
    variables: Vec<(String, String)>,
}

impl Setup {
    /// A service on free ports of the loopback, with three super-administrators, and with the store that
    /// `COUNTERSIGN_TEST_STORE` asks for: `memory` (the default), `embedded`, `scylla`, `mariadb`, `valkey` or
    /// `dynamodb`.
    pub(crate) async fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let file = directory.path().join("super-administrators.asc");
        std::fs::write(&file, keys().await.super_administrators()).unwrap();
        let setup = Self { directory, variables: Vec::new() }
            .set("LISTEN", "127.0.0.1:0")
            .set("ADMIN_LISTEN", "127.0.0.1:0")
            .set("STORE", "memory:")
            .set("LOG_FORMAT", "json")
            .set("DRAIN_DELAY", "0s")
            .set("SUPER_ADMINISTRATORS", file.to_str().unwrap());
        let setup = match test_store().as_str() {
            "memory" => setup,
            "embedded" => setup.embedded(),
            "scylla" => setup.scylla().await,
            "mariadb" => setup.mariadb().await,
            "valkey" => setup.valkey().await,
            "dynamodb" => setup.dynamodb().await,
            other => {
                panic!("COUNTERSIGN_TEST_STORE is memory, embedded, scylla, mariadb, valkey or dynamodb, not {other}")
            }
        };
        setup.with_chosen_ephemeral()
    }

    /// The whole suite runs over what `COUNTERSIGN_TEST_EPHEMERAL` names.
    fn with_chosen_ephemeral(self) -> Self {
        let mode = match std::env::var("COUNTERSIGN_TEST_EPHEMERAL").as_deref() {
            Err(_) | Ok("local") => return self,
            Ok("valkey") => Mode::Single,
            Ok("valkey-cluster") => Mode::Cluster,
            Ok(other) => panic!("COUNTERSIGN_TEST_EPHEMERAL is local, valkey or valkey-cluster, and not {other}"),
        };
        let url = Valkey::shared(mode).url();
        // The machine that runs all tests at once is slow.
        self.set("EPHEMERAL", url).set("VALKEY_TIMEOUT", "10s")
    }

    /// Uses a store that outlives the process: the one that `COUNTERSIGN_TEST_STORE` asks for, if it does, and the
    /// embedded store otherwise.
    pub(crate) fn durable(self) -> Self {
        if test_store() == "memory" { self.embedded() } else { self }
    }

    /// Uses the CQL server that tests share, with a keyspace of this test process.
    async fn scylla(self) -> Self {
        static SCHEMA: OnceCell<String> = OnceCell::const_new();
        let server = CqlServer::shared();
        let keyspace = SCHEMA
            .get_or_init(async || {
                let keyspace = format!("end_to_end_{}", random::<ClientId>().to_string().replace('-', ""));
                let output = self.clone().with_cql(server, &keyspace).run(&["schema"]).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                keyspace
            })
            .await;
        self.with_cql(server, keyspace)
    }

    /// Uses a keyspace of a CQL server, or cluster, of the test's own.
    pub(crate) fn with_cql(self, server: &CqlServer, keyspace: &str) -> Self {
        self.set("STORE", format!("scylla://{}/{keyspace}", server.address()))
            .set("SCYLLA_REPLICATION", server.nodes())
            .set("SCYLLA_USER", CqlServer::user())
            .set("SCYLLA_PASSWORD_FILE", server.password_file().display())
            .set("SCYLLA_CA", server.ca().display())
            .set("SCYLLA_DATACENTER", "datacenter1")
    }

    /// Uses the MariaDB server that tests share, with a database of this test process.
    async fn mariadb(self) -> Self {
        static SCHEMA: OnceCell<String> = OnceCell::const_new();
        let server = tokio::task::spawn_blocking(MariadbServer::shared).await.unwrap();
        let database = SCHEMA
            .get_or_init(async || {
                let database = format!("test_{}", random::<ClientId>().to_string().replace('-', ""));
                let output = self.clone().with_mariadb(server, &database).run(&["schema"]).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                database
            })
            .await;
        self.with_mariadb(server, database)
    }

    /// Uses a database of a MariaDB server.
    pub(crate) fn with_mariadb(self, server: &MariadbServer, database: &str) -> Self {
        // Many services of tests share the server, which has 400 connections.
        self.set("STORE", format!("mariadb://{}@{}/{database}", MariadbServer::user(), server.address()))
            .set("MARIADB_PASSWORD_FILE", server.password_file().display())
            .set("MARIADB_CA", server.ca().display())
            .set("MARIADB_CONNECTIONS", 8)
    }

    /// Uses the cluster of Valkey that tests share. Its schema is made here, so that a test that goes on to another store
    /// finds that one as its own schema left it.
    async fn valkey(self) -> Self {
        static SCHEMA: OnceCell<()> = OnceCell::const_new();
        let setup = self.with_valkey(Valkey::shared_store()).set("SCHEMA", "check");
        SCHEMA
            .get_or_init(async || {
                let output = setup.run(&["schema"]).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            })
            .await;
        setup
    }

    /// Uses a cluster of Valkey that persists. All services that use it make its schema, which is the same for all.
    pub(crate) fn with_valkey(self, valkey: &Valkey) -> Self {
        // The machine that runs all tests at once is slow.
        self.set("STORE", valkey.url()).set("SCHEMA", "create").set("VALKEY_STORE_TIMEOUT", "20s")
    }

    /// Uses the DynamoDB Local that tests share, with tables of this test process.
    async fn dynamodb(self) -> Self {
        static SCHEMA: OnceCell<String> = OnceCell::const_new();
        let server = tokio::task::spawn_blocking(DynamodbServer::shared).await.unwrap();
        let prefix = SCHEMA
            .get_or_init(async || {
                let prefix = format!("end-to-end-{}", random::<ClientId>());
                let output = self.clone().with_dynamodb(&server.address(), &prefix).run(&["schema"]).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                prefix
            })
            .await;
        self.with_dynamodb(&server.address(), prefix)
    }

    /// Uses tables of a DynamoDB Local, or of what stands before it.
    pub(crate) fn with_dynamodb(self, address: &str, prefix: &str) -> Self {
        let setup = self
            .set("STORE", format!("dynamodb://{REGION}/{prefix}"))
            .set("DYNAMODB_ENDPOINT", format!("http://{address}"))
            // The machine that runs all tests at once is slow.
            .set("DYNAMODB_ATTEMPT_TIMEOUT", "10s");
        CREDENTIALS.into_iter().fold(setup, |setup, (name, value)| setup.set_foreign(name, value))
    }

    /// Sets a variable, without its `COUNTERSIGN_`.
    pub(crate) fn set(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.set_foreign(&format!("COUNTERSIGN_{name}"), value)
    }

    /// Sets a variable that is not the service's own.
    pub(crate) fn set_foreign(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let name = name.to_owned();
        self.variables.retain(|(set, _)| *set != name);
        self.variables.push((name, value.to_string()));
        self
    }

    /// Uses the embedded store in the setup's folder.
    pub(crate) fn embedded(self) -> Self {
        let store = format!("embedded:{}", self.path("store").display());
        self.set("STORE", store)
    }

    /// Returns the path of a file in the setup's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let child = self.command(arguments).spawn().unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        soon("the command ends", ended).await.unwrap()
    }

    /// Starts the service and waits until it is ready.
    pub(crate) async fn start(&self) -> Service {
        let service = self.launch().await;
        eventually("the service is ready", async || {
            assert!(service.process.ended().is_none(), "the service ended at its start");
            let answer =
                service.admin.try_send(http::Request::get("/readyz").body(super::http::Content::Nothing).unwrap());
            answer.await.ok().filter(|answer| answer.status == 200)
        })
        .await;
        service
    }

    /// Starts the service and waits until it listens.
    pub(crate) async fn launch(&self) -> Service {
        let process = Process::spawn(self.command(&["serve"]));
        let (public, admin) = eventually("the service listens", async || {
            assert!(process.ended().is_none(), "the service ended before it listened");
            process.log().iter().find_map(listening)
        })
        .await;
        let seen = Seen::default();
        Service {
            http: Http::new(public, Version::One, Some(Arc::clone(&seen))),
            admin: Http::new(admin, Version::One, None),
            public,
            seen,
            process,
            setup: self.clone(),
        }
    }
}

/// The store that the whole run is to use.
fn test_store() -> String {
    std::env::var("COUNTERSIGN_TEST_STORE").unwrap_or_else(|_| "memory".to_owned())
}

fn listening(line: &Value) -> Option<(SocketAddr, SocketAddr)> {
    if line["message"] != "listening" {
        return None;
    }
    Some((line["public"].as_str()?.parse().ok()?, line["admin"].as_str()?.parse().ok()?))
}

/// A running service.
pub(crate) struct Service {
    /// A client of the public listener.
    pub(crate) http: Http,
    /// A client of the administrative listener.
    pub(crate) admin: Http,
    /// The address of the public listener.
    pub(crate) public: SocketAddr,
    /// What was answered.
    pub(crate) seen: Seen,
    /// The process.
    pub(crate) process: Process,
    /// What it was started with.
    pub(crate) setup: Setup,
}

impl Service {
    /// Stops the service by SIGTERM and starts it again on the same folder.
    pub(crate) async fn restart(self) -> Self {
        assert!(self.process.terminate().await.success());
        self.setup.start().await
    }

    /// Returns all metrics.
    pub(crate) async fn metrics(&self) -> String {
        self.admin.get("/metrics").await.expect(200).text()
    }

    /// Returns the value of one series.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A process, with what it writes to standard error.
pub(crate) struct Process {
    pid: Pid,
    lines: Arc<Mutex<Vec<String>>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let errors = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = watch::channel(None);
        let written = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
            end.send_replace(Some(child.wait().unwrap()));
        });
        Self { pid, lines, ended }
    }

    /// Returns how the process ended, if it did.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(self.pid, signal).unwrap();
        }
    }

    /// Waits for the end.
    pub(crate) async fn end(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        soon("the process ends", async move { ended.wait_for(Option::is_some).await.unwrap().unwrap() }).await
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end().await
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) async fn kill(&self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.end().await
    }

    /// Returns the lines of the log so far, which must all be JSON; but for the last word to a person, if there is one.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap().clone();
        let of_log = lines.iter().filter(|line| !line.starts_with("countersignd: "));
        of_log.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
    }

    /// Returns the log's text so far.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Returns the resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines.lock().unwrap();
            let last = lines.len().saturating_sub(30);
            eprintln!("the service's last lines:\n{}", lines[last..].join("\n"));
        }
        if self.ended().is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}
