//! Clients that were away: who was away for longer than retention is told, and nobody else.

use std::future::pending;
use std::sync::Mutex;

use countersign_protocol::time::UnixMicros;

use super::tests::{DAY, NOW, RECIPIENT, client, request, session, stored};
use super::*;
use crate::clock::ManualClock;
use crate::ephemeral::local::LocalEphemeral;
use crate::store::{Store, memory};

const HOUR: Duration = Duration::from_secs(3_600);
const RETENTION: Duration = DAY.saturating_mul(14);

#[derive(Default)]
struct Observed(Mutex<Settled>);

impl DeliveryObserver for Observed {
    fn settled(&self, settled: Settled) {
        let mut sum = self.0.lock().unwrap();
        sum.fetched += settled.fetched;
        sum.unfetched += settled.unfetched;
    }
}

struct World {
    store: Store,
    delivery: Delivery,
    clock: Arc<ManualClock>,
    ephemeral: Arc<LocalEphemeral>,
    observed: Arc<Observed>,
}

impl World {
    /// A client that is registered now.
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let ephemeral = Arc::new(LocalEphemeral::default());
        let observed = Arc::new(Observed::default());
        let store = memory::open();
        let settings = DeliverySettings {
            limits: Limits::default(),
            reconcile_interval: DAY / 4,
            merge_interval: Duration::from_secs(30),
            poll_interval: HOUR,
        };
        let delivery = Delivery::new(
            Arc::clone(&store.mailbox),
            Arc::clone(&store.registry),
            Arc::clone(&ephemeral) as Arc<dyn Ephemeral>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&observed) as Arc<dyn DeliveryObserver>,
            TaskTracker::new(),
            settings,
        );
        store.registry.claim_place(&client(1), 5, NOW).await.unwrap();
        ephemeral.begin_session(&client(1), session(&client(1)), NOW).await.unwrap();
        Self { store, delivery, clock, ephemeral, observed }
    }

    fn now(&self) -> UnixMillis {
        self.clock.now_millis()
    }

    /// Sends something now.
    async fn send(&self, content: &'static [u8]) -> MessageId {
        let message = stored(self.now(), content);
        self.store.mailbox.put(&message).await.unwrap();
        message.id
    }

    /// Lists, where Valkey remembers nothing of the client.
    async fn list_unknown(&self) -> NewMessages {
        let (client, session, state) = (client(1), session(&client(1)).id, ListingState::default());
        let request = ListingRequest { client, session, state, limit: 100, wait: None };
        self.delivery.list(request, pending()).await.unwrap()
    }

    /// Lists, with what is remembered.
    async fn list(&self) -> NewMessages {
        self.delivery.list(request(&*self.ephemeral, &client(1), 100).await, pending()).await.unwrap()
    }
}

#[tokio::test]
async fn a_client_that_was_away_for_longer_than_retention_is_told_until_a_later_slot() {
    let world = World::new().await;
    assert_eq!(world.list_unknown().await.gap, None);

    world.clock.advance(30 * DAY);

    // Its marks are gone: what is known is when it was registered.
    let since = Some(UnixMicros::to_millis(NOW));
    assert_eq!(world.list_unknown().await.gap, since);
    // The answer was lost: it is told again, with what is remembered and without.
    assert_eq!(world.list().await.gap, since);
    assert_eq!(world.list_unknown().await.gap, since);
    world.clock.advance(5 * HOUR);
    assert_eq!(world.list().await.gap, since);
    assert_eq!(world.list().await.gap, None);
    assert_eq!(world.list_unknown().await.gap, None);
}

#[tokio::test]
async fn where_rows_are_still_there_only_what_expired_unfetched_is_a_gap() {
    for (fetched, missed) in [(false, true), (true, false)] {
        let world = World::new().await;
        world.list_unknown().await;
        world.clock.advance(DAY);
        world.list_unknown().await;
        let seen = world.now();
        world.clock.advance(HOUR);
        let id = world.send(b"an hour later").await;
        if fetched {
            world.store.mailbox.add_fetched(&client(1), &[id]).await.unwrap();
        }

        world.clock.advance(RETENTION + HOUR);
        let listed = world.list_unknown().await;

        assert!(listed.items.is_empty(), "it has left retention");
        assert_eq!(listed.gap.is_some(), missed);
        if let Some(from) = listed.gap {
            assert!(from < seen && seen.since(from) < 4 * HOUR + Limits::default().inconsistent_window);
        }
    }
}

#[tokio::test]
async fn whoever_comes_back_within_retention_or_is_new_is_not_told() {
    let world = World::new().await;
    // Away for every time within retention, and nothing remembered; messages come all the while and are not fetched.
    for hours in (1..14 * 24).step_by(29) {
        world.send(b"meanwhile").await;
        world.clock.advance(HOUR * hours);
        assert_eq!(world.list_unknown().await.gap, None, "away for {hours} h");
    }
    // With what is remembered, each four hours.
    for _ in 0..200 {
        world.clock.advance(4 * HOUR);
        assert_eq!(world.list().await.gap, None);
    }
    let newcomer = client(2);
    world.store.registry.claim_place(&newcomer, 5, world.clock.now()).await.unwrap();
    let state = ListingState::default();
    let request = ListingRequest { client: newcomer, session: session(&newcomer).id, state, limit: 100, wait: None };
    assert_eq!(world.delivery.list(request, pending()).await.unwrap().gap, None);
}

#[tokio::test]
async fn whoever_was_away_for_longer_and_missed_something_is_always_told() {
    for hours in (14 * 24 + 1..20 * 24).step_by(7) {
        let world = World::new().await;
        world.list_unknown().await;
        // Beyond what may have been listed, and expired when the client comes back.
        world.clock.advance(Duration::from_secs(1_800));
        world.send(b"missed").await;
        world.clock.advance(HOUR * hours);
        assert!(world.list_unknown().await.gap.is_some(), "away for {hours} h");
    }
}

#[tokio::test]
async fn a_waiting_client_waits_all_the_same_and_is_told_with_what_it_gets() {
    tokio::time::pause();
    let world = World::new().await;
    world.list_unknown().await;
    world.clock.advance(30 * DAY);
    let (client, session, state) = (client(1), session(&client(1)).id, ListingState::default());
    let wait = Some(Duration::from_secs(10));
    let request = ListingRequest { client, session, state, limit: 100, wait };

    let listing = world.delivery.list(request, pending());
    tokio::pin!(listing);
    assert!(tokio::time::timeout(Duration::from_secs(9), &mut listing).await.is_err(), "it did not wait");
    let listed = listing.await.unwrap();

    assert!(listed.gap.is_some() && listed.items.is_empty());
}

#[tokio::test]
async fn what_leaves_retention_is_counted_once() {
    let world = World::new().await;
    world.list_unknown().await;
    let mut sent = Settled::default();
    for number in 0..30_u32 {
        world.clock.advance(6 * HOUR);
        let id = world.send(b"something").await;
        if number % 3 == 0 {
            sent.unfetched += 1;
        } else {
            world.store.mailbox.add_fetched(&client(1), &[id]).await.unwrap();
            sent.fetched += 1;
        }
        world.list().await;
    }
    // In slots and out of them, with what is remembered and without.
    for number in 0..200_u32 {
        world.clock.advance(2 * HOUR + Duration::from_secs(77));
        if number % 5 == 0 {
            world.list_unknown().await;
        } else {
            world.list().await;
        }
    }
    assert_eq!(*world.observed.0.lock().unwrap(), sent);
    assert!(
        world
            .store
            .mailbox
            .items(
                client(1).organization,
                RECIPIENT,
                crate::store::IdRange::later_than(UnixMillis(0), world.now()),
                100
            )
            .await
            .unwrap()
            .len()
            == 30
    );
}
