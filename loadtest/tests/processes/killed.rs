//! A ledger whose process is killed still knows what it was promised.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{BINARY, Process, Service, eventually, run};

fn command(service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env("COUNTERSIGN_LOADTEST_KEYS", service.keys())
        .current_dir(service.folder.path())
        .stdout(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_killed_is_resumed_and_judged() {
    let service = Service::start(&[]).await;
    let url = service.url.to_string();
    let sent = service.folder.path().join("ledger/sent.jsonl");
    let promised = || {
        let text = std::fs::read_to_string(&sent).unwrap_or_default();
        text.lines().filter(|line| line.contains("accepted")).count()
    };
    let writing =
        ["ledger", "--url", &url, "--folder", "ledger", "--users", "3", "--rate", "40", "--duration", "10m"];
    let mut ledger = Process::start(command(&service, &writing));
    eventually("messages are promised", async || (promised() > 50).then_some(())).await;
    ledger.child.kill().unwrap();
    ledger.child.wait().unwrap();
    let known = promised();

    let files = run(command(&service, &["judge", "ledger", "--json"])).await;
    let resumed = run(command(&service, &["ledger", "--url", &url, "--folder", "ledger", "--resume"])).await;
    let again = run(command(&service, &["judge", "ledger", "--json", "--late", "1h"])).await;

    // No new client has looked yet, so by its files alone not everything was delivered.
    assert_eq!(files.status.code(), Some(3), "{}", String::from_utf8_lossy(&files.stdout));
    let text = String::from_utf8_lossy(&resumed.stdout);
    assert_eq!(resumed.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(text.ends_with("Everything that was promised was kept.\n"), "{text}");
    let verdict: Value = serde_json::from_slice(&again.stdout).unwrap();
    let judged = verdict["messages"].as_u64().unwrap() + verdict["receipts"].as_u64().unwrap();
    // What was left was read, and some of it was acknowledged.
    assert!(judged >= u64::try_from(known).unwrap(), "{judged} of {known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_says_what_is_wrong_before_it_begins() {
    let service = Service::start(&[]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let mut strangers = command(&service, &["ledger", "--url", service.url.as_str(), "--folder", "ledger"]);
    strangers.env("COUNTERSIGN_LOADTEST_KEYS", elsewhere.path());

    let refused = run(strangers).await;
    let unknown = run(command(&service, &["ledger"])).await;
    let nothing = run(command(&service, &["judge", "nowhere"])).await;

    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("countersign-loadtest setup"), "{text}");
    assert_eq!(unknown.status.code(), Some(64));
    assert_eq!(nothing.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_can_have_its_super_administrators_from_a_file() {
    let service = Service::start(&[]).await;
    let url = service.url.to_string();
    let elsewhere = service.folder.path().join("other-keys");
    let theirs = service.keys().join("super-administrators.pgp");
    let given = ["--super-administrator-keys", theirs.to_str().unwrap()];
    let mut setup = command(&service, &["setup", "--super-administrators", "written.asc"]);
    setup.args(given).env("COUNTERSIGN_LOADTEST_KEYS", &elsewhere);
    let mut ledger =
        command(&service, &["ledger", "--url", &url, "--users", "2", "--duration", "1s", "--json", "v.json"]);
    ledger.args(given).env("COUNTERSIGN_LOADTEST_KEYS", &elsewhere);

    let (written, kept) = (run(setup).await, run(ledger).await);

    let read = |name: &str| std::fs::read_to_string(service.folder.path().join(name)).unwrap();
    assert!(written.status.success());
    assert_eq!(read("written.asc"), read("super-administrators.asc"));
    assert_eq!(kept.status.code(), Some(0), "{}", String::from_utf8_lossy(&kept.stderr));
    let verdict: Value = serde_json::from_str(&read("v.json")).unwrap();
    assert!(verdict["messages"].as_u64().unwrap() > 0);
    assert_eq!(verdict["lost"]["count"], 0);
}
