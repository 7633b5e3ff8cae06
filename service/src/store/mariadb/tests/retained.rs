//! Retention: what has expired is not seen, and is deleted; nothing else is.

use super::*;
use crate::clock::ManualClock;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_seen_and_kept_for_a_day_after_retention_and_deleted_then() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let start = SystemClock.now_millis();
    let clock = Arc::new(ManualClock::at(UnixMicros(start.0 * 1_000)));
    // Opened here, and not in the background, where it would delete what has expired too.
    let (store, opener, _) = open(settings.clone(), Arc::clone(&clock) as _, Arc::new(SystemEntropy)).unwrap();
    let live = opener.try_open().await.unwrap_or_else(|_| panic!("the store cannot be opened"));
    assert!(opener.connection.live.set(live).is_ok());
    let client = client();
    let old = message_at(&client, start, &[client.user]);
    let new = message_at(&client, start.plus(DAY), &[client.user]);
    for sent in [&old, &new] {
        store.mailbox.put(sent).await.unwrap();
    }
    // An old one that is confirmed after a new one: its row stands behind the other's.
    store.mailbox.add_fetched(&client, &[new.id]).await.unwrap();
    store.mailbox.add_fetched(&client, &[old.id]).await.unwrap();
    let everything = IdRange::later_than(UnixMillis(0), start.plus(100 * DAY));
    let ids = async || {
        let items = store.mailbox.items(client.organization, client.user, everything, 10).await.unwrap();
        let items: Vec<MessageId> = items.into_iter().map(|item| item.id).collect();
        assert_eq!(store.mailbox.fetched(&client, everything, 10).await.unwrap(), items);
        assert_eq!(store.mailbox.fetched_among(&client, &[old.id, new.id]).await.unwrap(), items);
        items
    };
    let mut look = look(&settings).await;
    let sweep = async |oldest| {
        let mut connection = self::look(&settings).await;
        retention::sweep(&mut connection, &settings.address.database, oldest).await.unwrap()
    };

    clock.set(UnixMicros((start.0 + 15 * 86_400_000) * 1_000));
    assert_eq!(ids().await, [old.id, new.id], "to the last millisecond");
    let none = sweep(opener.connection.oldest()).await;
    clock.set(UnixMicros((start.0 + 15 * 86_400_000 + 1) * 1_000));
    assert_eq!(ids().await, [new.id]);
    assert!(store.mailbox.message(client.organization, old.id).await.unwrap().is_none());
    assert_eq!(store.mailbox.message(client.organization, new.id).await.unwrap().as_ref(), Some(&new));
    let one = sweep(opener.connection.oldest()).await;

    assert_eq!(none, Some(vec![("message", 0), ("mailbox", 0), ("fetched", 0)]));
    assert_eq!(one, Some(vec![("message", 1), ("mailbox", 1), ("fetched", 1)]));
    for table in ["message", "mailbox", "fetched"] {
        assert_eq!(count(&mut look, table).await, 1, "{table}");
    }
    assert_eq!(ids().await, [new.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_deleted_in_bounded_batches_across_gaps_and_by_one_pod_at_a_time() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (mut look, mut other) = (look(&settings).await, look(&settings).await);
    let old =
        "organization, user, id, kind, sender, size) SELECT 'o', 'u', UNHEX(LPAD(HEX(seq), 32, '0')), 0, 's', 0";
    look.query_drop(format!("INSERT INTO mailbox ({old} FROM seq_1_to_2500")).await.unwrap();
    // As deleted and refused rows leave it: positions far from each other.
    look.query_drop("ALTER TABLE mailbox AUTO_INCREMENT = 1000000").await.unwrap();
    look.query_drop(format!("INSERT INTO mailbox ({old} FROM seq_3001_to_3500")).await.unwrap();
    look.query_drop(format!("INSERT INTO mailbox ({old} FROM seq_9000_to_9009")).await.unwrap();
    let oldest = u128::from(9_000_u32).to_be_bytes();
    let database = &settings.address.database;
    let turn = format!("SELECT GET_LOCK('countersign_sweep_{database}', 0)");
    assert_eq!(other.query_first::<i32, _>(turn).await.unwrap(), Some(1));

    let refused = retention::sweep(&mut look, database, oldest).await.unwrap();
    other.disconnect().await.unwrap();
    let swept = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            // The server notices a moment later that the other is gone.
            if let Some(swept) = retention::sweep(&mut look, database, oldest).await.unwrap() {
                return swept;
            }
        }
    });
    let swept = swept.await.unwrap();

    assert_eq!(refused, None);
    assert_eq!(swept[1], ("mailbox", 3_000));
    assert_eq!(count(&mut look, "mailbox").await, 10);
}
