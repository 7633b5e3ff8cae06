//! The conformance suites over a real cluster that persists and over a single server, and what is this store's own: expiry,
//! pages over days, a full memory, a moving slot; its schema, lost answers, servers that hang and are killed.

mod faults;
mod memory;
mod opening;
mod values;

use std::num::NonZeroUsize;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use tokio::sync::OnceCell;

use super::keys::{Day, Key};
use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::entropy::SystemEntropy;
use crate::store::conformance::{self, client, message_at};
use crate::store::settings::Durability;
use crate::store::{Append, Claim, IdRange};
use crate::valkey::server::{Mode, PERSISTING, Valkey};

const RETENTION: Duration = Duration::from_secs(14 * 86_400);
/// How long anything may take that must happen, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(60);

fn settings_at(url: &str, durability: Durability) -> ValkeyStoreSettings {
    ValkeyStoreSettings {
        url: url.parse().unwrap(),
        password: None,
        authority: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
        durability,
        connections: NonZeroUsize::new(2).unwrap(),
        schema: SchemaAtStart::Create,
        retention: RETENTION,
    }
}

fn settings(valkey: &Valkey, durability: Durability) -> ValkeyStoreSettings {
    settings_at(&valkey.url(), durability)
}

/// Runs what blocks: starting servers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn shared_cluster() -> &'static Valkey {
    blocking(Valkey::shared_store).await
}

/// A single server that persists.
async fn shared_single() -> &'static Valkey {
    static SINGLE: OnceCell<Valkey> = OnceCell::const_new();
    SINGLE.get_or_init(|| blocking(|| Valkey::start(Mode::Single, &[PERSISTING]))).await
}

/// Ends the task that opened a store.
struct Guard {
    stop: CancellationToken,
    progress: watch::Receiver<Opening>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Guard {
    /// Waits until the store has come so far, and returns how far.
    async fn waits_for(&mut self, far: impl FnMut(&Opening) -> bool) -> Opening {
        let reached = tokio::time::timeout(SOON, self.progress.wait_for(far)).await;
        let reached = reached.map(|outcome| outcome.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("not within a minute: the store is {:?}", self.progress.borrow()))
    }

    /// Waits until the store says that it waits for something, in these words.
    async fn waits_in_words(&mut self, words: &str) -> String {
        let waits = self.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains(words))).await;
        let Opening::Waiting(why) = waits else { panic!("{waits:?}") };
        why
    }

    async fn opened(&mut self) {
        self.waits_for(|opening| *opening == Opening::Open).await;
    }
}

fn begin(settings: ValkeyStoreSettings, clock: Arc<dyn Clock>) -> (Store, Guard) {
    let (store, opener, progress) = open(settings, clock, Arc::new(SystemEntropy)).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(opener.run(stop.clone()));
    (store, Guard { stop, progress })
}

async fn opened(settings: ValkeyStoreSettings) -> (Store, Guard) {
    let (store, mut guard) = begin(settings, Arc::new(SystemClock));
    guard.opened().await;
    (store, guard)
}

mod over_a_cluster {
    use super::*;

    async fn fixture() -> (Store, Guard) {
        opened(settings(shared_cluster().await, Durability::Replicated)).await
    }

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}

mod over_one_server {
    use super::*;

    async fn fixture() -> (Store, Guard) {
        opened(settings(shared_single().await, Durability::Local)).await
    }

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

/// All ids up to an hour from now.
fn everything() -> IdRange {
    IdRange::later_than(UnixMillis(0), SystemClock.now_millis().plus(Duration::from_secs(3_600)))
}

/// Asks the one of a cluster's servers that has a key.
fn at_primary(valkey: &Valkey, key: &Key, words: &[&str]) -> String {
    let name = key.name();
    let words: Vec<&str> = words.iter().map(|word| if *word == "KEY" { &*name } else { *word }).collect();
    let answers = valkey.ports().into_iter().filter_map(|port| {
        let role = valkey.command(port, &["ROLE"]);
        let answer = valkey.command(port, &words);
        (role.starts_with("master") && !answer.contains("MOVED")).then_some(answer)
    });
    answers.last().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_of_messages_expires_when_it_may_and_not_before() {
    let valkey = shared_cluster().await;
    let (store, _guard) = opened(settings(valkey, Durability::Replicated)).await;
    let client = client();
    let now = SystemClock.now_millis();
    let sent = message_at(&client, now, &[client.user]);
    store.mailbox.put(&sent).await.unwrap();
    store.mailbox.add_fetched(&client, &[sent.id]).await.unwrap();

    let day = Day::of(now);
    let of_day = (day.end().0 + 15 * 86_400_000).to_string();
    let of_message = (now.0 + 15 * 86_400_000).to_string();
    for (key, until) in [
        (Key::Message(client.organization, sent.id), of_message),
        (Key::Mailbox(client.organization, client.user, day), of_day.clone()),
        (Key::Fetched(client, day), of_day),
    ] {
        assert_eq!(at_primary(valkey, &key, &["PEXPIRETIME", "KEY"]), until, "{key:?}");
    }
    store.registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    let places = Key::Places(client.organization, client.user);
    assert_eq!(at_primary(valkey, &places, &["PEXPIRETIME", "KEY"]), "-1", "a place stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_not_listed_though_its_day_is_still_there() {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let (store, mut guard) = begin(settings(shared_cluster().await, Durability::Replicated), Arc::clone(&clock) as _);
    guard.opened().await;
    let client = client();
    let now = clock.now_millis();
    let [older, newer] = [1_000, 0].map(|ago| {
        let time = now.minus(RETENTION).minus(Duration::from_secs(43_200)).minus(Duration::from_secs(ago));
        message_at(&client, time, &[client.user])
    });
    store.mailbox.put(&older).await.unwrap();
    store.mailbox.put(&newer).await.unwrap();
    let listed = async || {
        let items = store.mailbox.items(client.organization, client.user, everything(), 10).await.unwrap();
        items.into_iter().map(|item| item.id).collect::<Vec<_>>()
    };

    assert_eq!(listed().await, [older.id, newer.id]);
    // Half a day later the older one has expired by the service's clock, and the newer one has not.
    clock.advance(Duration::from_secs(43_200 - 500));
    assert_eq!(listed().await, [newer.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_on_over_days_and_are_the_same_while_a_slot_moves() {
    let valkey = blocking(|| Valkey::start(Mode::Cluster, &[PERSISTING])).await;
    let (store, _guard) = opened(settings(&valkey, Durability::Replicated)).await;
    let client = client();
    let now = SystemClock.now_millis();
    let mut ids: Vec<MessageId> = Vec::new();
    for hours in (0..72).step_by(12) {
        let sent = message_at(&client, now.minus(Duration::from_secs(hours * 3_600)), &[client.user]);
        store.mailbox.put(&sent).await.unwrap();
        ids.push(sent.id);
    }
    ids.sort_unstable();
    let page = async |limit| {
        let items = store.mailbox.items(client.organization, client.user, everything(), limit).await.unwrap();
        items.into_iter().map(|item| item.id).collect::<Vec<_>>()
    };
    for limit in 1..8 {
        assert_eq!(page(limit).await, ids[..limit.min(ids.len())]);
    }

    // The slot is on its way, and one of its days has arrived.
    let day = Key::Mailbox(client.organization, client.user, Day::of(ids[2].time()));
    let slot = valkey.command(valkey.ports()[0], &["CLUSTER", "KEYSLOT", &day.name()]);
    let id = |port: u16| valkey.command(port, &["CLUSTER", "MYID"]);
    let primaries: Vec<u16> =
        valkey.ports().into_iter().filter(|port| valkey.command(*port, &["ROLE"]).starts_with("master")).collect();
    let has = |port: &u16| valkey.command(*port, &["CLUSTER", "COUNTKEYSINSLOT", &slot]) != "0";
    let from = *primaries.iter().find(|port| has(port)).unwrap();
    let to = *primaries.iter().find(|port| **port != from).unwrap();
    assert_eq!(valkey.command(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]), "OK");
    assert_eq!(valkey.command(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]), "OK");
    let name = day.name();
    let moved = valkey.command(from, &["MIGRATE", "127.0.0.1", &to.to_string(), &name, "0", "5000"]);
    assert_eq!(moved, "OK");
    for limit in 1..8 {
        assert_eq!(page(limit).await, ids[..limit.min(ids.len())]);
    }
    let late = message_at(&client, ids[2].time(), &[client.user]);
    store.mailbox.put(&late).await.unwrap();
    ids.push(late.id);
    ids.sort_unstable();
    assert_eq!(page(100).await, ids);

    // And now it has arrived.
    let keys = valkey.command(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    for key in keys.lines() {
        assert_eq!(valkey.command(from, &["MIGRATE", "127.0.0.1", &to.to_string(), key, "0", "5000"]), "OK");
    }
    for port in [to, from] {
        assert_eq!(valkey.command(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]), "OK");
    }
    assert_eq!(page(100).await, ids);
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_messages_says_so_and_goes_on_when_there_is_room() {
    let valkey = blocking(|| Valkey::start(Mode::Single, &[PERSISTING, "--maxmemory", "12mb"])).await;
    let (store, _guard) = opened(settings(&valkey, Durability::Local)).await;
    let client = client();
    store.registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    let now = SystemClock.now_millis();
    let mut kept = Vec::new();
    let refused = loop {
        let mut sent = message_at(&client, now, &[client.user]);
        sent.content = vec![7; 100_000].into();
        match store.mailbox.put(&sent).await {
            Ok(()) => kept.push(sent),
            Err(StoreError::Full) => break sent,
            Err(error) => panic!("{error:?}"),
        }
        assert!(kept.len() < 1_000, "12 MB hold no 100 MB");
    };
    let ids = async || {
        let items = store.mailbox.items(client.organization, client.user, everything(), 1_000).await.unwrap();
        items.into_iter().map(|item| item.id).collect::<std::collections::BTreeSet<_>>()
    };

    let bound = |bytes: &str| {
        assert_eq!(valkey.command(valkey.ports()[0], &["CONFIG", "SET", "maxmemory", bytes]), "OK");
    };
    // Without any doubt, whatever was freed meanwhile.
    bound("1mb");
    // Nothing is written by half: no row is there of what was refused, and all is there of what was not.
    assert_eq!(ids().await, kept.iter().map(|sent| sent.id).collect());
    assert_eq!(store.mailbox.message(client.organization, kept[0].id).await.unwrap().as_ref(), Some(&kept[0]));
    // What makes room is done all the same.
    assert!(store.registry.free_place(&client).await.unwrap());
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };
    let appended = store.registry.append(client.organization, 0, &entry).await;
    assert!(matches!(appended, Err(StoreError::Full)), "{appended:?}");
    bound("100mb");
    store.mailbox.put(&refused).await.unwrap();
    assert!(ids().await.contains(&refused.id));
    assert_eq!(store.registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_are_loaded_where_a_server_does_not_know_them() {
    let valkey = blocking(|| Valkey::start(Mode::Single, &[PERSISTING])).await;
    let (store, _guard) = opened(settings(&valkey, Durability::Local)).await;
    let client = client();
    assert_eq!(valkey.command(valkey.ports()[0], &["FUNCTION", "FLUSH"]), "OK");

    assert_eq!(store.registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(valkey.command(valkey.ports()[0], &["FUNCTION", "FLUSH"]), "OK");
    assert!(store.mailbox.items(client.organization, client.user, everything(), 1).await.unwrap().is_empty());
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_put_on_disks_before_it_is_read_and_known_to_be_there_afterwards() {
    let valkey = blocking(|| Valkey::start(Mode::Single, &[PERSISTING])).await;
    let (store, _guard) = opened(settings(&valkey, Durability::Local)).await;
    let client = client();
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };
    store.registry.append(client.organization, 0, &entry).await.unwrap();
    let log = Key::Log(client.organization).name();
    let known = || valkey.command(valkey.ports()[0], &["HGET", &log, "c"]);
    let writes = || valkey.count("waitaof");

    assert_eq!(known(), "");
    let before = writes();
    assert_eq!(store.registry.log(client.organization, 0, 10).await.unwrap(), [(0, entry.clone())]);
    assert_eq!((known(), writes() > before), ("0".to_owned(), true));
    let before = writes();
    assert_eq!(store.registry.log(client.organization, 0, 10).await.unwrap(), [(0, entry)]);
    assert!(store.registry.log(client.organization, 1, 10).await.unwrap().is_empty());
    assert_eq!(writes(), before, "it is known to be on disks");
    blocking(move || drop(valkey)).await;
}
