//! Three pods over a cluster of three CQL nodes: faults of each kind, and races. `make test-cluster` runs it; it is too
//! heavy for every run.

use std::sync::Arc;

use countersign_protocol::log::Head;
use countersign_protocol::problem::ProblemType as Type;
use futures_util::future::join_all;

use crate::support::cql::CqlServer;
use crate::support::http::Http;
use crate::support::ledger::Senders;
use crate::support::organization::{Organization, client_limit, submit};
use crate::support::process::{Service, Setup};

const PODS: usize = 3;
/// Statements that race for each sequence.
const RACERS: u32 = 6;

/// Does something to a cluster.
async fn at(cluster: &Arc<CqlServer>, work: fn(&CqlServer)) {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || work(&cluster)).await.unwrap();
}

fn addresses(pods: &[Service]) -> Vec<Http> {
    pods.iter().map(|pod| pod.http.clone()).collect()
}

/// Has statements race for the next sequence, over all pods, and asserts that one wins and all others learn that it did.
async fn one_wins(organization: &mut Organization, pods: &[Service], user: countersign_protocol::id::UserId) {
    let mut entries = Vec::new();
    for number in 0..RACERS {
        entries.push(organization.entry(client_limit(user, 20 + number)).await);
    }
    let racers = entries.into_iter().zip(pods.iter().cycle()).map(|(entry, pod)| {
        let http = pod.http.separate();
        async move {
            loop {
                let answer = submit(&http, &entry).await;
                // Unknown or unavailable: a submitter repeats the identical statement.
                if answer.status != 503 {
                    return answer;
                }
                assert!(answer.header("retry-after").is_some());
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    });
    let answers = crate::support::time::soon("all are answered", join_all(racers)).await;
    let won: Vec<Head> =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.clone().json(200)).collect();
    assert_eq!(won.len(), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    for lost in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(lost.problem(Type::LogMoved).head, Some(won[0]));
    }
    organization.head = Some(won[0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three nodes and three pods: make test-cluster"]
async fn three_pods_over_three_nodes_lose_nothing_whatever_fails() {
    let cluster = Arc::new(tokio::task::spawn_blocking(|| CqlServer::start(3)).await.unwrap());
    let setup = Setup::new().await.with_cql(&cluster, "countersign").set("RATE_PER_CLIENT", 0);
    let schemas = join_all((0..3).map(|_| setup.run(&["schema"]))).await;
    for schema in schemas {
        assert!(schema.status.success(), "{}", String::from_utf8_lossy(&schema.stderr));
    }
    let mut pods = Vec::new();
    for _ in 0..PODS {
        pods.push(setup.start().await);
    }
    let (mut organization, people) = Organization::of_three(&pods[0].http).await;
    let bob = people[1].user;
    let senders = Senders::start(&organization, &people, addresses(&pods));
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;

    // A node is stopped in order, and comes back.
    at(&cluster, |cluster| cluster.stop_node(2)).await;
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;
    at(&cluster, |cluster| cluster.start_node(2)).await;
    senders.send_more(100).await;

    // A node hangs.
    at(&cluster, |cluster| cluster.signal(3, "STOP")).await;
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;
    at(&cluster, |cluster| cluster.signal(3, "CONT")).await;
    senders.send_more(100).await;

    // A node is killed, and comes back.
    at(&cluster, |cluster| cluster.signal(1, "KILL")).await;
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;
    at(&cluster, |cluster| cluster.start_node(1)).await;
    senders.send_more(100).await;

    // A pod is killed; another takes its place.
    pods.remove(1).process.kill().await;
    senders.move_to(addresses(&pods));
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;
    pods.push(setup.start().await);
    senders.move_to(addresses(&pods));
    senders.send_more(100).await;
    one_wins(&mut organization, &pods, bob).await;

    let sent = senders.nothing_is_lost(&pods[2].http, &organization, &people).await;
    assert!(sent > 900);
    for pod in pods {
        assert!(pod.process.terminate().await.success());
    }
}
