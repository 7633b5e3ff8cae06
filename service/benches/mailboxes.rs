//! Mailboxes that hold few and many messages, and what a listing of each takes. For benchmarks of stores.

use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::ItemKind;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use countersign_service::clock::{Clock as _, Stopwatch, SystemClock};
use countersign_service::delivery::listing::{ListingTimes, list_new};
use countersign_service::entropy::{Entropy as _, SystemEntropy};
use countersign_service::ephemeral::ListingHints;
use countersign_service::store::{Store, StoredMessage};
use futures_util::stream::{self, StreamExt as _};
use hdrhistogram::Histogram;

/// Calls that are on their way at once while a store is filled.
pub(crate) const AT_ONCE: usize = 64;
/// Messages that are new in each listing.
pub(crate) const NEW: usize = 10;
/// Ids that are confirmed at once.
const CONFIRMED: usize = 10_000;

/// Reads a number from the environment.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Returns random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    bytes
}

/// Makes up a client of a user of an organization.
pub(crate) fn new_client() -> ClientAddress {
    ClientAddress {
        organization: OrganizationId::from_bytes(random()),
        user: UserId::from_bytes(random()),
        client: ClientId::from_bytes(random()),
    }
}

/// Makes a message of somebody to one user.
pub(crate) fn message(to: &ClientAddress, time: UnixMillis, content: &Bytes) -> StoredMessage {
    let sender = UserId::from_bytes(random());
    let digest = Sha256Digest::of(&random::<16>());
    StoredMessage {
        organization: to.organization,
        id: MessageId::of_message(&to.organization, &sender, time, &[to.user], &digest),
        kind: ItemKind::Message,
        sender,
        recipients: vec![to.user],
        of: None,
        content: content.clone(),
    }
}

/// Records how long something took, in nanoseconds: listings of a store in the same process take a few microseconds.
pub(crate) fn record(latency: &mut Histogram<u64>, took: Duration) {
    latency.record(u64::try_from(took.as_nanos()).unwrap()).unwrap();
}

/// Says the median and the 99th percentile of nanoseconds, in milliseconds.
pub(crate) fn of(latency: &Histogram<u64>) -> String {
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000_000.0;
    format!("p50 {:.3} ms, p99 {:.3} ms", at(0.5), at(0.99))
}

/// Fills a mailbox with messages of the last 13 days, all but the last few of them fetched.
pub(crate) async fn hold(store: &Store, held: usize) -> ClientAddress {
    let client = new_client();
    let content = Bytes::from_static(b"small");
    let now = SystemClock.now_millis();
    let step = Duration::from_secs(13 * 86_400) / u32::try_from(held).unwrap();
    let first = now.minus(Duration::from_secs(13 * 86_400 + 3_600));
    let times = (0..held).map(|number| first.plus(step * u32::try_from(number).unwrap()));
    let messages: Vec<StoredMessage> = times.map(|time| message(&client, time, &content)).collect();
    let watch = Stopwatch::start();
    let puts: Vec<_> = messages.iter().map(|message| store.mailbox.put(message)).collect();
    let mut puts = stream::iter(puts).buffer_unordered(AT_ONCE);
    while let Some(outcome) = puts.next().await {
        outcome.unwrap();
    }
    let ids: Vec<MessageId> = messages.iter().take(held - NEW).map(|message| message.id).collect();
    for chunk in ids.chunks(CONFIRMED) {
        store.mailbox.add_fetched(&client, chunk).await.unwrap();
    }
    eprintln!("{held} messages held and fetched in {:.1} s", watch.elapsed().as_secs_f64());
    client
}

/// Times listings of the new messages of a mailbox, `turns` times after as many to warm up; and before that, once, how long last known
/// good takes to be derived from nothing.
pub(crate) async fn listings(store: &Store, client: &ClientAddress, turns: usize) -> (Histogram<u64>, Duration) {
    let times = ListingTimes {
        now: SystemClock.now_millis(),
        inconsistent_window: Duration::from_secs(300),
        retention: Duration::from_secs(14 * 86_400),
        ahead: Duration::from_secs(30),
        reconcile_interval: Duration::from_secs(6 * 3_600),
        merge_interval: Duration::from_secs(30),
    };
    let watch = Stopwatch::start();
    let derived = list_new(&*store.mailbox, client, ListingHints::default(), 100, &times).await.unwrap();
    let derivation = watch.elapsed();
    assert_eq!(derived.items.len(), NEW);
    let hints = ListingHints { reconciled: Some(times.now), ..derived.hints };
    let mut latency = Histogram::<u64>::new(3).unwrap();
    for turn in 0..2 * turns {
        let watch = Stopwatch::start();
        let listed = list_new(&*store.mailbox, client, hints, 100, &times).await.unwrap();
        assert_eq!(listed.items.len(), NEW);
        if turn >= turns {
            record(&mut latency, watch.elapsed());
        }
    }
    (latency, derivation)
}
