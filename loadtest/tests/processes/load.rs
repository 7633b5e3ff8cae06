//! Load tests over a real service: open and closed, alone and with several workers.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use countersign_loadtest::measure::Summary;
use countersign_loadtest::wire::Operation;

use crate::support::{BINARY, Process, Service, eventually, get, run};

/// A machine that has much else to do makes the generator late, which it says by its exit code.
const KEPT: [Option<i32>; 2] = [Some(0), Some(8)];

fn command(service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--url", service.url.as_str(), "--warm-up", "0s", "--users", "12", "--organization-users", "6"])
        .args(arguments)
        .env("COUNTERSIGN_LOADTEST_KEYS", service.keys())
        .current_dir(service.folder.path())
        .stdout(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn summary(folder: &Path) -> Summary {
    serde_json::from_slice(&std::fs::read(folder.join("summary.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_at_a_rate_are_sent_read_measured_and_judged() {
    let service = Service::start(&[]).await;
    let rate =
        ["--rate", "10..30", "--poisson", "--duration", "4s", "--audit", "--folder", "open", "--poll", "200ms"];

    let output = run(command(&service, &rate)).await;

    assert!(KEPT.contains(&output.status.code()), "{}", said(&output));
    let summary = summary(&service.folder.path().join("open"));
    assert!((40..=130).contains(&summary.offered), "{}", summary.offered);
    assert_eq!(summary.ledger.lost + summary.ledger.corrupted + summary.ledger.duplicated, 0, "{}", said(&output));
    assert_eq!(summary.ledger.delivered, summary.ledger.due);
    assert_eq!((summary.users, summary.clients), (12, 36));
    for operation in Operation::ALL.into_iter().skip(1) {
        assert!(summary.operation(operation).done() > 0, "{}", operation.name());
    }
    assert_eq!(summary.operation(Operation::RequestSessionKey).done(), 0, "sessions are opened before");
    let of_seconds: u64 = summary.seconds.iter().map(|second| second.done[Operation::SendMessage.index()]).sum();
    assert_eq!(of_seconds, summary.send.count(), "every message is in a second and in the total");
    let streamed = std::fs::read_to_string(service.folder.path().join("open/results.jsonl")).unwrap();
    assert!(streamed.lines().count() >= 2, "{streamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_programs_send_check_and_read_in_turn() {
    let service = Service::start(&[]).await;

    let output = run(command(&service, &["--closed", "2", "--duration", "2s", "--folder", "closed"])).await;

    assert!(KEPT.contains(&output.status.code()), "{}", said(&output));
    let summary = summary(&service.folder.path().join("closed"));
    assert_eq!(summary.ledger.delivered, summary.ledger.due, "{}", said(&output));
    assert!(summary.ledger.promised > 10, "{}", said(&output));
    assert_eq!(summary.programs.len(), 2, "both ended");
    let (sent, checks) =
        (summary.operation(Operation::SendMessage).done(), summary.operation(Operation::ListMessages).done());
    assert!(checks >= sent, "each message has its recipients look: {sent} sent, {checks} checks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_threshold_has_an_exit_code_and_is_told() {
    let service = Service::start(&[]).await;
    let thresholds = [
        "--rate",
        "20",
        "--duration",
        "2s",
        "--threshold",
        "rate>=1000/s",
        "--threshold",
        "lost==0",
        "--folder",
        "t",
    ];
    let unreadable = run(command(&service, &["--threshold", "speed>1"])).await;

    let output = run(command(&service, &thresholds)).await;

    assert!([Some(7), Some(8)].contains(&output.status.code()), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("Missed: rate>=1000/s: it is ") && !text.contains("Missed: lost"), "{text}");
    assert_eq!(unreadable.status.code(), Some(64), "{}", said(&unreadable));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_begin_together_and_end_in_one_verdict() {
    let service = Service::start(&[]).await;
    let shared = ["--rate", "40", "--duration", "3s", "--workers", "2"];
    let mut first = command(&service, &shared);
    first.args(["--worker", "0", "--folder", "first", "--collect-listen", "127.0.0.1:0"]);
    first.args(["--admin-listen", "127.0.0.1:0"]).env("NO_COLOR", "1");
    let mut first = Process::start(first);
    let address = |text: &str, after: &str| -> Option<String> {
        let rest = text.lines().find(|line| line.contains(after))?;
        let address = rest.split(['=', ' ']).find(|word| word.starts_with("127.0.0.1:"))?;
        Some(format!("http://{address}"))
    };
    let collector =
        eventually("the first worker listens", async || address(&first.text(), "the other workers are awaited"))
            .await;
    let admin = eventually("it exports metrics", async || address(&first.text(), "metrics are exported")).await;
    let mut second = command(&service, &shared);
    second.args(["--worker", "1", "--folder", "second", "--collector", &collector]);

    let waiting = get(&admin, "/metrics").await.unwrap();
    let second = run(second).await;
    let ended = tokio::task::spawn_blocking(move || {
        let ended = first.child.wait().unwrap();
        (ended, first.text())
    });
    let (ended, text) = ended.await.unwrap();

    // Nobody begins before all are ready.
    let sent = "countersign_loadtest_requests_total{operation=\"send_message\",outcome=\"ok\"} 0";
    assert!(waiting.lines().any(|line| line == sent), "{waiting}");
    assert_eq!(second.status.code(), Some(0), "{}", said(&second));
    assert!(KEPT.contains(&ended.code()), "{text}");
    let sum = summary(&service.folder.path().join("first"));
    assert_eq!((sum.workers, sum.users), (2, 12));
    assert!((100..=120).contains(&sum.offered), "{}", sum.offered);
    assert_eq!((sum.ledger.lost, sum.ledger.delivered), (0, sum.ledger.due), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_replayed_and_runs_compared() {
    let service = Service::start(&[]).await;
    let folder = service.folder.path();
    let log = folder.join("talk.jsonl");
    let tool = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(folder);
        command
    };
    let file = log.to_str().unwrap();
    let written =
        run(tool(&["conversation", "--users", "4", "--messages", "60", "--seconds", "3", "--output", file])).await;
    assert!(written.status.success(), "{}", said(&written));

    let replayed = run(command(&service, &["--replay", file, "--duration", "5s", "--folder", "replayed"])).await;
    let closed =
        run(command(&service, &["--closed", "1", "--replay", file, "--duration", "60s", "--folder", "closed"])).await;
    let short = run(tool(&["compare", "replayed", "closed"])).await;
    let several = ["compare", "replayed", "replayed", "--with", "closed", "closed", "--report", "compared"];
    let several = run(tool(&several)).await;
    std::fs::write(&log, "{\"format\":\"countersign-conversation\",\"version\":1,\"users\":4}\n{\"at\":0}\n")
        .unwrap();
    let broken = run(command(&service, &["--replay", file, "--folder", "broken"])).await;

    assert!(KEPT.contains(&replayed.status.code()), "{}", said(&replayed));
    let sum = summary(&folder.join("replayed"));
    assert_eq!((sum.offered, sum.dropped, sum.users), (60, 0, 4), "{}", said(&replayed));
    assert!(folder.join("replayed/report.html").exists());
    let sum = summary(&folder.join("closed"));
    assert_eq!(sum.offered, 60, "the program ends when its conversation does: {}", said(&closed));
    assert!(sum.programs.iter().all(|program| program.name == "talk 1" && program.seconds > 0.0));
    // Some seconds of one run say nothing.
    assert_eq!(short.status.code(), Some(1), "{}", said(&short));
    assert!([Some(0), Some(7)].contains(&several.status.code()), "{}", said(&several));
    assert!(said(&several).contains("2 runs against 2"), "{}", said(&several));
    assert!(folder.join("compared/comparison.html").exists());
    assert_eq!(broken.status.code(), Some(1));
    assert!(said(&broken).contains("talk.jsonl is no conversation log"), "{}", said(&broken));
}
