//! Answers that are lost, primaries that hang and are killed, replicas that are gone: what was answered is there, and what
//! cannot be promised is not answered.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use rustix::process::Signal;

use super::*;
use crate::clock::Stopwatch;
use crate::store::lossy_proxy::LossyProxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_was_lost_is_told_as_done() {
    let server = shared_single().await.ports()[0];
    let proxy = LossyProxy::start(format!("127.0.0.1:{server}")).await;
    let mut settings = settings_at(&format!("valkey://127.0.0.1:{}", proxy.port()), Durability::Local);
    settings.connections = NonZeroUsize::MIN;
    let (store, _guard) = opened(settings).await;
    let (registry, mailbox) = (&store.registry, &store.mailbox);
    let [client, warm] = [client(), client()];
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: vec!["t".to_owned()] };
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    // So that every connection stands, and its next answer is that to a command.
    let prepare = async || {
        registry.claim_place(&warm, 5, UnixMicros(1)).await.unwrap();
        join_all((0..8).map(|_| registry.clients(warm.organization, warm.user))).await;
    };

    prepare().await;
    proxy.lose_an_answer_after(0);
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
    assert!(proxy.has_lost());
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Taken);

    prepare().await;
    // It is done, and how far the disk is is not told.
    proxy.lose_an_answer_after(1);
    assert_eq!(registry.append(client.organization, 1, &entry).await.unwrap(), Append::Appended);
    assert!(proxy.has_lost());

    prepare().await;
    proxy.lose_an_answer_after(0);
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert!(proxy.has_lost());
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Held);
    assert_eq!(registry.clients(client.organization, client.user).await.unwrap().len(), 1);

    prepare().await;
    // The look at the places is answered, the deletion is not.
    proxy.lose_an_answer_after(1);
    assert!(registry.free_place(&client).await.unwrap());
    assert!(proxy.has_lost());
    prepare().await;
    proxy.lose_an_answer_after(1);
    assert!(!registry.free_place(&client).await.unwrap(), "there was none");
    assert!(proxy.has_lost());

    prepare().await;
    proxy.lose_an_answer_after(0);
    mailbox.put(&sent).await.unwrap();
    assert!(proxy.has_lost());
    let items = mailbox.items(client.organization, client.user, everything(), 10).await.unwrap();
    assert_eq!(items, [sent.item()]);
}

/// Returns the port of the primary that has a key, and that of its replica.
fn servers_of(valkey: &Valkey, key: &Key) -> Option<(u16, u16)> {
    let asked = valkey.ports().into_iter().find(|port| valkey.command(*port, &["PING"]) == "PONG")?;
    let slot: i64 = valkey.command(asked, &["CLUSTER", "KEYSLOT", &key.name()]).parse().ok()?;
    let nodes = valkey.command(asked, &["CLUSTER", "NODES"]);
    let of =
        |line: &str| -> Option<u16> { line.split(' ').nth(1)?.split('@').next()?.rsplit(':').next()?.parse().ok() };
    let has = |line: &&str| {
        !line.contains("fail")
            && line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse::<i64>(), last.parse::<i64>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
    };
    let primary = nodes.lines().find(has)?;
    let id = primary.split(' ').next()?;
    let replica = nodes.lines().find(|line| {
        line.contains("slave") && !line.contains("fail") && line.contains(id) && !line.starts_with(id)
    })?;
    Some((of(primary)?, of(replica)?))
}

/// A client whose mailbox is at that primary, or at another one.
fn client_at(valkey: &Valkey, primary: u16, at_it: bool) -> ClientAddress {
    let day = Day::of(SystemClock.now_millis());
    let mut clients = std::iter::repeat_with(client);
    let at = |client: &ClientAddress| {
        let mailbox = Key::Mailbox(client.organization, client.user, day);
        servers_of(valkey, &mailbox).is_some_and(|(port, _)| port == primary)
    };
    clients.find(|client| at(client) == at_it).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_holds_up_nobody_else_and_its_users_read_at_its_replica_and_write_when_that_has_one() {
    let valkey = blocking(|| Valkey::start(Mode::Cluster, &[PERSISTING])).await;
    let timeout = Duration::from_secs(6);
    let (store, _guard) = opened(ValkeyStoreSettings { timeout, ..settings(&valkey, Durability::Replicated) }).await;
    let (hanging, _) = servers_of(&valkey, &Key::Schema).unwrap();
    let (its, others) = (client_at(&valkey, hanging, true), client_at(&valkey, hanging, false));
    let claim = async |client: ClientAddress| store.registry.claim_place(&client, 5, UnixMicros(1)).await;
    claim(its).await.unwrap();
    claim(others).await.unwrap();

    valkey.signal(hanging, Signal::STOP);
    let of_its = tokio::spawn({
        let registry = store.registry.clone();
        let watch = Stopwatch::start();
        async move {
            let outcome = registry.claim_place(&its, 5, UnixMicros(1)).await;
            (outcome, watch.elapsed())
        }
    });
    for _ in 0..20 {
        assert_eq!(claim(others).await.unwrap(), Claim::Held);
    }
    let (outcome, took) = of_its.await.unwrap();
    assert!(took < timeout + Duration::from_secs(5), "{took:?}");
    assert!(
        matches!(outcome, Ok(Claim::Held) | Err(StoreError::Unavailable(_) | StoreError::Timeout)),
        "{outcome:?}"
    );
    let held =
        eventually("its replica serves", async || store.registry.clients(its.organization, its.user).await.ok())
            .await;
    assert_eq!(held.len(), 1);
    // Its heir has no replica itself, so nobody can promise a write.
    valkey.signal(hanging, Signal::CONT);
    let again = eventually("it is a replica now", async || claim(its).await.ok()).await;
    assert_eq!(again, Claim::Held);
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_replica_has_is_not_answered_and_a_repeat_is_when_one_has_it() {
    let valkey = blocking(|| Valkey::start(Mode::Cluster, &[PERSISTING])).await;
    let timeout = Duration::from_secs(2);
    let (store, _guard) = opened(ValkeyStoreSettings { timeout, ..settings(&valkey, Durability::Replicated) }).await;
    let client = client();
    let (_, replica) = servers_of(&valkey, &Key::Places(client.organization, client.user)).unwrap();

    valkey.signal(replica, Signal::STOP);
    let unconfirmed = store.registry.claim_place(&client, 5, UnixMicros(1)).await;
    // It is in the memory of the primary, and stays unpromised when it is asked for once more.
    let held = store.registry.clients(client.organization, client.user).await.unwrap().len();
    let again = store.registry.claim_place(&client, 5, UnixMicros(1)).await;
    valkey.signal(replica, Signal::CONT);

    for outcome in [unconfirmed, again] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Timeout)), "{outcome:?}");
    }
    assert_eq!(held, 1);
    let claimed =
        eventually("the replica has it", async || store.registry.claim_place(&client, 5, UnixMicros(1)).await.ok());
    assert_eq!(claimed.await, Claim::Held);
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_primaries_that_are_killed() {
    let valkey = Arc::new(blocking(|| Valkey::start(Mode::Cluster, &[PERSISTING])).await);
    let (store, _guard) = opened(settings(&valkey, Durability::Replicated)).await;
    let client = client();
    let mailbox = Key::Mailbox(client.organization, client.user, Day::of(SystemClock.now_millis()));
    let stop = CancellationToken::new();
    let answers = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, stop, answers) = (store.clone(), stop.clone(), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while !stop.is_cancelled() {
                    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
                    if store.mailbox.put(&sent).await.is_ok() {
                        answered.push(sent.id);
                        answers.fetch_add(1, Ordering::SeqCst);
                    }
                }
                answered
            })
        })
        .collect();
    let at = |work: fn(&Valkey, u16), port| {
        let valkey = Arc::clone(&valkey);
        blocking(move || work(&valkey, port))
    };

    for round in 1..=2 {
        eventually("messages are answered", async || (answers.load(Ordering::SeqCst) > 50 * round).then_some(()))
            .await;
        let (killed, heir) = eventually("it has a replica", async || servers_of(&valkey, &mailbox)).await;
        at(|valkey, port| valkey.signal(port, Signal::KILL), killed).await;
        eventually("the replica takes over", async || {
            valkey.command(heir, &["ROLE"]).starts_with("master").then_some(())
        })
        .await;
        at(Valkey::start_again, killed).await;
        eventually("who was killed is a replica", async || {
            valkey.command(killed, &["INFO", "replication"]).contains("master_link_status:up").then_some(())
        })
        .await;
    }
    stop.cancel();
    let answered: Vec<MessageId> = join_all(writers).await.into_iter().flat_map(|ids| ids.unwrap()).collect();

    let items = store.mailbox.items(client.organization, client.user, everything(), usize::MAX >> 16).await.unwrap();
    let listed: std::collections::BTreeSet<MessageId> = items.into_iter().map(|item| item.id).collect();
    let lost = answered.iter().filter(|id| !listed.contains(id)).count();
    assert_eq!(lost, 0, "of {}", answered.len());
    assert!(answered.len() > 100, "{}", answered.len());
    for id in answered.iter().step_by(10) {
        assert!(store.mailbox.message(client.organization, *id).await.unwrap().is_some());
    }
    blocking(move || drop(valkey)).await;
}
