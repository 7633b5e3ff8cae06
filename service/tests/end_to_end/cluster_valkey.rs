//! Three pods over CQL and a cluster of six Valkey servers: what happens to Valkey loses no message, lets no request in
//! twice and keeps no revoked client in. `make test-cluster` runs it.

use std::time::Duration;

use countersign_protocol::body::Listing;
use countersign_protocol::id::ClientId;
use countersign_protocol::nonce::Nonce;
use futures_util::future::join_all;
use http::Method;
use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::cql::CqlServer;
use crate::support::ledger::{Person, Senders};
use crate::support::organization::{Organization, activity, client_limit, submit};
use crate::support::process::{Service, Setup};
use crate::support::time::{eventually, monotonic, now, random, soon};
use crate::support::valkey::{Mode, Valkey};

const PODS: usize = 3;
/// Clients that are active when everything in Valkey is flushed. GnuPG signs and decrypts for each of them, twice.
const CLIENTS: usize = 200;
/// How long all of them together may take for one thing, on a machine where everything runs beside them.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long a pod may go on to serve who was revoked, whatever happens to Valkey.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// Begins a session, repeating what is answered 503.
async fn begin(organization: &Organization, person: &Person, client: ClientId, pod: &Service) -> Client {
    let address = organization.address(person.user, client);
    loop {
        if let Some(client) = Client::try_begin(&pod.http, address, &person.key).await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Lists what is new, repeating what is answered 503.
async fn list(client: &Client) -> Listing {
    loop {
        let answer = client.get(format!("{}/message?limit=10000", client.path())).await;
        if answer.status != 503 {
            return answer.json(200);
        }
        let after = answer.header("retry-after").expect("a 503 says when to come back").parse().unwrap();
        tokio::time::sleep(Duration::from_secs(after)).await;
    }
}

/// Asserts that each accepted request is refused when it is repeated, on whichever pod.
async fn nothing_is_admitted_twice(client: &Client, pods: &[Service]) {
    for accepting in pods {
        let (nonce, created) = (Nonce::at(now()), now().to_seconds());
        let at = async |pod: &Service| {
            let client = client.at(&pod.http);
            client.call(Method::GET, client.path()).nonce(nonce).created(created).send().await.status.as_u16()
        };
        assert_eq!(at(accepting).await, 200);
        for pod in pods {
            assert_eq!(at(pod).await, 401, "a repeated request");
        }
    }
}

fn primaries(valkey: &Valkey, without: Option<u16>) -> Vec<u16> {
    let of_role = |port: &u16| valkey.command(*port, &["ROLE"]).starts_with("master");
    valkey.ports().into_iter().filter(|port| Some(*port) != without).filter(of_role).collect()
}

/// Kills the primary with the most keys, and waits until its replica has taken its place.
async fn kill_a_primary(valkey: &Valkey) {
    let before = primaries(valkey, None);
    let keys = |port: &u16| valkey.command(*port, &["DBSIZE"]).parse::<u64>().unwrap();
    let killed = before.iter().copied().max_by_key(keys).unwrap();
    valkey.signal(killed, Signal::KILL);
    eventually("a replica takes over", async || {
        let now = primaries(valkey, Some(killed));
        (now.len() == before.len()).then_some(())
    })
    .await;
}

/// Waits for what all clients do.
async fn all<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Flushes all of Valkey under many clients: each comes back, and is listed what it was listed before.
async fn many_come_back_after_a_flush(
    valkey: &Valkey,
    organization: &Organization,
    person: &Person,
    pods: &[Service],
    flush: impl AsyncFn(&Valkey),
) {
    let at_pods = || pods.iter().cycle().take(CLIENTS);
    let ids: Vec<ClientId> = (0..CLIENTS).map(|_| random()).collect();
    let begin_all = || join_all(ids.iter().zip(at_pods()).map(|(id, pod)| begin(organization, person, *id, pod)));
    let clients = all("all have a session", begin_all()).await;
    let before = join_all(clients.iter().map(list)).await;

    flush(valkey).await;

    let refused = join_all(clients.iter().map(|client| client.get(client.path()))).await;
    assert!(refused.iter().all(|answer| answer.status == 401), "a session outlived the flush");
    let clients = all("all have a session again", begin_all()).await;
    let after = all("all are listed what is new", join_all(clients.iter().map(list))).await;
    for (before, after) in before.iter().zip(&after) {
        let listed: std::collections::BTreeSet<_> = after.messages.iter().map(|item| item.id).collect();
        assert!(before.messages.iter().all(|item| listed.contains(&item.id)), "a message is missing after the flush");
    }
}

/// Deactivates a user while no Valkey server answers, and asserts that no request that begins later than
/// [`REVOKED_WITHIN`] is served, on any pod.
async fn revocation_needs_no_valkey(
    valkey: &Valkey,
    organization: &mut Organization,
    person: &Person,
    pods: &[Service],
) {
    let client = begin(organization, person, random(), &pods[0]).await;
    for pod in pods {
        client.at(&pod.http).get(client.path()).await.expect(200);
    }
    let running = valkey.ports().into_iter().filter(|port| valkey.command(*port, &["PING"]) == "PONG");
    let running: Vec<u16> = running.collect();
    let entry = organization.entry(activity(person.user, false)).await;
    for port in &running {
        valkey.signal(*port, Signal::STOP);
    }
    let answer = soon("the statement is answered", submit(&pods[0].http, &entry)).await;
    let revoked = monotonic();
    for port in &running {
        valkey.signal(*port, Signal::CONT);
    }
    answer.expect(200);
    for pod in pods {
        let client = client.at(&pod.http);
        eventually("the revoked client is refused", async || {
            let begun = monotonic();
            let status = client.get(client.path()).await.status.as_u16();
            assert!(status != 200 || begun.duration_since(revoked) <= REVOKED_WITHIN, "served after its revocation");
            [401, 403].contains(&status).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "six Valkey servers and three pods: make test-cluster"]
async fn three_pods_lose_nothing_whatever_happens_to_valkey() {
    let valkey = Valkey::start(Mode::Cluster, &[]);
    let server = tokio::task::spawn_blocking(CqlServer::shared).await.unwrap();
    let keyspace = format!("valkey_{}", random::<ClientId>().to_string().replace('-', ""));
    let setup = Setup::new().await.with_cql(server, &keyspace).set("EPHEMERAL", valkey.url());
    let setup = setup.set("VALKEY_TIMEOUT", "2s").set("RATE_PER_CLIENT", 0).set("RATE_PER_ADDRESS", 0);
    assert!(setup.run(&["schema"]).await.status.success());
    let mut pods = Vec::new();
    for _ in 0..PODS {
        pods.push(setup.start().await);
    }
    let (mut organization, people) = Organization::of_three(&pods[0].http).await;
    organization.change(&pods[0].http, client_limit(people[1].user, 1_000)).await;
    let replayed = begin(&organization, &people[2], random(), &pods[0]).await;
    nothing_is_admitted_twice(&replayed, &pods).await;
    let senders = Senders::start(&organization, &people, pods.iter().map(|pod| pod.http.clone()).collect());
    senders.send_more(100).await;

    many_come_back_after_a_flush(&valkey, &organization, &people[1], &pods, async |valkey| {
        for port in primaries(valkey, None) {
            assert_eq!(valkey.command(port, &["FLUSHALL"]), "OK");
        }
    })
    .await;
    senders.send_more(100).await;

    kill_a_primary(&valkey).await;
    senders.send_more(100).await;

    let sent = senders.nothing_is_lost(&pods[2].http, &organization, &people).await;
    assert!(sent > 300);
    revocation_needs_no_valkey(&valkey, &mut organization, &people[1], &pods).await;
    for pod in pods {
        assert!(pod.process.terminate().await.success());
    }
}
