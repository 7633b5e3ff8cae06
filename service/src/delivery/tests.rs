//! The worked examples of `docs/delivery.md`, with their numbers, and the edges around them.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Mutex;

use async_trait::async_trait;
use countersign_protocol::id::ClientId;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use proptest::prelude::*;

use super::listing::list_new;
use super::*;
use crate::clock::ManualClock;
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::{ListingHints, Session};
use crate::store::memory::MemoryStore;
use crate::store::{IdRange, Store, memory};

pub(super) const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
pub(super) const SENDER: UserId = UserId::from_bytes([2; 16]);
pub(super) const RECIPIENT: UserId = UserId::from_bytes([3; 16]);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Silent;

impl DeliveryObserver for Silent {}

pub(super) fn client(number: u8) -> ClientAddress {
    ClientAddress { organization: ORGANIZATION, user: RECIPIENT, client: ClientId::from_bytes([number; 16]) }
}

fn seconds(time: u64) -> UnixMillis {
    UnixMillis(time * 1_000)
}

fn id_at(time: UnixMillis, content: &[u8]) -> MessageId {
    MessageId::of_message(&ORGANIZATION, &SENDER, time, &[RECIPIENT], &Sha256Digest::of(content))
}

pub(super) fn stored(time: UnixMillis, content: &'static [u8]) -> StoredMessage {
    StoredMessage {
        organization: ORGANIZATION,
        id: id_at(time, content),
        kind: ItemKind::Message,
        sender: SENDER,
        recipients: vec![RECIPIENT],
        of: None,
        content: Bytes::from_static(content),
    }
}

fn times(now: u64, window: u64) -> ListingTimes {
    ListingTimes {
        now: seconds(now),
        inconsistent_window: Duration::from_secs(window),
        retention: 14 * DAY,
        ahead: Duration::from_secs(30),
        reconcile_interval: DAY / 4,
        merge_interval: Duration::from_secs(30),
    }
}

fn ids(listed: &Listed) -> Vec<u64> {
    listed.items.iter().map(|item| item.id.time().0 / 1_000).collect()
}

/// A message every 60 s from t=60 to t=1500.
async fn a_message_a_minute() -> Store {
    let store = memory::open();
    for time in (60..=1_500).step_by(60) {
        store.mailbox.put(&stored(seconds(time), b"minute")).await.unwrap();
    }
    store
}

async fn fetch(store: &Store, client: &ClientAddress, times: impl Iterator<Item = u64>) {
    let ids: Vec<MessageId> = times.map(|time| id_at(seconds(time), b"minute")).collect();
    store.mailbox.add_fetched(client, &ids).await.unwrap();
}

#[tokio::test]
async fn the_worked_example_of_three_clients() {
    let store = a_message_a_minute().await;
    let [a, b, c] = [client(10), client(11), client(12)];
    let minutes = || (60..=1_500).step_by(60);
    fetch(&store, &a, minutes()).await;
    fetch(&store, &b, minutes().filter(|time| *time <= 900 || *time >= 1_020)).await;
    fetch(&store, &c, minutes().filter(|time| *time <= 1_260)).await;

    let mut good = Vec::new();
    let mut new = Vec::new();
    for client in [a, b, c] {
        let listed =
            list_new(&*store.mailbox, &client, ListingHints::default(), 100, &times(1_500, 480)).await.unwrap();
        good.push(listed.hints.last_known_good.map(|good| good.0 / 1_000));
        new.push(ids(&listed));
        assert!(listed.derived);
    }
    let default_window =
        list_new(&*store.mailbox, &a, ListingHints::default(), 100, &times(1_500, 300)).await.unwrap();

    assert_eq!(good, [Some(1_020), Some(900), Some(1_020)]);
    assert_eq!(new, [vec![], vec![960], vec![1_320, 1_380, 1_440, 1_500]]);
    assert_eq!(default_window.hints.last_known_good, Some(seconds(1_200)));
}

/// A store whose rows are visible on the servers that a test says, to show what a reader of each of them gets.
struct OneOfThreeServers<'a> {
    everything: &'a MemoryStore,
    hidden: Mutex<BTreeSet<MessageId>>,
}

#[async_trait]
impl Mailbox for OneOfThreeServers<'_> {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        self.everything.put(message).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        self.everything.message(organization, id).await
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = self.everything.items(organization, user, range, usize::MAX).await?;
        let hidden = self.hidden.lock().unwrap();
        items.retain(|item| !hidden.contains(&item.id));
        items.truncate(limit);
        Ok(items)
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        self.everything.add_fetched(client, ids).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.everything.fetched(client, range, limit).await
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        self.everything.fetched_among(client, ids).await
    }
}

#[tokio::test]
async fn the_worked_example_of_three_servers() {
    let everything = MemoryStore::default();
    let mut seventeen = None;
    // Messages 11 to 28; 17 has the time 17, and 28 the time 18: it was sent after 17 and is visible before it.
    for (number, time) in (11..=17).map(|n| (n, n)).chain((18..=27).map(|n| (n, 17))).chain([(28, 18)]) {
        let content: &'static [u8] = Box::leak(format!("message {number}").into_bytes().into_boxed_slice());
        let message = stored(seconds(time), content);
        everything.put(&message).await.unwrap();
        if number == 17 {
            seventeen = Some(message.id);
        }
    }
    let seventeen = seventeen.expect("17 was put");
    let server = |hidden: &[MessageId]| OneOfThreeServers {
        everything: &everything,
        hidden: Mutex::new(hidden.iter().copied().collect()),
    };
    let [one, two, three] = [server(&[]), server(&[seventeen]), server(&[seventeen])];
    let client = client(1);
    let mut hints = ListingHints::default();
    let mut held = BTreeSet::new();

    // Servers 2 and 3 answer without 17; the client confirms all that it gets, 28 among it.
    for server in [&two, &three] {
        let listed = list_new(server, &client, hints, 100, &times(20, 300)).await.unwrap();
        hints = hints.max(listed.hints);
        let ids: Vec<MessageId> = listed.items.iter().map(|item| item.id).collect();
        server.add_fetched(&client, &ids).await.unwrap();
        held.extend(ids);
    }
    assert!(held.len() == 17 && !held.contains(&seventeen));

    // Later 17 is visible everywhere, and comes from whichever server is asked.
    for server in [&one, &two, &three] {
        server.hidden.lock().unwrap().clear();
        let listed = list_new(server, &client, hints, 100, &times(25, 300)).await.unwrap();
        assert_eq!(listed.items.iter().map(|item| item.id).collect::<Vec<_>>(), [seventeen]);
    }
}

#[tokio::test]
async fn two_messages_of_one_millisecond_do_not_hide_each_other() {
    let store = memory::open();
    let mut pair = [stored(seconds(100), b"one"), stored(seconds(100), b"other")];
    pair.sort_unstable_by_key(|message| message.id);
    for message in &pair {
        store.mailbox.put(message).await.unwrap();
    }
    store.mailbox.add_fetched(&client(1), &[pair[0].id]).await.unwrap();
    let times = times(10_000, 300);

    let first = list_new(&*store.mailbox, &client(1), ListingHints::default(), 10, &times).await.unwrap();
    let second = list_new(&*store.mailbox, &client(1), first.hints, 10, &times).await.unwrap();

    assert_eq!(first.hints.last_known_good, Some(UnixMillis(99_999)));
    assert_eq!(second.items, [pair[1].item()]);
}

#[tokio::test]
async fn a_straggler_behind_last_known_good_is_found_by_the_next_reconciliation() {
    let store = a_message_a_minute().await;
    fetch(&store, &client(1), (60..=1_500).step_by(60)).await;
    let start = times(2_000, 300);
    let hints = list_new(&*store.mailbox, &client(1), ListingHints::default(), 10, &start).await.unwrap().hints;
    let straggler = stored(seconds(700), b"an hour late");
    store.mailbox.put(&straggler).await.unwrap();

    let before = list_new(&*store.mailbox, &client(1), hints, 10, &times(2_100, 300)).await.unwrap();
    let due = 2_000 + DAY.as_secs() / 4;
    let found = list_new(&*store.mailbox, &client(1), hints, 10, &times(due, 300)).await.unwrap();
    let unconfirmed =
        list_new(&*store.mailbox, &client(1), hints.max(found.hints), 10, &times(due + 1, 300)).await.unwrap();
    store.mailbox.add_fetched(&client(1), &[straggler.id]).await.unwrap();
    let confirmed =
        list_new(&*store.mailbox, &client(1), hints.max(found.hints), 10, &times(due + 2, 300)).await.unwrap();

    assert!(before.items.is_empty() && !before.reconciled);
    assert_eq!(
        (found.items.as_slice(), found.stragglers, found.reconciled),
        ([straggler.item()].as_slice(), 1, true)
    );
    assert_eq!(unconfirmed.items, [straggler.item()], "a lost answer does not lose the straggler");
    assert!(confirmed.items.is_empty());
    assert_eq!(confirmed.hints.reconciled, Some(seconds(due + 2)));
}

#[tokio::test]
async fn a_listing_is_cut_at_its_limit_and_says_so() {
    let store = a_message_a_minute().await;

    let five = list_new(&*store.mailbox, &client(1), ListingHints::default(), 5, &times(1_500, 300)).await.unwrap();
    let all = list_new(&*store.mailbox, &client(1), ListingHints::default(), 25, &times(1_500, 300)).await.unwrap();

    assert_eq!((ids(&five), five.more), (vec![60, 120, 180, 240, 300], true));
    assert_eq!((all.items.len(), all.more), (25, false));
}

// === The whole of delivery ===

struct World {
    delivery: Delivery,
    clock: Arc<ManualClock>,
    ephemeral: Arc<LocalEphemeral>,
}

const SENDERS_CLIENT: ClientAddress =
    ClientAddress { organization: ORGANIZATION, user: SENDER, client: ClientId::from_bytes([9; 16]) };
pub(super) const NOW: UnixMicros = UnixMicros(1_795_400_000_000_000);

async fn world() -> World {
    let clock = Arc::new(ManualClock::at(NOW));
    let ephemeral = Arc::new(LocalEphemeral::default());
    let settings = DeliverySettings {
        limits: Limits::default(),
        reconcile_interval: DAY / 4,
        merge_interval: Duration::from_secs(30),
        poll_interval: Duration::from_secs(3_600),
    };
    let delivery = Delivery::new(
        memory::open().mailbox,
        memory::open().registry,
        Arc::clone(&ephemeral) as Arc<dyn Ephemeral>,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(Silent),
        TaskTracker::new(),
        settings,
    );
    for client in [client(1), client(2), SENDERS_CLIENT] {
        ephemeral.begin_session(&client, session(&client), NOW).await.unwrap();
    }
    World { delivery, clock, ephemeral }
}

pub(super) fn session(client: &ClientAddress) -> Session {
    let expires = NOW.plus(30 * DAY);
    Session { id: SessionId(*client.client.as_bytes()), key: SessionKey::from_bytes([7; 32]), expires, since: 0 }
}

/// What a client asks for, with what its admission brings.
pub(super) async fn request(ephemeral: &dyn Ephemeral, client: &ClientAddress, limit: usize) -> ListingRequest {
    let session = session(client).id;
    let state = ephemeral.listing_state(client, session).await.unwrap().expect("the session was begun");
    ListingRequest { client: *client, session, state, limit, wait: None }
}

fn outgoing(time: UnixMillis, content: &'static [u8]) -> Outgoing {
    Outgoing {
        organization: ORGANIZATION,
        sender: SENDER,
        id: id_at(time, content),
        recipients: vec![RECIPIENT, RECIPIENT],
        content: Bytes::from_static(content),
    }
}

async fn list(world: &World, client: &ClientAddress) -> Vec<Item> {
    let request = request(&*world.ephemeral, client, 1_000).await;
    world.delivery.list(request, pending()).await.unwrap().items
}

#[tokio::test]
async fn a_message_stays_new_until_its_client_confirms_it() {
    let world = world().await;
    let [one, sibling] = [client(1), client(2)];
    let sent = outgoing(NOW.to_millis(), b"hello");
    world.delivery.send(sent.clone()).await.unwrap();
    world.delivery.send(sent.clone()).await.unwrap();

    for _ in 0..2 {
        assert_eq!(list(&world, &one).await.len(), 1);
        assert_eq!(world.delivery.read(ORGANIZATION, RECIPIENT, sent.id).await.unwrap(), sent.content);
    }
    world.delivery.confirm(&one, &[sent.id, sent.id, id_at(NOW.to_millis(), b"never sent")]).await.unwrap();

    assert!(list(&world, &one).await.is_empty());
    assert_eq!(list(&world, &sibling).await.len(), 1);
}

#[tokio::test]
async fn an_id_is_accepted_exactly_within_its_window() {
    let world = world().await;
    let now = NOW.to_millis();
    let at = |time| world.delivery.send(outgoing(time, b"edge"));
    let (behind, ahead) = (Duration::from_secs(60), Duration::from_secs(30));
    let tick = Duration::from_millis(1);

    assert!(at(now.minus(behind)).await.is_ok());
    assert!(at(now.plus(ahead)).await.is_ok());
    assert!(matches!(at(now.minus(behind + tick)).await, Err(DeliveryError::IdOutOfWindow)));
    assert!(matches!(at(now.plus(ahead + tick)).await, Err(DeliveryError::IdOutOfWindow)));
}

#[tokio::test]
async fn an_id_of_other_content_or_recipients_is_refused() {
    let world = world().await;
    let sent = outgoing(NOW.to_millis(), b"hello");
    let other_content = Outgoing { content: Bytes::from_static(b"hullo"), ..sent.clone() };
    let other_recipients = Outgoing { recipients: vec![SENDER], ..sent.clone() };
    let other_sender = Outgoing { sender: RECIPIENT, ..sent };

    for altered in [other_content, other_recipients, other_sender] {
        assert!(matches!(world.delivery.send(altered).await, Err(DeliveryError::WrongId)));
    }
}

#[tokio::test]
async fn a_receipt_reaches_the_sender_and_confirms_for_one_client() {
    let world = world().await;
    let sent = outgoing(NOW.to_millis(), b"hello");
    world.delivery.send(sent.clone()).await.unwrap();
    let sender = SENDERS_CLIENT;
    let signature = Bytes::from_static(b"signature");
    let digest = Sha256Digest::of(&signature);
    let receipt = MessageId::of_receipt(&ORGANIZATION, &RECIPIENT, NOW.to_millis(), &sent.id, &digest);
    let acknowledge = async |client: ClientAddress, message, receipt| {
        world.delivery.acknowledge(&client, message, receipt, signature.clone()).await
    };

    acknowledge(client(1), sent.id, receipt).await.unwrap();
    acknowledge(client(1), sent.id, receipt).await.unwrap();

    let items = list(&world, &sender).await;
    assert_eq!(items.len(), 1);
    assert_eq!(
        (items[0].id, items[0].kind, items[0].from, items[0].of),
        (receipt, ItemKind::Receipt, RECIPIENT, Some(sent.id))
    );
    assert_eq!(world.delivery.read(ORGANIZATION, SENDER, receipt).await.unwrap(), signature);
    assert!(list(&world, &client(1)).await.is_empty());
    assert_eq!(list(&world, &client(2)).await.len(), 1);
    assert!(matches!(acknowledge(client(1), sent.id, sent.id).await, Err(DeliveryError::WrongId)));
    assert!(matches!(acknowledge(sender, sent.id, receipt).await, Err(DeliveryError::NotFound)));
    assert!(matches!(acknowledge(sender, receipt, receipt).await, Err(DeliveryError::NotFound)));
}

#[tokio::test]
async fn content_is_for_sender_and_recipients_only_and_for_its_retention() {
    let world = world().await;
    let sent = outgoing(NOW.to_millis(), b"hello");
    world.delivery.send(sent.clone()).await.unwrap();
    let read = |user| world.delivery.read(ORGANIZATION, user, sent.id);

    assert!(read(SENDER).await.is_ok());
    assert!(read(RECIPIENT).await.is_ok());
    assert!(matches!(read(UserId::from_bytes([9; 16])).await, Err(DeliveryError::NotFound)));
    world.clock.advance(14 * DAY + Duration::from_millis(1));
    assert!(matches!(read(SENDER).await, Err(DeliveryError::NotFound)));
    assert!(list(&world, &client(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_listing_returns_when_something_arrives() {
    let world = world().await;
    let delivery = world.delivery.clone();
    let request =
        ListingRequest { wait: Some(Duration::from_secs(55)), ..request(&*world.ephemeral, &client(1), 10).await };
    let waiting = tokio::spawn(async move { delivery.list(request, pending()).await.unwrap() });
    // The clock stands until every task waits: then the listing has looked once.
    tokio::time::advance(Duration::from_secs(1)).await;

    world.delivery.send(outgoing(NOW.to_millis(), b"hello")).await.unwrap();

    assert_eq!(waiting.await.unwrap().items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_session_ends_while_it_waits_gets_nothing() {
    let world = world().await;
    let delivery = world.delivery.clone();
    let request =
        ListingRequest { wait: Some(Duration::from_secs(55)), ..request(&*world.ephemeral, &client(1), 10).await };
    let waiting = tokio::spawn(async move { delivery.list(request, pending()).await });
    tokio::time::advance(Duration::from_secs(1)).await;

    world.ephemeral.end_sessions(ORGANIZATION, RECIPIENT).await.unwrap();
    world.delivery.send(outgoing(NOW.to_millis(), b"hello")).await.unwrap();

    assert!(matches!(waiting.await.unwrap(), Err(DeliveryError::SessionEnded)));
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the runtime's clock is the paused one")]
async fn a_waiting_listing_returns_empty_when_its_time_is_over_or_patience_ends() {
    let world = world().await;
    let list = |wait, patience: Duration| {
        let (delivery, ephemeral) = (world.delivery.clone(), Arc::clone(&world.ephemeral));
        async move {
            let patience = tokio::time::sleep(patience);
            let start = tokio::time::Instant::now();
            let request = ListingRequest { wait: Some(wait), ..request(&*ephemeral, &client(1), 10).await };
            let new = delivery.list(request, patience).await.unwrap();
            (new.items.len(), start.elapsed().as_secs())
        }
    };

    assert_eq!(list(Duration::from_secs(20), DAY).await, (0, 20));
    assert_eq!(list(Duration::from_secs(55), Duration::from_secs(3)).await, (0, 3));
}

proptest! {
    /// Whatever was put and confirmed in whatever order, repeated listings with their hints end in the set difference.
    #[test]
    fn listings_with_hints_deliver_everything_exactly_until_confirmed(
        sends in proptest::collection::vec((0_u64..5_000, 0_u8..4), 1..60),
        limit in 1_usize..8,
        window in 1_u64..600,
        confirms in proptest::collection::vec(any::<bool>(), 400),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = memory::open();
            let mut unconfirmed = BTreeSet::new();
            for (time, content) in sends {
                let content: &'static [u8] = [b"a".as_slice(), b"b", b"c", b"d"][usize::from(content)];
                let message = stored(UnixMillis(time * 100 + 1), content);
                store.mailbox.put(&message).await.unwrap();
                unconfirmed.insert(message.id);
            }
            let mut hints = ListingHints::default();
            for (step, confirm) in confirms.into_iter().enumerate() {
                let now = 500 + step as u64;
                let listed = list_new(&*store.mailbox, &client(1), hints, limit, &times(now, window)).await.unwrap();
                let expected: Vec<MessageId> = unconfirmed.iter().copied().take(limit).collect();
                prop_assert_eq!(listed.items.iter().map(|item| item.id).collect::<Vec<_>>(), expected);
                prop_assert_eq!(listed.more, unconfirmed.len() > limit);
                hints = hints.max(listed.hints);
                if let Some(good) = hints.last_known_good {
                    prop_assert!(unconfirmed.iter().all(|id| id.time() > good));
                    prop_assert!(good <= seconds(now).minus(Duration::from_secs(window)));
                }
                // Sometimes the newest of the page is confirmed instead of the oldest, so gaps come to be.
                let chosen = if confirm { listed.items.first() } else { listed.items.last() };
                if let Some(item) = chosen {
                    store.mailbox.add_fetched(&client(1), &[item.id]).await.unwrap();
                    unconfirmed.remove(&item.id);
                }
            }
            prop_assert!(unconfirmed.is_empty());
            Ok(())
        })?;
    }
}
