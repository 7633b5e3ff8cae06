//! A store in Valkey that is not ready, that is full, that hangs and whose primaries are killed; and what `schema` and `doctor`
//! say of it.

use std::process::Output;
use std::sync::Arc;

use countersign_protocol::problem::ProblemType as Type;
use http::Method;
use rustix::process::Signal;

use crate::support::client::request_password;
use crate::support::gnupg::keys;
use crate::support::ledger::Senders;
use crate::support::organization::Organization;
use crate::support::process::Setup;
use crate::support::time::{eventually, now_millis, random};
use crate::support::valkey::{Mode, PERSISTING, Valkey};
use crate::support::world::World;

/// Runs what blocks: starting and stopping servers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn start(mode: Mode, options: &'static [&'static str]) -> Arc<Valkey> {
    Arc::new(blocking(move || Valkey::start(mode, options)).await)
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn a_service_is_ready_when_its_schema_is_there_and_says_what_it_waits_for() {
    let valkey = start(Mode::Cluster, &[PERSISTING]).await;
    let setup = Setup::new().await.with_valkey(&valkey).set("SCHEMA", "check");
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

    assert!(waits.starts_with("starting: there is no schema in the store"), "{waits}");
    assert!(created.ends_with("in 3 primaries\nversion 1: the layout of all keys\n"), "{created}");
    assert!(again.ends_with("nothing to do\n"), "{again}");
    eventually("it is ready", async || (service.admin.get("/readyz").await.status == 200).then_some(())).await;
    let (organization, alice) = Organization::create(&service.http, &keys().await.alice).await;
    let client = organization.client(&service.http, alice, &keys().await.alice).await;
    let id = client.send(&[alice], b"to myself").await;
    assert_eq!(client.list().await.messages[0].id, id);
    assert!(service.process.terminate().await.success());
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn the_schema_can_be_looked_at_without_a_server() {
    let setup = Setup::new().await.set("STORE", "valkey://nowhere.invalid:6379");
    let printed = text(setup.run(&["schema", "--dry-run"]).await);
    assert!(printed.starts_with("FUNCTION LOAD \"#!lua name=countersign_store_"), "{printed}");
    assert!(printed.ends_with("\nSET cs1:schema 1\n"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn the_doctor_looks_at_servers_and_schema() {
    let valkey = start(Mode::Cluster, &[PERSISTING, "--maxmemory", "200mb"]).await;
    let setup = Setup::new().await.with_valkey(&valkey).set("EPHEMERAL", "local");
    let doctor = async |setup: &Setup| {
        let output = setup.run(&["doctor"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (without_schema, said) = doctor(&setup).await;
    assert_eq!(without_schema, Some(1), "{said}");
    assert!(said.contains("FAILED there is no schema in the store: run countersignd schema"), "{said}");
    text(setup.run(&["schema"]).await);
    let (well, said) = doctor(&setup).await;
    assert_eq!(well, Some(0), "{said}");
    for part in
        ["a cluster that serves all slots", "the one that this program needs", "keeps what it confirms: replicated"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    valkey.command_all(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    let (evicting, said) = doctor(&setup).await;
    assert_eq!(evicting, Some(1), "{said}");
    assert!(said.contains("is volatile-ttl, which deletes messages when memory is short"), "{said}");
    let lone = start(Mode::Single, &[PERSISTING, "--maxmemory", "200mb"]).await;
    let alone = setup.with_valkey(&lone);
    let (refused, said) = doctor(&alone).await;
    assert_eq!(refused, Some(1), "{said}");
    assert!(said.contains("set valkey_store_durability to local"), "{said}");
    blocking(move || drop((valkey, lone))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn a_full_store_is_a_problem_of_its_own_and_the_same_request_is_good_later() {
    let valkey = start(Mode::Single, &[PERSISTING, "--maxmemory", "16mb"]).await;
    let setup = Setup::new().await.with_valkey(&valkey).set("VALKEY_STORE_DURABILITY", "local");
    let world = World::of(setup).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let mut sent = Vec::new();
    let refused = loop {
        let content = vec![u8::try_from(sent.len()).unwrap(); 300_000];
        let id = alice.message_id(now_millis(), &[world.bob], &content);
        let target = alice.send_target(&id, &[world.bob]);
        let answer = alice.call(Method::POST, &target).body(&content).send().await;
        if answer.status == 201 {
            sent.push(id);
        } else {
            assert!(answer.headers.contains_key("retry-after"));
            answer.problem(Type::StorageFull);
            break (id, target, content);
        }
    };

    let listed = async || bob.list().await.messages.iter().map(|item| item.id).collect::<Vec<_>>();
    assert_eq!(listed().await.len(), sent.len(), "nothing that was refused is there");
    assert_eq!(valkey.command(valkey.ports()[0], &["CONFIG", "SET", "maxmemory", "200mb"]), "OK");
    alice.call(Method::POST, &refused.1).body(&refused.2).send().await.expect(201);
    assert!(listed().await.contains(&refused.0));
    assert!(world.service.process.terminate().await.success());
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "store-valkey"), ignore = "needs the feature store-valkey")]
async fn what_was_answered_201_outlives_primaries_that_hang_and_that_are_killed() {
    let valkey = start(Mode::Cluster, &[PERSISTING]).await;
    let setup = Setup::new()
        .await
        .with_valkey(&valkey)
        .set("RATE_PER_CLIENT", 0)
        .set("VALKEY_STORE_TIMEOUT", "3s")
        .set("REQUEST_TIMEOUT", "5s");
    let service = setup.start().await;
    let (organization, people) = Organization::of_three(&service.http).await;
    let senders = Senders::start(&organization, &people, vec![service.http.clone()]);
    let role = |port: u16| valkey.command(port, &["ROLE"]);
    let primaries =
        || valkey.ports().into_iter().filter(|port| role(*port).starts_with("master")).collect::<Vec<_>>();

    senders.send_more(50).await;
    for (round, signal) in [Signal::STOP, Signal::KILL, Signal::KILL].into_iter().enumerate() {
        let before = primaries();
        let port = before[round % before.len()];
        valkey.signal(port, signal);
        if signal == Signal::STOP {
            // Its replica takes over meanwhile, or not: it hangs, and nobody is dead.
            senders.notice_trouble().await;
            valkey.signal(port, Signal::CONT);
        } else {
            eventually("its replica takes over", async || {
                let others = valkey.ports().into_iter().filter(|other| *other != port);
                (others.filter(|port| role(*port).starts_with("master")).count() == 3).then_some(())
            })
            .await;
            let again = Arc::clone(&valkey);
            blocking(move || again.start_again(port)).await;
        }
        eventually("each primary has a replica", async || {
            let up = |port: u16| valkey.command(port, &["INFO", "replication"]).contains("master_link_status:up");
            (valkey.ports().into_iter().filter(|port| up(*port)).count() == 3).then_some(())
        })
        .await;
        senders.send_more(50).await;
    }

    let sent = senders.nothing_is_lost(&service.http, &organization, &people).await;
    assert!(sent > 200);
    assert!(service.process.terminate().await.success());
    blocking(move || drop(valkey)).await;
}
