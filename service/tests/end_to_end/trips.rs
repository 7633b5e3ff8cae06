//! How many trips each operation makes to the store and to Valkey: exactly as `docs/architecture.md` says.

use std::collections::BTreeMap;

use countersign_protocol::id::ClientId;
use countersign_protocol::problem::ProblemType;
use http::Method;

use crate::support::client::Client;
use crate::support::cql::CqlServer;
#[cfg(feature = "store-dynamodb")]
use crate::support::dynamodb::DynamodbServer;
use crate::support::mariadb::MariadbServer;
use crate::support::process::Setup;
use crate::support::time::{eventually, random};
use crate::support::valkey::{Mode, PERSISTING, Valkey};
use crate::support::world::World;

/// What was counted since the last look.
struct Trips<'a> {
    world: &'a World,
    valkey: &'a Valkey,
    before: BTreeMap<String, u64>,
}

impl Trips<'_> {
    async fn count(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (name, command) in [("step", "fcall"), ("session", "hget")] {
            counts.insert(name.to_owned(), self.valkey.count(command));
        }
        for line in self.world.service.metrics().await.lines() {
            if let Some(rest) = line.strip_prefix("countersign_store_call_duration_seconds_count{call=\"")
                && let Some((call, rest)) = rest.split_once('"')
                && let Some(count) = rest.rsplit(' ').next()
            {
                *counts.entry(call.to_owned()).or_default() += count.parse::<u64>().unwrap();
            }
        }
        counts
    }

    /// Waits until so many trips to Valkey were made.
    async fn steps(&self, number: u64) {
        eventually("trips to Valkey are made", async || {
            let now = self.count().await;
            (now.get("step").unwrap_or(&0) - self.before.get("step").unwrap_or(&0) >= number).then_some(())
        })
        .await;
    }

    /// Waits until as much was done as expected, since some of it is done after the answer; and not more.
    async fn are(&mut self, what: &str, expected: &[(&str, u64)]) {
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let since = async || {
            let now = self.count().await;
            let counted: BTreeMap<String, u64> = now
                .iter()
                .map(|(name, count)| (name.clone(), count - self.before.get(name).unwrap_or(&0)))
                .filter(|(_, count)| *count > 0)
                .collect();
            (now, counted)
        };
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let (now, counted) = eventually(what, async || {
            let (now, counted) = since().await;
            (total(&counted) >= total(&expected)).then_some((now, counted))
        })
        .await;
        assert_eq!(counted, expected, "{what}");
        self.before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_makes_as_many_trips_as_the_design_says() {
    let valkey = Valkey::start(Mode::Single, &[]);
    each_operation_makes_its_trips(Setup::new().await.set("STORE", "memory:"), &valkey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_cql_and_a_valkey_cluster_the_trips_are_the_same() {
    let server = tokio::task::spawn_blocking(CqlServer::shared).await.unwrap();
    let keyspace = format!("trips_{}", random::<ClientId>().to_string().replace('-', ""));
    let setup = Setup::new().await.with_cql(server, &keyspace).set("SCHEMA", "create");
    let valkey = Valkey::start(Mode::Cluster, &[]);
    each_operation_makes_its_trips(setup.clone(), &valkey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_mariadb_the_trips_are_the_same() {
    let server = tokio::task::spawn_blocking(MariadbServer::shared).await.unwrap();
    let database = format!("test_trips_{}", random::<ClientId>().to_string().replace('-', ""));
    let valkey = Valkey::start(Mode::Single, &[]);
    let setup = Setup::new().await.with_mariadb(server, &database).set("SCHEMA", "create");
    each_operation_makes_its_trips(setup, &valkey).await;
}

/// Trips of the service; how many requests DynamoDB gets for each is in the store's own tests.
#[cfg(feature = "store-dynamodb")]
#[tokio::test(flavor = "multi_thread")]
async fn over_dynamodb_the_trips_are_the_same() {
    let server = tokio::task::spawn_blocking(DynamodbServer::shared).await.unwrap();
    let prefix = format!("trips-{}", random::<ClientId>());
    let valkey = Valkey::start(Mode::Single, &[]);
    let setup = Setup::new().await.with_dynamodb(&server.address(), &prefix).set("SCHEMA", "create");
    each_operation_makes_its_trips(setup, &valkey).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn over_a_store_in_valkey_the_trips_are_the_same() {
    let store = Valkey::start(Mode::Cluster, &[PERSISTING]);
    let valkey = Valkey::start(Mode::Cluster, &[]);
    each_operation_makes_its_trips(Setup::new().await.with_valkey(&store), &valkey).await;
}

/// What each call of a store in Valkey is to its servers: one command for each key, and a question for the disks after those
/// that write.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn each_call_of_a_store_in_valkey_is_as_many_commands_as_the_design_says() {
    const COUNTED: [&str; 8] = ["set", "get", "fcall", "fcall_ro", "zrange", "zmscore", "hgetall", "hexists"];
    let store = Valkey::start(Mode::Single, &[PERSISTING]);
    let valkey = Valkey::start(Mode::Single, &[]);
    let setup = Setup::new().await.with_valkey(&store).set("VALKEY_STORE_DURABILITY", "local");
    let world = World::of(undisturbed(setup, &valkey)).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    bob.list().await;
    let count = || COUNTED.map(|command| store.count(command));
    let since = |before: [u64; 8]| -> Vec<(&str, u64)> {
        let counted = COUNTED.into_iter().zip(count()).zip(before);
        counted.map(|((name, now), before)| (name, now - before)).filter(|(_, number)| *number > 0).collect()
    };
    let settled = async || {
        // Marks and hints are written after the answer.
        let mut last = count();
        eventually("nothing is written any more", async || {
            let now = count();
            std::mem::replace(&mut last, now).eq(&now).then_some(())
        })
        .await;
        last
    };

    let before = settled().await;
    let asked = store.count("waitaof");
    let id = alice.send(&[world.bob], b"hello").await;
    assert_eq!(since(before), [("set", 1), ("fcall", 1)], "sending: content, then a row");
    assert!(store.count("waitaof") >= asked + 2, "both are on a disk before the answer");
    let before = settled().await;
    bob.read(&id).await;
    assert_eq!(since(before), [("get", 1)], "reading content");
    let before = settled().await;
    bob.confirm(&[id]).await;
    assert_eq!(since(before), [("fcall", 1)], "confirming");
    let before = settled().await;
    bob.list().await;
    assert_eq!(since(before), [("zmscore", 1)], "the check after that");
    let before = settled().await;
    bob.list().await;
    assert_eq!(since(before), [], "a check with nothing new");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_of_a_client_at_another_pod_looks_for_its_session_once() {
    let server = tokio::task::spawn_blocking(CqlServer::shared).await.unwrap();
    let keyspace = format!("trips_{}", random::<ClientId>().to_string().replace('-', ""));
    let valkey = Valkey::start(Mode::Cluster, &[]);
    let setup = undisturbed(Setup::new().await.with_cql(server, &keyspace).set("SCHEMA", "create"), &valkey);
    let mut world = World::of(setup.clone()).await;
    let [alice, bob] = [world.alice().await, world.bob().await];
    alice.list().await;
    bob.list().await;
    // From here on the other pod is looked at.
    world.service = setup.start().await;
    let [alice, bob] = [alice, bob].map(|client| client.at(&world.service.http));
    let mut trips = Trips { world: &world, valkey: &valkey, before: BTreeMap::new() };
    trips.before = trips.count().await;

    alice.list().await;
    trips
        .are(
            "the first request of an organization: its session, its users and its log are read, then one trip as ever",
            &[("session", 1), ("log", 2), ("users", 1), ("step", 1)],
        )
        .await;
    bob.list().await;
    trips
        .are("the first request of another client: its session, then one trip", &[("session", 1), ("step", 1)])
        .await;
    bob.list().await;
    trips.are("the second request: one trip", &[("step", 1)]).await;
}

/// Settings under which nothing is done but by requests: organizations are read on by whole pods now and then, which is of
/// no operation; and merges are when a test says.
fn undisturbed(setup: Setup, valkey: &Valkey) -> Setup {
    let setup = setup.set("EPHEMERAL", valkey.url());
    setup.set("FRESHNESS", "1h").set("MERGE_INTERVAL", "1h").set("POLL_INTERVAL", "1h").set("VALKEY_TIMEOUT", "10s")
}

async fn each_operation_makes_its_trips(setup: Setup, valkey: &Valkey) {
    let world = World::of(undisturbed(setup, valkey)).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let mut trips = Trips { world: &world, valkey, before: BTreeMap::new() };
    trips.before = trips.count().await;

    bob.list().await;
    trips
        .are(
            "a new client's first listing: one trip, then two parallel reads of ranges, beside them two of points and one of \
             its place; a hint and a mark after the answer",
            &[("step", 2), ("items", 1), ("fetched", 1), ("fetched_among", 2), ("clients", 1), ("add_fetched", 1)],
        )
        .await;
    bob.list().await;
    trips.are("a check with nothing new: one trip", &[("step", 1)]).await;
    let id = alice.send(&[world.bob], b"hello").await;
    trips.are("sending: one trip, then the store; the arrival after the answer", &[("step", 2), ("put", 1)]).await;
    let listed = bob.list().await;
    assert_eq!(listed.messages.len(), 1);
    trips.are("a listing with news: one trip, then one read", &[("step", 1), ("fetched_among", 1)]).await;
    bob.read(&id).await;
    trips.are("reading content: one trip, then one read", &[("step", 1), ("message", 1)]).await;
    let others: Vec<_> =
        (0..500_u32).map(|number| bob.message_id(id.time(), &[world.bob], &number.to_be_bytes())).collect();
    bob.confirm(&[&others[..], &[id]].concat()).await;
    trips.are("confirming any number: one trip, then one write", &[("step", 1), ("add_fetched", 1)]).await;
    bob.list().await;
    trips
        .are("the first check after that moves the mark, after the answer", &[("step", 2), ("fetched_among", 1)])
        .await;
    bob.list().await;
    trips.are("a check with nothing new", &[("step", 1)]).await;
    bob.wait(1).await.expect(200);
    trips.are("waiting in vain: one trip, then one more after it has subscribed", &[("step", 2)]).await;
    let (waited, id) = tokio::join!(bob.wait(30), async {
        trips.steps(2).await;
        alice.send(&[world.bob], b"awaited").await
    });
    waited.expect(200);
    trips
        .are(
            "waiting until something comes: two trips, one for the wake-up, and a look; sending as ever",
            &[("step", 5), ("put", 1), ("fetched_among", 1)],
        )
        .await;
    bob.confirm(&[id]).await;
    bob.list().await;
    trips
        .are("confirming it, and the check after that", &[("step", 3), ("add_fetched", 1), ("fetched_among", 1)])
        .await;
    alice.get(alice.path()).await.expect(200);
    trips.are("reading one's own record", &[("step", 1), ("user", 1)]).await;
    let forged = Client::with_key(&world.service.http, bob.address, &bob.openpgp, alice.key.clone());
    forged.call(Method::GET, format!("{}/message", bob.path())).send().await.expect(401);
    trips.are("a bad signature costs a look for a newer key, and moves nothing", &[("session", 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_valkey_is_flushed_clients_sign_in_again_and_nothing_is_lost() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let setup = Setup::new().await.set("EPHEMERAL", valkey.url()).set("VALKEY_TIMEOUT", "10s");
    let world = World::of(setup).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    bob.list().await;
    let mut sent = vec![alice.send(&[world.bob], b"before").await];
    assert_eq!(bob.list().await.messages.len(), 1);

    valkey.command_all(&["FLUSHALL"]);

    let refused = bob.get(format!("{}/message", bob.path())).await;
    refused.expect(401).problem(ProblemType::SessionUnknown);
    let [alice, bob] = [
        Client::begin(&world.service.http, alice.address, &alice.openpgp).await,
        Client::begin(&world.service.http, bob.address, &bob.openpgp).await,
    ];
    sent.push(alice.send(&[world.bob], b"after").await);
    let listed: Vec<_> = bob.list().await.messages.iter().map(|item| item.id).collect();
    assert_eq!(listed, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_valkey_hangs_requests_are_answered_503_in_time_and_then_go_on() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let setup = Setup::new().await.set("EPHEMERAL", valkey.url()).set("VALKEY_TIMEOUT", "1s");
    let world = World::of(setup).await;
    let bob = world.bob().await;
    bob.list().await;
    let port = valkey.ports()[0];

    valkey.signal(port, rustix::process::Signal::STOP);
    let answer = bob.get(format!("{}/message", bob.path())).await.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
    valkey.signal(port, rustix::process::Signal::CONT);

    eventually("requests go on", async || {
        let answer = bob.get(format!("{}/message", bob.path())).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_in_words_what_is_wrong_and_tells_it_by_its_exit_code() {
    let setup = Setup::new().await.embedded().set("EPHEMERAL", "local");
    let healthy = setup.run(&["doctor"]).await;
    let running = setup.start().await;
    let beside = setup.run(&["doctor"]).await;
    let evicting = Valkey::start(Mode::Single, &["--maxmemory-policy", "allkeys-lru"]);
    let ill = setup.clone().set("EPHEMERAL", evicting.url()).run(&["doctor"]).await;
    let alone = setup.clone().set("EPHEMERAL", "valkey://127.0.0.1:1").run(&["doctor"]).await;
    let text = |output: &std::process::Output| String::from_utf8(output.stdout.clone()).unwrap();

    assert_eq!((healthy.status.code(), text(&healthy).contains("FAILED")), (Some(0), false), "{}", text(&healthy));
    assert_eq!(beside.status.code(), Some(0), "{}", text(&beside));
    assert!(text(&beside).contains("in use by a running service"));
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill).contains("FAILED the eviction policy of Valkey is allkeys-lru"), "{}", text(&ill));
    assert_eq!(alone.status.code(), Some(1));
    assert!(text(&alone).contains("FAILED Valkey at valkey://127.0.0.1:1 cannot be used"), "{}", text(&alone));
    assert!(running.process.terminate().await.success());
}
