//! How many bytes of memory a message takes beyond its content: the table in `docs/valkey-store.md`.
//!
//! `cargo test --features store-valkey -p countersign-service --lib -- --ignored --nocapture what_a_message_takes`

#![expect(clippy::cast_precision_loss, reason = "a measurement is rounded anyway")]

use std::fmt::Write as _;

use countersign_protocol::body::ItemKind;

use super::*;

/// Days that are measured: more do not change what one takes.
const DAYS: u64 = 3;
const CONTENT: usize = 1_024;

/// What one message takes, in bytes: its content's key beyond the content, its row, its mark of having been fetched.
struct Taken {
    content: f64,
    row: f64,
    fetched: f64,
}

fn used(valkey: &Valkey) -> f64 {
    let info = valkey.command(valkey.ports()[0], &["INFO", "memory"]);
    let number = |name: &str| crate::valkey::info::field(&info, name).unwrap().parse::<f64>().unwrap();
    // Without what connections have read and not yet done.
    number("used_memory") - number("mem_clients_normal")
}

/// Writes the messages of some mailboxes, step by step, and looks at the server's memory after each.
async fn measure(a_day: u64, mailboxes: u64, options: &'static [&'static str]) -> Taken {
    let valkey = blocking(|| Valkey::start(Mode::Single, options)).await;
    let (store, guard) = opened(settings(&valkey, Durability::Memory)).await;
    let now = SystemClock.now_millis();
    let clients: Vec<ClientAddress> = (0..mailboxes).map(|_| client()).collect();
    let times: Vec<UnixMillis> =
        (0..DAYS * a_day).map(|number| now.minus(Duration::from_millis(number * 86_400_000 / a_day))).collect();
    let total = (mailboxes * DAYS * a_day) as f64;
    let mut messages = Vec::new();
    for client in &clients {
        for time in &times {
            let mut sent = message_at(client, *time, &[client.user]);
            sent.content = vec![7; CONTENT].into();
            messages.push((*client, sent));
        }
    }
    let before = used(&valkey);
    // Contents alone: of nobody.
    for chunk in messages.chunks(64) {
        let puts = chunk.iter().map(|(_, sent)| {
            let mut alone = sent.clone();
            alone.recipients.clear();
            let store = &store;
            async move { store.mailbox.put(&alone).await }
        });
        futures_util::future::try_join_all(puts).await.unwrap();
    }
    let contents = used(&valkey);
    // Then as they are: a recipient more in the content is 16 bytes, which is counted with the row.
    for chunk in messages.chunks(64) {
        futures_util::future::try_join_all(chunk.iter().map(|(_, sent)| store.mailbox.put(sent))).await.unwrap();
    }
    let rows = used(&valkey);
    for client in &clients {
        let ids: Vec<MessageId> = messages.iter().filter(|(of, _)| of == client).map(|(_, sent)| sent.id).collect();
        for chunk in ids.chunks(10) {
            store.mailbox.add_fetched(client, chunk).await.unwrap();
        }
    }
    let fetched = used(&valkey);
    assert!(messages.iter().all(|(_, sent)| sent.kind == ItemKind::Message));
    drop(guard);
    blocking(move || drop(valkey)).await;
    Taken {
        content: (contents - before) / total - CONTENT as f64,
        row: (rows - contents) / total,
        fetched: (fetched - rows) / total,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_message_takes() {
    let mut table = String::from(
        "| messages a day of a mailbox | `zset-max-listpack-entries` | content | row | fetched, for each client |\n|--:|--:|--:|--:|--:|\n",
    );
    let larger: &[&str] = &["--zset-max-listpack-entries", "1024"];
    for (a_day, mailboxes, options, entries) in
        [(100, 100, &[][..], 128), (1_000, 10, &[], 128), (1_000, 10, larger, 1_024)]
    {
        let Taken { content, row, fetched } = measure(a_day, mailboxes, options).await;
        writeln!(table, "| {a_day} | {entries} | {content:.0} | {row:.0} | {fetched:.0} |").unwrap();
        // The bound that the page promises.
        assert!(content + row + fetched < 700.0, "{content} {row} {fetched}");
    }
    println!("{table}");
}
