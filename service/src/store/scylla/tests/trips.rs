//! How many statements an operation costs: a count, not a timing. `docs/architecture.md` has the numbers, under
//! "Numbers that the design is for".

use countersign_protocol::limits::Limits;
use countersign_protocol::time::UnixMicros;

use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::ManualClock;
use crate::delivery::listing::{ListingTimes, list_new};
use crate::delivery::{Delivery, DeliveryObserver, DeliverySettings, Outgoing};
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::{ListingHints, Memory};

struct Nobody;

impl DeliveryObserver for Nobody {}

/// Noon of today: a listing that reads the last minutes stays within one day.
fn noon() -> UnixMicros {
    let now = SystemClock.now().0;
    let day = 86_400 * 1_000_000;
    UnixMicros(now - now % day + day / 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_costs_the_statements_that_the_design_says() {
    let clock = Arc::new(ManualClock::at(noon()));
    let (store, mut guard) = begin(settings(shared_keyspace().await), Arc::clone(&clock) as _);
    guard.opened().await;
    let counted = Arc::clone(&guard.counted);
    let limits = Limits::default();
    let delivery = Delivery::new(
        Arc::clone(&store.mailbox),
        Arc::clone(&store.registry),
        Arc::new(LocalEphemeral::new(Memory::with_limits(&limits))),
        Arc::clone(&clock) as _,
        Arc::new(Nobody),
        TaskTracker::new(),
        DeliverySettings {
            limits: limits.clone(),
            reconcile_interval: Duration::from_secs(6 * 3_600),
            merge_interval: Duration::from_secs(30),
            poll_interval: Duration::from_secs(10),
        },
    );
    let client = client();
    let others: Vec<UserId> = (0..99).map(|_| UserId::from_bytes(random())).collect();
    let send = async |recipients: &[UserId]| {
        let sent = message_at(&client, clock.now_millis(), recipients);
        let outgoing = Outgoing {
            organization: sent.organization,
            sender: sent.sender,
            id: sent.id,
            recipients: recipients.to_vec(),
            content: sent.content.clone(),
        };
        delivery.send(outgoing).await.unwrap();
        sent.id
    };

    // Content, then rows: one for each recipient, all at once.
    let id = send(&[client.user]).await;
    assert_eq!(counted.take(), [("insert_item", 1), ("insert_message", 1)]);
    let everyone: Vec<UserId> = others.iter().copied().chain([client.user]).collect();
    let last = send(&everyone).await;
    assert_eq!(counted.take(), [("insert_item", 100), ("insert_message", 1)]);

    // Reading a content.
    delivery.read(client.organization, client.user, id).await.unwrap();
    assert_eq!(counted.take(), [("select_message", 1)]);

    // A merge after last known good: two range reads, side by side, with news and without.
    let good = ListingHints {
        last_known_good: Some(clock.now_millis().minus(limits.inconsistent_window)),
        reconciled: Some(clock.now_millis()),
        merged: None,
    };
    let times = ListingTimes {
        now: clock.now_millis(),
        inconsistent_window: limits.inconsistent_window,
        retention: limits.retention,
        ahead: limits.message_id_ahead,
        reconcile_interval: Duration::from_secs(6 * 3_600),
        merge_interval: Duration::from_secs(30),
    };
    let merge = async |hints| list_new(&*store.mailbox, &client, hints, 1_000, &times).await.unwrap();
    let listed = merge(good).await;
    assert_eq!(listed.items.len(), 2);
    assert_eq!(counted.take(), [("select_fetched", 1), ("select_items", 1)]);

    // Confirming any number that a page can have.
    delivery.confirm(&client, &[id]).await.unwrap();
    assert_eq!(counted.take(), [("insert_fetched", 1)]);
    let many: Vec<MessageId> = (0..200)
        .map(|step| {
            let time = clock.now_millis().minus(Duration::from_millis(step));
            message_at(&client, time, &[client.user]).id
        })
        .collect();
    delivery.confirm(&client, &many).await.unwrap();
    assert_eq!(counted.take(), [("insert_fetched", 1)]);
    delivery.confirm(&client, &[last]).await.unwrap();
    counted.take();
    let listed = merge(good).await;
    assert!(listed.items.is_empty());
    assert_eq!(counted.take(), [("select_fetched", 1), ("select_items", 1)]);

    // Deriving last known good: each day of retention once, of both.
    merge(ListingHints::default()).await;
    assert_eq!(counted.take(), [("select_fetched", 15), ("select_items", 15)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_calls_cost_the_statements_that_the_design_says() {
    let (store, guard) = fixture().await;
    let (registry, client) = (&store.registry, client());
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };

    registry.append(client.organization, 0, &entry).await.unwrap();
    assert_eq!(guard.counted.take(), [("append_entry", 1)]);
    registry.append(client.organization, 0, &entry).await.unwrap();
    assert_eq!(guard.counted.take(), [("append_entry", 1)]);
    registry.log(client.organization, 1, 500).await.unwrap();
    assert_eq!(guard.counted.take(), [("select_log", 1)]);
    registry.user(client.organization, client.user).await.unwrap();
    assert_eq!(guard.counted.take(), [("select_user", 1)]);
    // Users are spread over sixteen partitions.
    registry.users(client.organization, None, 500).await.unwrap();
    assert_eq!(guard.counted.take(), [("select_users", 16)]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.counted.take(), [("claim_place", 1), ("look_at_places", 2)]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.counted.take(), [("look_at_places", 1)]);
    registry.free_place(&client).await.unwrap();
    assert_eq!(guard.counted.take(), [("free_place", 1), ("select_places", 2)]);
}
