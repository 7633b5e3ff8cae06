//! Listings by arrivals: what they read, and that they miss nothing for longer than they may.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::UnixMicros;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::RwLock;

use super::tests::{DAY, NOW, ORGANIZATION, RECIPIENT, SENDER, Silent, client, request, session};
use super::*;
use crate::clock::ManualClock;
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::{Admission, Needs, Recency, Session, WakeUp};
use crate::store::{IdRange, memory};

const MERGE_INTERVAL: Duration = Duration::from_secs(30);

/// An ephemeral store that loses arrivals when it is told to, or everything.
#[derive(Default)]
struct Forgetful {
    inner: RwLock<LocalEphemeral>,
    loses_arrivals: AtomicBool,
}

#[async_trait]
impl Ephemeral for Forgetful {
    async fn begin_session(
        &self,
        client: &ClientAddress,
        session: Session,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        self.inner.read().await.begin_session(client, session, now).await
    }

    async fn session(
        &self,
        client: &ClientAddress,
        now: UnixMicros,
        recency: Recency,
    ) -> Result<Option<Session>, EphemeralError> {
        self.inner.read().await.session(client, now, recency).await
    }

    async fn admit(
        &self,
        client: &ClientAddress,
        session: SessionId,
        nonce: Nonce,
        needs: Needs,
    ) -> Result<Admission, EphemeralError> {
        self.inner.read().await.admit(client, session, nonce, needs).await
    }

    async fn admit_password(
        &self,
        client: &ClientAddress,
        nonce: Nonce,
        now: UnixMicros,
    ) -> Result<bool, EphemeralError> {
        self.inner.read().await.admit_password(client, nonce, now).await
    }

    async fn end_session(&self, client: &ClientAddress) -> Result<(), EphemeralError> {
        self.inner.read().await.end_session(client).await
    }

    async fn end_sessions(&self, organization: OrganizationId, user: UserId) -> Result<(), EphemeralError> {
        self.inner.read().await.end_sessions(organization, user).await
    }

    async fn listing_state(
        &self,
        client: &ClientAddress,
        session: SessionId,
    ) -> Result<Option<ListingState>, EphemeralError> {
        self.inner.read().await.listing_state(client, session).await
    }

    async fn remember(&self, client: &ClientAddress, learned: &Learned) -> Result<(), EphemeralError> {
        self.inner.read().await.remember(client, learned).await
    }

    async fn arrived(
        &self,
        organization: OrganizationId,
        recipients: &[UserId],
        item: &Item,
        now: UnixMicros,
    ) -> Result<(), EphemeralError> {
        if self.loses_arrivals.load(Ordering::SeqCst) {
            return Err(EphemeralError::Timeout);
        }
        self.inner.read().await.arrived(organization, recipients, item, now).await
    }

    async fn wake_up(&self, organization: OrganizationId, user: UserId) -> Result<Box<dyn WakeUp>, EphemeralError> {
        self.inner.read().await.wake_up(organization, user).await
    }

    async fn sweep(&self, now: UnixMicros) -> usize {
        self.inner.read().await.sweep(now).await
    }
}

/// A mailbox that writes down which reads were made of it.
struct Watched {
    inner: Arc<dyn Mailbox>,
    reads: Mutex<Vec<&'static str>>,
}

impl Watched {
    fn new() -> Self {
        Self { inner: memory::open().mailbox, reads: Mutex::default() }
    }

    fn saw(&self, read: &'static str) {
        self.reads.lock().unwrap().push(read);
    }

    /// The reads since the last call.
    fn reads(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

#[async_trait]
impl Mailbox for Watched {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        self.inner.put(message).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        self.saw("message");
        // Others ask meanwhile: whichever of them is looked at lets it go on a little.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.inner.message(organization, id).await
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.saw("items");
        self.inner.items(organization, user, range, limit).await
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        self.inner.add_fetched(client, ids).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.saw("fetched");
        self.inner.fetched(client, range, limit).await
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        self.saw("fetched_among");
        self.inner.fetched_among(client, ids).await
    }
}

struct World {
    delivery: Delivery,
    mailbox: Arc<Watched>,
    ephemeral: Arc<Forgetful>,
    clock: Arc<ManualClock>,
    sent: u64,
}

impl World {
    async fn new() -> Self {
        let mailbox = Arc::new(Watched::new());
        let ephemeral = Arc::new(Forgetful::default());
        let clock = Arc::new(ManualClock::at(NOW));
        let delivery = Delivery::new(
            Arc::clone(&mailbox) as Arc<dyn Mailbox>,
            crate::store::memory::open().registry,
            Arc::clone(&ephemeral) as Arc<dyn Ephemeral>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(Silent),
            TaskTracker::new(),
            DeliverySettings {
                limits: Limits::default(),
                reconcile_interval: DAY / 4,
                merge_interval: MERGE_INTERVAL,
                poll_interval: Duration::from_secs(10),
            },
        );
        let world = Self { delivery, mailbox, ephemeral, clock, sent: 0 };
        world.begin().await;
        world
    }

    async fn begin(&self) {
        self.ephemeral.begin_session(&client(1), session(&client(1)), self.clock.now()).await.unwrap();
    }

    /// Sends a message whose id is `behind` the clock.
    async fn send(&mut self, behind: Duration) -> MessageId {
        self.sent += 1;
        let content = Bytes::copy_from_slice(&self.sent.to_be_bytes());
        let time = self.clock.now_millis().minus(behind);
        let id = MessageId::of_message(&ORGANIZATION, &SENDER, time, &[RECIPIENT], &Sha256Digest::of(&content));
        let outgoing =
            Outgoing { organization: ORGANIZATION, sender: SENDER, id, recipients: vec![RECIPIENT], content };
        self.delivery.send(outgoing).await.unwrap();
        id
    }

    async fn list(&self, limit: usize) -> NewMessages {
        let request = request(&*self.ephemeral, &client(1), limit).await;
        self.delivery.list(request, pending()).await.unwrap()
    }

    async fn ids(&self) -> Vec<MessageId> {
        self.list(1_000).await.items.iter().map(|item| item.id).collect()
    }

    async fn confirm(&self, ids: &[MessageId]) {
        self.delivery.confirm(&client(1), ids).await.unwrap();
    }
}

#[tokio::test]
async fn a_check_reads_nothing_a_listing_with_news_reads_points_and_a_merge_reads_ranges() {
    let mut world = World::new().await;
    assert!(world.ids().await.is_empty());
    let merge = ["items", "fetched", "fetched_among", "fetched_among"];
    assert_eq!(
        world.mailbox.reads(),
        merge,
        "the first listing is a full merge, and looks whether the client was here"
    );

    for _ in 0..10 {
        assert!(world.ids().await.is_empty());
    }
    assert_eq!(world.mailbox.reads(), [""; 0]);

    let sent = [world.send(Duration::ZERO).await, world.send(Duration::from_secs(1)).await];
    for _ in 0..2 {
        assert_eq!(world.ids().await, [sent[1], sent[0]], "by id, though it arrived later");
    }
    assert_eq!(world.mailbox.reads(), ["fetched_among"; 2]);

    world.confirm(&sent).await;
    assert!(world.ids().await.is_empty());
    assert_eq!(world.mailbox.reads(), ["fetched_among"], "it finds them fetched, and moves the mark past them");
    assert!(world.ids().await.is_empty());
    assert_eq!(world.mailbox.reads(), [""; 0]);

    world.clock.advance(MERGE_INTERVAL);
    assert!(world.ids().await.is_empty());
    assert_eq!(world.mailbox.reads(), ["items", "fetched"]);
    assert!(world.ids().await.is_empty());
    assert_eq!(world.mailbox.reads(), [""; 0], "the mark stands after a merge too");
}

#[tokio::test]
async fn who_never_has_a_quiet_moment_lists_by_arrivals_all_the_same() {
    let mut world = World::new().await;
    world.send(Duration::ZERO).await;
    let mut merges = 0;

    for _ in 0..100 {
        world.clock.advance(Duration::from_millis(100));
        world.send(Duration::ZERO).await;
        let listed = world.ids().await;
        assert!(!listed.is_empty());
        world.send(Duration::ZERO).await;
        world.confirm(&listed).await;
        merges += world.mailbox.reads().iter().filter(|read| **read == "items").count();
    }

    // The first, whose message came before anybody listed, and the one that finds it confirmed.
    assert_eq!(merges, 2, "in ten seconds");
}

#[tokio::test]
async fn an_old_message_that_is_not_confirmed_keeps_being_listed() {
    let mut world = World::new().await;
    let old = world.send(Duration::ZERO).await;
    *world.ephemeral.inner.write().await = LocalEphemeral::default();
    world.begin().await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.ids().await, [old]);

    let new = world.send(Duration::ZERO).await;

    assert_eq!(world.ids().await, [old, new]);
    world.confirm(&[new]).await;
    assert_eq!(world.ids().await, [old]);
}

#[tokio::test]
async fn a_lost_arrival_is_found_by_the_next_merge() {
    let mut world = World::new().await;
    assert!(world.ids().await.is_empty());
    world.ephemeral.loses_arrivals.store(true, Ordering::SeqCst);
    let lost = world.send(Duration::ZERO).await;
    world.ephemeral.loses_arrivals.store(false, Ordering::SeqCst);
    assert!(world.ids().await.is_empty(), "the test is of an arrival that is lost");

    world.clock.advance(MERGE_INTERVAL);

    for _ in 0..3 {
        assert_eq!(world.ids().await, [lost]);
        world.clock.advance(Duration::from_secs(3));
    }
}

#[tokio::test]
async fn many_who_read_one_content_at_once_read_it_once() {
    let mut world = World::new().await;
    let id = world.send(Duration::ZERO).await;
    let read = |user| world.delivery.read(ORGANIZATION, user, id);

    let contents = join_all((0..50).map(|_| read(RECIPIENT))).await;
    assert!(contents.iter().all(Result::is_ok));
    assert_eq!(world.mailbox.reads(), ["message"]);

    assert!(read(SENDER).await.is_ok());
    assert!(matches!(read(UserId::from_bytes([8; 16])).await, Err(DeliveryError::NotFound)));
    assert_eq!(world.mailbox.reads(), ["message"; 2], "nothing is kept");
}

/// What happens to one client's mailbox.
#[derive(Clone, Debug)]
enum Step {
    Send { behind: u64, lost: bool },
    List { limit: usize },
    Confirm { which: u64 },
    Pass { milliseconds: u64 },
    LoseEverything,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..60_000, prop::bool::weighted(0.2)).prop_map(|(behind, lost)| Step::Send { behind, lost }),
        3 => Just(Step::Send { behind: 0, lost: false }),
        8 => prop_oneof![Just(1_000_usize), 1_usize..5].prop_map(|limit| Step::List { limit }),
        5 => any::<u64>().prop_map(|which| Step::Confirm { which }),
        5 => prop_oneof![0_u64..3_000, 0_u64..40_000, 0_u64..400_000].prop_map(|milliseconds| Step::Pass { milliseconds }),
        1 => Just(Step::LoseEverything),
    ]
}

/// What the listings must show.
#[derive(Default)]
struct Model {
    unconfirmed: BTreeSet<MessageId>,
    /// Messages whose arrival was lost, with the time since which nobody has seen them.
    unseen: BTreeMap<MessageId, UnixMillis>,
    last: Vec<MessageId>,
}

impl Model {
    fn check(&mut self, new: &NewMessages, limit: usize, now: UnixMillis) -> Result<(), TestCaseError> {
        let ids: Vec<MessageId> = new.items.iter().map(|item| item.id).collect();
        prop_assert!(ids.is_sorted_by(|one, next| one < next), "in order, and nothing twice");
        prop_assert!(ids.len() <= limit);
        prop_assert!(
            ids.iter().all(|id| self.unconfirmed.contains(id)),
            "nothing that is confirmed or was never sent"
        );
        let may_be_late =
            |id: &MessageId| self.unseen.get(id).is_some_and(|since| now.since(*since) < MERGE_INTERVAL);
        let missing = self.unconfirmed.iter().filter(|id| !ids.contains(id) && !may_be_late(id));
        let (missing, last) = (missing.copied().collect::<Vec<_>>(), ids.last().copied());
        if new.more {
            prop_assert_eq!(ids.len(), limit);
            prop_assert!(missing.iter().all(|id| last.is_some_and(|last| *id > last)), "the oldest come first");
        } else {
            prop_assert!(missing.is_empty(), "{:?} are missing", missing);
        }
        for id in &ids {
            self.unseen.entry(*id).and_modify(|since| *since = now);
        }
        self.last = ids;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is sent, confirmed and lost in whatever order, a listing is the set difference; but for messages whose
    /// arrival was lost, which it may miss until the merge interval is over.
    #[test]
    fn listings_by_arrivals_are_the_set_difference_but_for_lost_arrivals_that_are_late(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut world, mut model) = (World::new().await, Model::default());
            for step in steps {
                let now = world.clock.now_millis();
                match step {
                    Step::Send { behind, lost } => {
                        world.ephemeral.loses_arrivals.store(lost, Ordering::SeqCst);
                        let id = world.send(Duration::from_millis(behind)).await;
                        world.ephemeral.loses_arrivals.store(false, Ordering::SeqCst);
                        model.unconfirmed.insert(id);
                        if lost {
                            model.unseen.insert(id, now);
                        }
                    }
                    Step::List { limit } => model.check(&world.list(limit).await, limit, now)?,
                    Step::Confirm { which } => {
                        let bits = (0..).map(|bit| which >> (bit % 64) & 1 == 1);
                        let chosen: Vec<MessageId> =
                            model.last.iter().zip(bits).filter(|(_, chosen)| *chosen).map(|(id, _)| *id).collect();
                        world.confirm(&chosen).await;
                        model.unconfirmed.retain(|id| !chosen.contains(id));
                    }
                    Step::Pass { milliseconds } => world.clock.advance(Duration::from_millis(milliseconds)),
                    Step::LoseEverything => {
                        *world.ephemeral.inner.write().await = LocalEphemeral::default();
                        world.begin().await;
                    }
                }
            }
            world.clock.advance(MERGE_INTERVAL);
            let rest = world.list(10_000).await;
            let expected: Vec<MessageId> = model.unconfirmed.iter().copied().collect();
            prop_assert_eq!(rest.items.iter().map(|item| item.id).collect::<Vec<_>>(), expected.clone());
            world.confirm(&expected).await;
            prop_assert!(world.list(10_000).await.items.is_empty());
            Ok(())
        })?;
    }
}
