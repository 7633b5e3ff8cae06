//! What the store in CQL costs: bytes of a row on disk, messages a second, and listings over few and many held.
//!
//! Starts a CQL server of one node by `scripts/cql.sh`, fills it through the store, has it write and compact everything,
//! and prints tables in Markdown. `docs/scylla.md` has the figures, and what follows from them for partitions.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BENCH_HELD` | 300000 | messages held by the larger of the two mailboxes that are listed |
//! | `BENCH_MESSAGES` | 20000 | messages of 1 KiB that are sent to many users |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

#[path = "../../tests/end_to_end/support/cql.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which start and stop nodes too")]
mod cql;
#[path = "../mailboxes.rs"]
mod mailboxes;

use std::sync::Arc;

use bytes::Bytes;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::two_man_rule::UserRecord;
use countersign_service::clock::{Clock as _, Stopwatch, SystemClock};
use countersign_service::config::{Settings, SettingsLayer};
use countersign_service::entropy::{Entropy as _, SystemEntropy};
use countersign_service::store::scylla::{StatementName, StatementObserver, create_schema, open};
use countersign_service::store::{Opening, Store};
use cql::CqlServer;
use futures_util::stream::{self, StreamExt as _};
use hdrhistogram::Histogram;
use mailboxes::{AT_ONCE, NEW, hold, listings, message, new_client, number, of, random, record};
use tokio_util::sync::CancellationToken;

/// Listings that are timed of each mailbox.
const LISTINGS: usize = 1_000;
/// Bytes of content of a message that is sent to many users.
const CONTENT: usize = 1_024;

struct Nobody;

impl StatementObserver for Nobody {
    fn executing(&self, _: StatementName) {}
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let server = tokio::task::spawn_blocking(CqlServer::shared).await.unwrap();
    let layer = SettingsLayer {
        store: Some(format!("scylla://{}/bench", server.address()).parse().unwrap()),
        scylla_replication: Some("1".parse().unwrap()),
        scylla_user: Some(CqlServer::user().to_owned()),
        scylla_password_file: Some(server.password_file()),
        ..SettingsLayer::default()
    };
    let settings = Settings::load(layer, None).unwrap().scylla().unwrap();
    create_schema(&settings, &SystemClock).await.unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let (store, opener, mut opening) = open(settings, clock, entropy, Arc::new(Nobody)).unwrap();
    tokio::spawn(opener.run(CancellationToken::new()));
    opening.wait_for(|opening| *opening == Opening::Open).await.unwrap();

    let (messages, held) = (number("BENCH_MESSAGES", 20_000), number("BENCH_HELD", 300_000));
    let rows = fill_registry(&store).await;
    send_to_many(&store, messages).await;
    let few = hold(&store, 1_000).await;
    let many = hold(&store, held).await;
    compare_listings(&store, [(1_000, few), (held, many)]).await;
    let rows = Rows {
        message: messages + 1_000 + held,
        mailbox: messages + 1_000 + held,
        fetched: 1_000 + held - 2 * NEW,
        content: messages * CONTENT,
        ..rows
    };
    tokio::task::spawn_blocking(move || sizes(server, &rows)).await.unwrap();
}

#[derive(Clone, Copy, Default)]
struct Rows {
    organization_log: usize,
    user_record: usize,
    client_place: usize,
    message: usize,
    mailbox: usize,
    fetched: usize,
    /// Bytes of contents in all messages.
    content: usize,
}

/// An organization with users whose certificates are as large as those of Curve25519 keys.
async fn fill_registry(store: &Store) -> Rows {
    const USERS: u64 = 2_000;
    let organization = OrganizationId::from_bytes(random());
    // What GnuPG's armor of random bytes would be: six bits in each character.
    let armored = |length: usize| -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = vec![0; length];
        SystemEntropy.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(alphabet[usize::from(byte & 63)])).collect()
    };
    for sequence in 0..USERS {
        let certificate = armored(1_100);
        let entry = LogEntry { statement: certificate.clone() + &armored(400), signatures: vec![armored(300); 2] };
        store.registry.append(organization, sequence, &entry).await.unwrap();
        let record = UserRecord {
            user: UserId::from_bytes(random()),
            certificate,
            fingerprint: Fingerprint::from_bytes(&random::<20>()).unwrap(),
            administrator: false,
            active: true,
            client_limit: None,
            changed: sequence,
            sessions_since: sequence,
        };
        store.registry.put_user(organization, &record).await.unwrap();
        let client = ClientAddress { organization, user: record.user, client: ClientId::from_bytes(random()) };
        store.registry.claim_place(&client, 5, SystemClock.now()).await.unwrap();
    }
    let users = usize::try_from(USERS).unwrap();
    Rows { organization_log: users, user_record: users, client_place: users, ..Rows::default() }
}

async fn send_to_many(store: &Store, messages: usize) {
    let users: Vec<ClientAddress> = (0..1_000).map(|_| new_client()).collect();
    let watch = Stopwatch::start();
    let sends: Vec<_> = (0..messages)
        .map(|number| {
            // Encrypted contents cannot be compressed.
            let content = Bytes::copy_from_slice(&random::<CONTENT>());
            let message = message(&users[number % users.len()], SystemClock.now_millis(), &content);
            async move {
                let watch = Stopwatch::start();
                store.mailbox.put(&message).await.unwrap();
                watch.elapsed()
            }
        })
        .collect();
    let mut latency = Histogram::<u64>::new(3).unwrap();
    let mut sends = stream::iter(sends).buffer_unordered(AT_ONCE);
    while let Some(took) = sends.next().await {
        record(&mut latency, took);
    }
    let rate = messages as f64 / watch.elapsed().as_secs_f64();
    println!(
        "{messages} messages of 1 KiB to one recipient each, {AT_ONCE} at once: {rate:.0} a second, {}",
        of(&latency)
    );
}

/// Prints what listings take of mailboxes that hold few and many.
async fn compare_listings(store: &Store, sides: [(usize, ClientAddress); 2]) {
    let mut medians = Vec::new();
    println!("\n| held | listing of {NEW} new | derivation of last known good |\n|--:|--:|--:|");
    for (held, client) in sides {
        let (latency, derivation) = listings(store, &client, LISTINGS).await;
        medians.push(latency.value_at_quantile(0.5) as f64);
        println!("| {held} | {} | {:.0} ms |", of(&latency), derivation.as_secs_f64() * 1_000.0);
    }
    println!("\nRatio of medians: {:.2}", medians[1] / medians[0]);
}

/// Prints what the server says of its files when everything is written and compacted.
fn sizes(server: &CqlServer, rows: &Rows) {
    server.nodetool(1, &["flush", "bench"]);
    server.nodetool(1, &["compact", "bench"]);
    println!(
        "\n| table | rows | bytes a row on disk, besides content | largest partition, bytes |\n|---|--:|--:|--:|"
    );
    for (table, count, content) in [
        ("organization_log", rows.organization_log, 0),
        ("user_record", rows.user_record, 0),
        ("client_place", rows.client_place, 0),
        ("message", rows.message, rows.content),
        ("mailbox", rows.mailbox, 0),
        ("fetched", rows.fetched, 0),
    ] {
        let said = server.nodetool(1, &["tablestats", &format!("bench.{table}")]);
        let figure = |name: &str| -> f64 {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in\n{said}")).trim().parse().unwrap()
        };
        let bytes = (figure("Space used (live)") - content as f64) / count as f64;
        println!("| {table} | {count} | {bytes:.0} | {:.0} |", figure("Compacted partition maximum bytes"));
    }
}
