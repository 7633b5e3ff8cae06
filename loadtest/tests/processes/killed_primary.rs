//! The ledger over a store in Valkey whose primaries are killed: what was promised was kept.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{BINARY, Process, Service, eventually, run, scripts};

/// How often a primary is killed.
const KILLS: usize = 2;

/// A cluster of six that persists. It ends with this.
struct Cluster {
    servers: Vec<(String, String)>,
    script: Child,
    talk: Option<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Cluster {
    fn start() -> Self {
        let mut command = Command::new(scripts().join("valkey.sh"));
        command.args(["cluster", "persisting"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let input = script.stdin.take().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let servers = (0..6).map(|_| server(&lines.next().unwrap().unwrap())).collect();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { servers, script, talk: Some((input, lines)) }
    }

    fn url(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("valkey://{}", servers.join(","))
    }

    /// How many servers say so of themselves.
    fn number(&self, words: &str) -> usize {
        self.servers.iter().filter(|(port, _)| says(port, words)).count()
    }

    /// Kills a primary by SIGKILL, waits until its replica has taken its place, and starts it again.
    async fn kill_a_primary(&mut self, round: usize) {
        let primaries: Vec<usize> = (0..6).filter(|number| says(&self.servers[*number].0, "role:master")).collect();
        let (port, pid) = self.servers[primaries[round % primaries.len()]].clone();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        eventually("its replica takes over", async || (self.number("role:master") == 3).then_some(())).await;
        let (input, lines) = self.talk.as_mut().unwrap();
        writeln!(input, "start {port}").unwrap();
        let again = server(&lines.next().unwrap().unwrap());
        *self.servers.iter_mut().find(|(of, _)| *of == port).unwrap() = again;
        eventually("it has become a replica", async || (self.number("master_link_status:up") == 3).then_some(()))
            .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.talk = None;
        let _ = self.script.wait();
    }
}

fn server(line: &str) -> (String, String) {
    let (port, pid) = line.split_once(' ').unwrap();
    (port.to_owned(), pid.to_owned())
}

fn says(port: &str, words: &str) -> bool {
    let output = Command::new("valkey-cli").args(["-p", port, "INFO", "replication"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(words)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_is_kept_though_primaries_of_the_store_are_killed() {
    let mut cluster = Cluster::start();
    let settings = [
        ("STORE", cluster.url()),
        ("SCHEMA", "create".to_owned()),
        ("VALKEY_STORE_TIMEOUT", "5s".to_owned()),
        ("RATE_PER_CLIENT", "0".to_owned()),
    ];
    let service = Service::start(&settings).await;
    let sent = service.folder.path().join("ledger/sent.jsonl");
    let promised = || {
        let text = std::fs::read_to_string(&sent).unwrap_or_default();
        text.lines().filter(|line| line.contains("accepted")).count()
    };
    let command = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("COUNTERSIGN_LOADTEST_KEYS", service.keys())
            .current_dir(service.folder.path())
            .stdout(Stdio::piped());
        command
    };
    let url = service.url.to_string();
    let writing =
        ["ledger", "--url", &url, "--folder", "ledger", "--users", "3", "--rate", "40", "--duration", "10m"];
    let mut ledger = Process::start(command(&writing));

    for round in 0..KILLS {
        let before = promised();
        eventually("messages are promised", async || (promised() > before + 40).then_some(())).await;
        cluster.kill_a_primary(round).await;
    }
    let before = promised();
    eventually("messages are promised", async || (promised() > before + 40).then_some(())).await;
    ledger.child.kill().unwrap();
    ledger.child.wait().unwrap();
    let known = promised();
    let resumed = run(command(&["ledger", "--url", &url, "--folder", "ledger", "--resume"])).await;
    let judged = run(command(&["judge", "ledger", "--json", "--late", "1h"])).await;

    let text = String::from_utf8_lossy(&resumed.stdout);
    assert_eq!(resumed.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(text.ends_with("Everything that was promised was kept.\n"), "{text}");
    let verdict: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(verdict["lost"]["count"], 0);
    let number = verdict["messages"].as_u64().unwrap() + verdict["receipts"].as_u64().unwrap();
    assert!(number >= u64::try_from(known).unwrap(), "{number} of {known}");
}
