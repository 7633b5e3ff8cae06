//! A store in MariaDB that is not ready, that hangs and that is killed; its schema with and without indices; and what
//! `doctor` says of it.

use std::process::Output;
use std::sync::Arc;

use countersign_protocol::id::ClientId;
use countersign_protocol::problem::ProblemType as Type;

use crate::support::client::request_password;
use crate::support::gnupg::keys;
use crate::support::ledger::Senders;
use crate::support::mariadb::MariadbServer;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::{eventually, random};

/// Runs what blocks: starting and stopping servers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A name for a database that nobody else has.
fn database() -> String {
    format!("test_{}", random::<ClientId>().to_string().replace('-', ""))
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_when_its_schema_is_there_and_talks_with_and_without_indices() {
    let server = blocking(MariadbServer::shared).await;
    let database = database();
    let setup = Setup::new().await.with_mariadb(server, &database);
    let store = format!("mariadb://{}@{}/{database}?indices=false", MariadbServer::user(), server.address());
    let without = setup.clone().set("STORE", store);
    let service = setup.launch().await;

    let waits = eventually("it says what it waits for", async || {
        let answer = service.admin.get("/readyz").await.expect(503).text();
        answer.contains("run countersignd schema").then_some(answer)
    })
    .await;
    let address = Organization::new().address(random(), random());
    request_password(&service.http, &address, &keys().await.alice).await.problem(Type::Unavailable);
    let created = text(setup.run(&["schema"]).await);
    let again = text(setup.run(&["schema"]).await);

    assert!(waits.starts_with("starting: there is no schema in database "), "{waits}");
    assert!(created.starts_with("version 1: all tables\nindex by_id of message was made\n"), "{created}");
    assert!(again.ends_with("nothing to do\n"), "{again}");
    eventually("it is ready", async || (service.admin.get("/readyz").await.status == 200).then_some(())).await;
    let (organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
    let client = organization.client(&service.http, alice, &keys().await.alice).await;
    let first = client.send(&[alice], b"to myself").await;
    assert_eq!(client.list().await.messages[0].id, first);
    let dropped = text(without.run(&["schema"]).await);
    let second = client.send(&[alice], b"without an index").await;
    let listed: Vec<_> = client.list().await.messages.into_iter().map(|message| message.id).collect();
    assert!(listed.contains(&second));
    let made = text(setup.run(&["schema"]).await);
    client.read(&second).await;

    assert_eq!(dropped.matches(" was dropped\n").count(), 3, "{dropped}");
    assert_eq!(made.matches(" was made\n").count(), 3, "{made}");
    assert!(service.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_can_be_looked_at_without_a_server() {
    let setup = Setup::new().await.set("STORE", "mariadb://u@nowhere.invalid/countersign");

    let with = text(setup.run(&["schema", "--dry-run"]).await);
    let without = setup.set("STORE", "mariadb://u@nowhere.invalid/countersign?indices=false");
    let without = text(without.run(&["schema", "--dry-run"]).await);

    assert!(with.starts_with("CREATE DATABASE IF NOT EXISTS countersign;\nUSE countersign;\n"), "{with}");
    assert_eq!((with.matches("ADD UNIQUE KEY").count(), without.matches("ADD UNIQUE KEY").count()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_server_schema_and_indices() {
    let server = Arc::new(blocking(MariadbServer::start).await);
    let setup = Setup::new().await.with_mariadb(&server, "countersign");
    let doctor = async || {
        let output = setup.run(&["doctor"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (without_schema, said) = doctor().await;
    assert_eq!(without_schema, Some(1), "{said}");
    assert!(said.contains("FAILED there is no schema in database countersign: run countersignd schema"), "{said}");
    text(setup.run(&["schema"]).await);
    let (well, said) = doctor().await;
    assert_eq!(well, Some(0), "{said}");
    for part in ["answers: MariaDB", "schema is new enough", "has its indices", "on disk", "max_allowed_packet"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let at = |work: fn(&MariadbServer)| {
        let server = Arc::clone(&server);
        blocking(move || work(&server))
    };
    at(|server| _ = server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 0")).await;
    let (unsafe_server, said) = doctor().await;
    assert_eq!(unsafe_server, Some(1), "{said}");
    assert!(said.contains("FAILED the server's innodb_flush_log_at_trx_commit is 0"), "{said}");
    at(|server| server.signal("KILL")).await;
    let (nobody, said) = doctor().await;
    assert_eq!(nobody, Some(1), "{said}");
    assert!(said.contains("FAILED the store mariadb://"), "{said}");
    // It is stopped by what blocks.
    blocking(move || drop(server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_201_outlives_a_server_that_hangs_and_one_that_is_killed() {
    let server = Arc::new(blocking(MariadbServer::start).await);
    let at = |work: fn(&MariadbServer)| {
        let server = Arc::clone(&server);
        blocking(move || work(&server))
    };
    let setup = Setup::new()
        .await
        .with_mariadb(&server, "countersign")
        .set("SCHEMA", "create")
        .set("RATE_PER_CLIENT", 0)
        .set("MARIADB_STATEMENT_TIMEOUT", "2s")
        .set("REQUEST_TIMEOUT", "5s");
    let service = setup.start().await;
    let (organization, people) = Organization::of_three(&service.http).await;
    let senders = Senders::start(&organization, &people, vec![service.http.clone()]);

    senders.send_more(50).await;
    at(|server| server.signal("STOP")).await;
    senders.notice_trouble().await;
    at(|server| server.signal("CONT")).await;
    for _ in 0..3 {
        senders.send_more(50).await;
        at(|server| server.signal("KILL")).await;
        senders.notice_trouble().await;
        at(MariadbServer::start_again).await;
    }
    senders.send_more(50).await;

    let sent = senders.nothing_is_lost(&service.http, &organization, &people).await;
    assert!(sent > 200);
    assert!(service.process.terminate().await.success());
    blocking(move || drop(server)).await;
}
