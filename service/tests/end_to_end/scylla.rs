//! A store in CQL that is not ready, that hangs and that is killed; and the command that makes its schema.

use countersign_protocol::problem::ProblemType as Type;

use crate::support::client::request_password;
use crate::support::cql::CqlServer;
use crate::support::gnupg::keys;
use crate::support::ledger::Senders;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::{eventually, random};

/// Runs what blocks: starting and stopping servers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A name for a keyspace that nobody else has.
fn keyspace() -> String {
    format!("faults_{}", random::<countersign_protocol::id::ClientId>().to_string().replace('-', ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_when_its_schema_is_there_and_says_what_it_waits_for() {
    let server = blocking(CqlServer::shared).await;
    let setup = Setup::new().await.with_cql(server, &keyspace());
    let service = setup.launch().await;

    let waits = eventually("it says what it waits for", async || {
        let answer = service.admin.get("/readyz").await.expect(503).text();
        answer.contains("run countersignd schema").then_some(answer)
    })
    .await;
    let address = Organization::new().address(random(), random());
    request_password(&service.http, &address, &keys().await.alice).await.problem(Type::Unavailable);
    let created = setup.run(&["schema"]).await;
    let again = setup.run(&["schema"]).await;

    assert!(waits.starts_with("starting: there is no schema in keyspace "), "{waits}");
    assert!(created.status.success() && again.status.success());
    assert_eq!(String::from_utf8(created.stdout).unwrap(), "version 1: all tables\n");
    assert!(String::from_utf8(again.stdout).unwrap().ends_with("nothing to do\n"));
    eventually("it is ready", async || (service.admin.get("/readyz").await.status == 200).then_some(())).await;
    let (organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
    let client = organization.client(&service.http, alice, &keys().await.alice).await;
    let id = client.send(&[alice], b"to myself").await;
    assert_eq!(client.list().await.messages[0].id, id);
    assert!(service.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_can_be_looked_at_without_a_server_and_a_store_in_memory_has_none() {
    let setup =
        Setup::new().await.set("STORE", "scylla://nowhere.invalid:9042/k").set("SCYLLA_REPLICATION", "a:3,b:2");

    let printed = setup.run(&["schema", "--dry-run"]).await;
    let elsewhere = setup.set("STORE", "memory:").run(&["schema"]).await;

    assert!(printed.status.success());
    let cql = String::from_utf8(printed.stdout).unwrap();
    for part in ["CREATE KEYSPACE IF NOT EXISTS k WITH", "'a': 3, 'b': 2", "k.organization_log (", "k.schema_version"]
    {
        assert!(cql.contains(part), "{part} is missing in\n{cql}");
    }
    assert_eq!(elsewhere.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_201_outlives_a_store_that_hangs_and_one_that_is_killed() {
    let server = std::sync::Arc::new(blocking(|| CqlServer::start(1)).await);
    let at = |work: fn(&CqlServer)| {
        let server = std::sync::Arc::clone(&server);
        blocking(move || work(&server))
    };
    let setup = Setup::new()
        .await
        .with_cql(&server, "countersign")
        .set("SCHEMA", "create")
        .set("RATE_PER_CLIENT", 0)
        .set("SCYLLA_STATEMENT_TIMEOUT", "2s")
        .set("REQUEST_TIMEOUT", "5s");
    let service = setup.start().await;
    let (organization, people) = Organization::of_three(&service.http).await;
    let senders = Senders::start(&organization, &people, vec![service.http.clone()]);

    for _ in 0..2 {
        senders.send_more(50).await;
        at(|server| server.signal(1, "STOP")).await;
        senders.notice_trouble().await;
        at(|server| server.signal(1, "CONT")).await;
    }
    senders.send_more(50).await;
    at(|server| server.signal(1, "KILL")).await;
    senders.notice_trouble().await;
    at(|server| server.start_node(1)).await;
    senders.send_more(50).await;

    let sent = senders.nothing_is_lost(&service.http, &organization, &people).await;
    assert!(sent > 200);
    assert!(service.process.terminate().await.success());
}
