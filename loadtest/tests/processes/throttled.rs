//! The ledger over DynamoDB that throttles, loses answers and does batches by half: everything that was promised is kept.

use std::time::Duration;

use countersign_loadtest::ledger::{Exit, Ledger, Options, Terms};
use countersign_loadtest::wire::Why;

#[path = "../../../service/tests/end_to_end/support/dynamodb.rs"]
#[expect(dead_code, reason = "shared with the service's own tests")]
mod dynamodb;

use crate::support::{Service, clock, entropy, eventually, keyspace};
use dynamodb::{CREDENTIALS, DynamodbProxy, DynamodbServer, Fate, REGION};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_while_dynamodb_throttles_and_answers_are_lost_is_kept() {
    let server = tokio::task::spawn_blocking(DynamodbServer::shared).await.unwrap();
    let proxy = DynamodbProxy::before(server.address()).await;
    let mut settings = vec![
        ("STORE", format!("dynamodb://{REGION}/{}", keyspace())),
        ("DYNAMODB_ENDPOINT", format!("http://{}", proxy.address())),
        // Few, so that some calls come to nothing and clients have to repeat them.
        ("DYNAMODB_ATTEMPTS", "3".to_owned()),
        ("SCHEMA", "create".to_owned()),
        // Listings are to look at the store, and not only at what a process remembers.
        ("MERGE_INTERVAL", "500ms".to_owned()),
    ];
    settings.extend(CREDENTIALS.map(|(name, value)| (name, value.to_owned())));
    let service = Service::start(&settings).await;
    let organization = service.organization(3).await;
    let folder = service.folder.path().join("ledger");
    let patience = Duration::from_secs(5);
    let options = Options { rate: 20.0, pause: Duration::from_millis(300), patience, ..Options::default() };
    let ledger = Ledger::create(&folder, vec![organization], options, service.targets(), clock(), entropy()).unwrap();
    let running = ledger.start().unwrap();
    let tally = running.tally();
    let more = async |number: u64| {
        let before = tally.progress().accepted;
        eventually("more is promised", async || (tally.progress().accepted >= before + number).then_some(())).await;
    };
    more(20).await;

    // Too little capacity: of every five requests, three in a row are throttled, and every batch is done by half.
    let mut requests = 0;
    proxy.set(move |asked| {
        requests += 1;
        match requests % 5 {
            0..=2 => Fate::Throttle("ProvisionedThroughputExceededException"),
            _ if asked.operation.starts_with("Batch") && requests % 2 == 0 => Fate::HalfUnprocessed,
            _ => Fate::Pass,
        }
    });
    more(40).await;
    // None at all.
    proxy.set(|_| Fate::Throttle("ThrottlingException"));
    let unavailable = || tally.progress().again.get(&Why::Busy).copied().unwrap_or(0);
    let before = unavailable();
    eventually("requests are refused", async || (unavailable() >= before + 10).then_some(())).await;
    // What is done and what is not, nobody knows.
    let mut requests = 0;
    proxy.set(move |_| {
        requests += 1;
        match requests % 4 {
            0 => Fate::LoseAnswer,
            1 => Fate::LoseRequest,
            _ => Fate::Pass,
        }
    });
    more(40).await;
    proxy.set(|_| Fate::Pass);
    more(20).await;
    let verdict = running.finish(Duration::from_mins(1), Terms { late: Duration::from_hours(1) }).await.unwrap();

    assert_eq!(verdict.exit(), Exit::Kept, "{verdict}");
    assert!(verdict.messages > 100, "{verdict}");
}
