//! The conformance suite over a real server and a real cluster, and what happens when these fail.

mod faults;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use redis::Value;
use rustix::process::Signal;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::functions::{Call, Function};
use super::keys::Key;
use super::link::Unobserved;
use super::{ValkeyEphemeral, ValkeySettings, check};
use crate::clock::{Clock as _, SystemClock};
use crate::entropy::SystemEntropy;
use crate::ephemeral::conformance::{client, random};
use crate::ephemeral::{
    Admission, Ephemeral, Learned, ListingHints, ListingState, MarkMove, Memory, Needs, Recency, Session, SessionId,
    conformance,
};
use crate::valkey::Access;
use crate::valkey::server::{Mode, Valkey};

const MEMORY: Memory = Memory { nonces: Duration::from_secs(60), arrivals: Duration::from_secs(300) };
/// How long anything may take that must happen, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(60);

fn settings(url: &str) -> ValkeySettings {
    ValkeySettings {
        access: Access {
            url: url.parse().unwrap(),
            password: None,
            certificate_authority: None,
            connect_timeout: Duration::from_secs(5),
        },
        response_timeout: Duration::from_secs(5),
        memory: MEMORY,
        cached_sessions: 1_000,
    }
}

/// A pod's view, which stops when it is dropped.
struct Pod {
    ephemeral: Arc<ValkeyEphemeral>,
    stop: DropGuard,
}

impl std::ops::Deref for Pod {
    type Target = ValkeyEphemeral;

    fn deref(&self) -> &ValkeyEphemeral {
        &self.ephemeral
    }
}

async fn pod_with(settings: ValkeySettings) -> Pod {
    let stop = CancellationToken::new();
    let ephemeral =
        ValkeyEphemeral::open(settings, Arc::new(SystemEntropy), Arc::new(Unobserved), &TaskTracker::new(), &stop)
            .await;
    Pod { ephemeral: Arc::new(ephemeral), stop: stop.drop_guard() }
}

async fn pod(valkey: &Valkey) -> Pod {
    pod_with(settings(&valkey.url())).await
}

/// A pod that finds out soon that a server hangs.
async fn impatient_pod(valkey: &Valkey) -> Pod {
    let timeout = Duration::from_secs(1);
    let settings = settings(&valkey.url());
    let access = Access { connect_timeout: timeout, ..settings.access };
    pod_with(ValkeySettings { access, response_timeout: timeout, ..settings }).await
}

async fn shared(mode: Mode) -> (Arc<dyn Ephemeral>, DropGuard) {
    let Pod { ephemeral, stop } = pod(Valkey::shared(mode)).await;
    (ephemeral, stop)
}

mod single {
    use super::*;

    async fn fixture() -> (Arc<dyn Ephemeral>, DropGuard) {
        shared(Mode::Single).await
    }

    conformance::ephemeral_suite!(fixture);
}

mod cluster {
    use super::*;

    async fn fixture() -> (Arc<dyn Ephemeral>, DropGuard) {
        shared(Mode::Cluster).await
    }

    conformance::ephemeral_suite!(fixture);
}

// === Fixtures ===

fn now() -> UnixMicros {
    SystemClock.now()
}

async fn begin(pod: &Pod, client: &ClientAddress) -> SessionId {
    let session = Session {
        id: SessionId(random()),
        key: SessionKey::from_bytes(random()),
        expires: now().plus(Duration::from_secs(86_400)),
        since: 0,
    };
    let id = session.id;
    pod.begin_session(client, session, now()).await.unwrap();
    id
}

fn item(client: &ClientAddress, content: &[u8]) -> Item {
    let from = UserId::from_bytes(random());
    let time = SystemClock.now_millis();
    let digest = Sha256Digest::of(content);
    let id = MessageId::of_message(&client.organization, &from, time, &[client.user], &digest);
    Item { id, kind: ItemKind::Message, from, of: None, size: content.len() as u64 }
}

async fn arrive(pod: &Pod, client: &ClientAddress, item: &Item) {
    pod.arrived(client.organization, &[client.user], item, now()).await.unwrap();
}

fn nonce() -> Nonce {
    Nonce::at(now())
}

async fn admit(pod: &Pod, client: &ClientAddress, session: SessionId) -> Admission {
    pod.admit(client, session, nonce(), Needs::ListingState).await.unwrap()
}

fn state(admission: Admission) -> ListingState {
    match admission {
        Admission::Admitted(state) => state,
        refused => panic!("{refused:?}"),
    }
}

/// Sets the client's mark where the arrivals end.
async fn catch_up(pod: &Pod, client: &ClientAddress, session: SessionId) {
    let arrivals = pod.listing_state(client, session).await.unwrap().unwrap().arrivals.unwrap();
    let moved = MarkMove { from: arrivals.mark, to: Some(arrivals.end) };
    pod.remember(client, &Learned { hints: ListingHints::default(), mark: Some(moved) }).await.unwrap();
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
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// Who has the slot of a client: port and id of the primary.
fn primary_of(valkey: &Valkey, asked: u16, client: &ClientAddress) -> (u16, String) {
    let slot: u32 = slot_of(valkey, asked, client).parse().unwrap();
    for line in valkey.command(asked, &["CLUSTER", "NODES"]).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let has_slot = words[8.min(words.len())..].iter().filter(|word| !word.starts_with('[')).any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot)
        });
        if words[2].contains("master") && has_slot {
            let port = words[1].split(['@', ':']).nth(1).unwrap();
            return (port.parse().unwrap(), words[0].to_owned());
        }
    }
    panic!("nobody has slot {slot}");
}

fn slot_of(valkey: &Valkey, asked: u16, client: &ClientAddress) -> String {
    let key = Key::Clients(client.organization, client.user).to_string();
    valkey.command(asked, &["CLUSTER", "KEYSLOT", &key])
}

/// Waits until every replica has what its primary has.
async fn replicated(valkey: &Valkey) {
    eventually("replicas are up to date", async || {
        let up_to_date = valkey.command_all(&["INFO", "replication"]).iter().all(|info| {
            let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name).map(str::to_owned));
            let Some(own) = field("master_repl_offset:") else { return false };
            field("role:").as_deref() != Some("master")
                || field("slave0:").is_some_and(|replica| replica.contains(&format!("offset={own},")))
        });
        up_to_date.then_some(())
    })
    .await;
}

// === What is special about many processes ===

#[tokio::test]
async fn a_call_that_the_library_repeats_is_admitted_once_and_a_replay_is_not() {
    let pod = pod(Valkey::shared(Mode::Single)).await;
    let client = client();
    let session = begin(&pod, &client).await;
    let keys = [Key::Clients(client.organization, client.user)];
    let admit = async |nonce: &str, attempt: &[u8; 8]| {
        let arguments: [&[u8]; 4] = [client.client.as_bytes(), &session.0, nonce.as_bytes(), attempt];
        pod.library.call(&pod.link, &Call { function: Function::Admit, keys: &keys, arguments: &arguments }).await
    };

    assert_eq!(admit("1795400000000000", b"attempt1").await.unwrap(), Value::Int(1));
    assert_eq!(admit("1795400000000000", b"attempt1").await.unwrap(), Value::Int(1));
    assert_eq!(admit("1795400000000000", b"attempt2").await.unwrap(), Value::Int(-1));
    assert_eq!(admit("1795400000000001", b"attempt2").await.unwrap(), Value::Int(1));
    assert_eq!(admit("1795400000000000", b"attempt1").await.unwrap(), Value::Int(-1));
}

#[tokio::test]
async fn a_session_that_another_pod_replaced_or_ended_is_refused_though_this_one_remembers_it() {
    let valkey = Valkey::shared(Mode::Single);
    let (one, other) = (pod(valkey).await, pod(valkey).await);
    let client = client();
    let first = begin(&one, &client).await;
    let remembered = |pod: &Pod| {
        let pod = Arc::clone(&pod.ephemeral);
        async move { pod.session(&client, now(), Recency::Any).await.unwrap().map(|session| session.id) }
    };
    assert_eq!(remembered(&one).await, Some(first));

    let second = begin(&other, &client).await;

    assert_eq!(remembered(&one).await, Some(first), "the test is of a session that is remembered");
    assert_eq!(admit(&one, &client, first).await, Admission::SessionUnknown);
    assert_eq!(remembered(&one).await, Some(second), "forgotten once it is refused");
    assert!(matches!(admit(&one, &client, second).await, Admission::Admitted(_)));
    other.end_sessions(client.organization, client.user).await.unwrap();
    assert_eq!(admit(&one, &client, second).await, Admission::SessionUnknown);
    assert_eq!(remembered(&one).await, None);
    let third = begin(&other, &client).await;
    let recent = one.session(&client, now(), Recency::Now).await.unwrap();
    assert_eq!(recent.map(|session| session.id), Some(third));
    other.end_session(&client).await.unwrap();
    assert_eq!(one.listing_state(&client, third).await.unwrap(), None);
}

#[tokio::test]
async fn what_one_pod_appends_wakes_who_waits_at_another() {
    let valkey = Valkey::shared(Mode::Cluster);
    let (one, other) = (pod(valkey).await, pod(valkey).await);
    let client = client();
    let session = begin(&one, &client).await;
    catch_up(&one, &client, session).await;
    let mut waiter = other.wake_up(client.organization, client.user).await.unwrap();

    let sent = item(&client, b"hello");
    arrive(&one, &client, &sent).await;

    tokio::time::timeout(SOON, waiter.awakened()).await.unwrap();
    let arrivals = other.listing_state(&client, session).await.unwrap().unwrap().arrivals.unwrap();
    assert_eq!(arrivals.after.iter().map(|arrival| arrival.item).collect::<Vec<_>>(), [sent]);
    drop(waiter);
    other.sweep(now()).await;
    let waiting = valkey.command_all(&["PUBSUB", "SHARDCHANNELS", "*"]);
    let channel = Key::WakeUps(client.organization, client.user).to_string();
    assert!(!waiting.iter().any(|channels| channels.contains(&channel)), "nobody waits any more");
}

#[tokio::test]
async fn arrivals_are_forgotten_in_time_and_a_mark_behind_them_is_not_relied_on() {
    let memory = Memory { arrivals: Duration::from_millis(200), ..MEMORY };
    let valkey = Valkey::shared(Mode::Single);
    let pod = pod_with(ValkeySettings { memory, ..settings(&valkey.url()) }).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;
    arrive(&pod, &client, &item(&client, b"early")).await;

    let arrivals = eventually("the arrival is forgotten", async || {
        let state = pod.listing_state(&client, session).await.unwrap().unwrap();
        state.arrivals.filter(|arrivals| arrivals.after.is_empty())
    })
    .await;
    assert_eq!(arrivals.mark, None);

    catch_up(&pod, &client, session).await;
    let late = item(&client, b"late");
    arrive(&pod, &client, &late).await;
    let state = pod.listing_state(&client, session).await.unwrap().unwrap();
    let arrivals = state.arrivals.unwrap();
    assert!(arrivals.mark.is_some());
    assert_eq!(arrivals.after.iter().map(|arrival| arrival.item).collect::<Vec<_>>(), [late]);
}

#[tokio::test]
async fn lost_arrivals_begin_a_new_epoch() {
    let valkey = Valkey::shared(Mode::Single);
    let pod = pod(valkey).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;
    arrive(&pod, &client, &item(&client, b"one")).await;
    let arrivals = Key::Arrivals(client.organization, client.user).to_string();
    let look = async || pod.listing_state(&client, session).await.unwrap().unwrap().arrivals;
    let before = look().await.unwrap();

    // Found by who lists.
    valkey.command(valkey.ports()[0], &["DEL", &arrivals]);
    assert_eq!(look().await, None);
    let after = look().await.unwrap();
    assert_eq!((after.mark, after.after.len()), (None, 0));
    assert!(after.end.epoch != before.end.epoch);

    // Found by who appends.
    catch_up(&pod, &client, session).await;
    arrive(&pod, &client, &item(&client, b"two")).await;
    assert!(look().await.unwrap().mark.is_some());
    valkey.command(valkey.ports()[0], &["DEL", &arrivals]);
    arrive(&pod, &client, &item(&client, b"three")).await;
    let found = look().await.unwrap();
    assert_eq!((found.mark, found.after.len()), (None, 1));
    assert!(found.end.epoch != after.end.epoch);
}

#[tokio::test]
async fn every_key_expires() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let pod = pod(&valkey).await;
    let [lasting, asked, waiting] = [client(), client(), client()];
    let session = begin(&pod, &lasting).await;
    catch_up(&pod, &lasting, session).await;
    arrive(&pod, &lasting, &item(&lasting, b"hello")).await;
    pod.admit_password(&asked, nonce(), now()).await.unwrap();
    arrive(&pod, &waiting, &item(&waiting, b"to nobody")).await;
    pod.remember(&waiting, &Learned::default()).await.unwrap();
    pod.end_session(&waiting).await.unwrap();

    let port = valkey.ports()[0];
    let keys = valkey.command(port, &["KEYS", "*"]);
    assert_eq!(keys.lines().count(), 3, "{keys}");
    for key in keys.lines() {
        let left: i64 = valkey.command(port, &["PTTL", key]).parse().unwrap();
        let most =
            if key.contains(&lasting.user.to_string()) && key.ends_with("clients") { 86_460_000 } else { 300_000 };
        assert!((1..=most).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn what_ended_is_forgotten_when_another_session_begins() {
    let valkey = Valkey::shared(Mode::Single);
    let pod = pod(valkey).await;
    let first = client();
    let second = ClientAddress { client: ClientId::from_bytes(random()), ..first };
    let session = begin(&pod, &first).await;
    assert!(matches!(admit(&pod, &first, session).await, Admission::Admitted(_)));
    pod.admit_password(&first, nonce(), now()).await.unwrap();
    let key = Key::Clients(first.organization, first.user).to_string();
    let fields = || valkey.command(valkey.ports()[0], &["HLEN", &key]);
    assert_eq!(fields(), "4", "session, state, password nonce, sequence");

    let later = now().plus(Duration::from_secs(86_400 + 61));
    let session = Session {
        id: SessionId(random()),
        key: SessionKey::from_bytes(random()),
        expires: later.plus(Duration::from_secs(60)),
        since: 0,
    };
    pod.begin_session(&second, session, later).await.unwrap();

    assert_eq!(fields(), "2", "the new session, and the sequence");
}

#[tokio::test]
async fn each_step_is_as_many_commands_as_the_design_says() {
    let valkey = Valkey::start(Mode::Single, &[]);
    let (pod, second) = (pod(&valkey).await, pod(&valkey).await);
    let client = client();
    let commands =
        || ["fcall", "hget", "hdel", "ssubscribe", "sunsubscribe", "function|load"].map(|name| valkey.count(name));
    let mut before = commands();
    let mut since = || {
        let now = commands();
        let counted: Vec<u64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        before = now;
        counted
    };

    let session = begin(&pod, &client).await;
    assert_eq!(since(), [2, 0, 0, 0, 0, 1], "the first call finds no functions, and loads them");
    pod.session(&client, now(), Recency::Any).await.unwrap();
    assert_eq!(since(), [0, 0, 0, 0, 0, 0], "the pod that gave out a key has it");
    for expected in [1, 0, 0] {
        second.session(&client, now(), Recency::Any).await.unwrap();
        assert_eq!(since(), [0, expected, 0, 0, 0, 0], "another pod asks for it once");
    }
    for needs in [Needs::Nothing, Needs::ListingState, Needs::ListingState] {
        pod.admit(&client, session, nonce(), needs).await.unwrap();
        assert_eq!(since(), [1, 0, 0, 0, 0, 0], "every request is one");
    }
    let recipients: Vec<UserId> = (0..7).map(|_| UserId::from_bytes(random())).chain([client.user]).collect();
    pod.arrived(client.organization, &recipients, &item(&client, b"to eight"), now()).await.unwrap();
    assert_eq!(since(), [8, 0, 0, 0, 0, 0], "an append for each recipient");
    catch_up(&pod, &client, session).await;
    assert_eq!(since(), [2, 0, 0, 0, 0, 0], "a look and a hint");
    let waiters = [
        pod.wake_up(client.organization, client.user).await.unwrap(),
        pod.wake_up(client.organization, client.user).await.unwrap(),
    ];
    assert_eq!(since(), [0, 0, 0, 1, 0, 0], "who waits for one user shares one subscription");
    drop(waiters);
    pod.sweep(now()).await;
    assert_eq!(since(), [0, 0, 0, 0, 1, 0]);
    pod.end_session(&client).await.unwrap();
    assert_eq!(since(), [0, 0, 1, 0, 0, 0]);
}
