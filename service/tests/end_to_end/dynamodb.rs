//! A store in DynamoDB that is not ready, that throttles and that loses answers; and what `schema` and `doctor` say of it.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use countersign_protocol::id::ClientId;
use countersign_protocol::problem::ProblemType as Type;

use crate::support::client::request_password;
use crate::support::dynamodb::{DynamodbProxy, DynamodbServer, Fate};
use crate::support::gnupg::keys;
use crate::support::ledger::Senders;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::{eventually, now_millis, random};
use crate::support::world::World;

async fn server() -> &'static DynamodbServer {
    tokio::task::spawn_blocking(DynamodbServer::shared).await.unwrap()
}

/// A prefix for tables that nobody else has.
fn prefix() -> String {
    format!("test-{}", random::<ClientId>())
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_when_its_tables_are_there() {
    let setup = Setup::new().await.with_dynamodb(&server().await.address(), &prefix());
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

    assert!(waits.starts_with("starting: there are no tables test-"), "{waits}");
    assert_eq!(created.matches(" was made\n").count(), 7, "{created}");
    assert!(created.ends_with("version 1: all tables\n"), "{created}");
    assert!(again.ends_with("nothing to do\n"), "{again}");
    eventually("it is ready", async || (service.admin.get("/readyz").await.status == 200).then_some(())).await;
    let (organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
    let client = organization.client(&service.http, alice, &keys().await.alice).await;
    let first = client.send(&[alice], b"to myself").await;
    assert_eq!(client.list().await.messages[0].id, first);
    client.read(&first).await;
    assert!(service.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_can_be_looked_at_without_a_server_and_without_credentials() {
    let setup = Setup::new().await.set("STORE", "dynamodb://eu-central-1/countersign");

    let script = text(setup.run(&["schema", "--dry-run"]).await);

    assert_eq!(script.matches("aws dynamodb create-table --region eu-central-1 ").count(), 7, "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_for_credentials_and_tables() {
    let prefix = prefix();
    let setup = Setup::new().await.with_dynamodb(&server().await.address(), &prefix);
    let doctor = async |setup: &Setup| {
        let output = setup.run(&["doctor"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (without_tables, said) = doctor(&setup).await;
    assert_eq!(without_tables, Some(1), "{said}");
    assert!(said.contains("FAILED there are no tables test-"), "{said}");
    text(setup.run(&["schema"]).await);
    let (well, said) = doctor(&setup).await;
    assert_eq!(well, Some(0), "{said}");
    for part in ["there are AWS credentials", "schema is new enough", "all 7 tables", "items expire in all 3 tables"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    // No metadata of a machine is asked, which may be anywhere.
    let nobody = Setup::new()
        .await
        .set("STORE", format!("dynamodb://eu-central-1/{prefix}"))
        .set_foreign("AWS_EC2_METADATA_DISABLED", "true")
        .set_foreign("AWS_ACCESS_KEY_ID", "");
    let (without_credentials, said) = doctor(&nobody).await;
    assert_eq!(without_credentials, Some(1), "{said}");
    assert!(said.contains("there are no AWS credentials"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_store_is_answered_503_with_a_time_to_come_back_and_never_by_its_own_words() {
    let proxy = DynamodbProxy::before(server().await.address()).await;
    let setup = Setup::new()
        .await
        .with_dynamodb(proxy.address(), &prefix())
        .set("SCHEMA", "create")
        .set("DYNAMODB_ATTEMPTS", 2);
    let world = World::of(setup).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    for error in ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"] {
        let refused = AtomicU32::new(0);
        proxy.set(move |asked| match asked.operation {
            "PutItem" if refused.fetch_add(1, Ordering::SeqCst) < 2 => Fate::Throttle(error),
            _ => Fate::Pass,
        });

        let id = alice.message_id(now_millis(), &[world.bob], error.as_bytes());
        let answer = alice.send_as(&id, &[world.bob], error.as_bytes()).await;

        let answer = answer.expect(503);
        assert!(answer.headers.contains_key("retry-after"), "{error}");
        let said = answer.text();
        assert!(!said.contains("Throughput") && !said.contains("DynamoDB") && !said.contains("table"), "{said}");
        alice.send_as(&id, &[world.bob], error.as_bytes()).await.expect(201);
    }
    assert_eq!(bob.list().await.messages.len(), 3);
    let log = world.service.process.text();
    assert!(log.contains("ProvisionedThroughputExceededException"), "the operator finds why in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_201_outlives_throttling_lost_answers_and_restarts() {
    let proxy = DynamodbProxy::before(server().await.address()).await;
    let setup = Setup::new()
        .await
        .with_dynamodb(proxy.address(), &prefix())
        .set("SCHEMA", "create")
        .set("RATE_PER_CLIENT", 0)
        .set("DYNAMODB_ATTEMPTS", 2)
        .set("REQUEST_TIMEOUT", "5s");
    let service = setup.start().await;
    let (organization, people) = Organization::of_three(&service.http).await;
    let senders = Senders::start(&organization, &people, vec![service.http.clone()]);

    senders.send_more(50).await;
    for fate in [Fate::Throttle("ProvisionedThroughputExceededException"), Fate::LoseAnswer, Fate::LoseRequest] {
        proxy.set(move |_| fate);
        senders.notice_trouble().await;
        // Of three requests, one goes wrong.
        let mut requests = 0;
        proxy.set(move |_| {
            requests += 1;
            if requests % 3 == 0 { fate } else { Fate::Pass }
        });
        senders.send_more(50).await;
    }
    proxy.set(|_| Fate::Pass);
    senders.send_more(50).await;

    let sent = senders.nothing_is_lost(&service.http, &organization, &people).await;
    assert!(sent > 200);
    assert!(service.process.terminate().await.success());
}
