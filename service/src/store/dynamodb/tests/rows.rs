//! Rows and contents: parts, pages, many recipients, and what has expired.

use bytes::Bytes;

use super::*;
use crate::clock::ManualClock;
use crate::store::StoredMessage;
use crate::store::dynamodb::contents::PART_BYTES;
use crate::store::dynamodb::settings::{CONTENT_BYTES_MAX, RECIPIENTS_MAX, STATEMENT_BYTES_MAX};

const DAY: Duration = Duration::from_secs(86_400);

fn with_content(bytes: usize) -> StoredMessage {
    let client = client();
    let content: Vec<u8> = (0..bytes).map(|at| (at % 251).to_le_bytes()[0]).collect();
    StoredMessage { content: Bytes::from(content), ..message_at(&client, SystemClock.now_millis(), &[client.user]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_of_all_sizes_are_kept_whole_in_as_few_parts_as_they_need() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (store, guard) = opened(settings).await;
    let table = &guard.connection.tables.messages;
    let mut items = 0;

    for (bytes, parts) in [
        (0, 1),
        (1, 1),
        (PART_BYTES, 1),
        (PART_BYTES + 1, 2),
        (3 * PART_BYTES, 3),
        (4 * PART_BYTES - 1, 4),
        (CONTENT_BYTES_MAX, CONTENT_BYTES_MAX / PART_BYTES),
    ] {
        let sent = with_content(bytes);
        store.mailbox.put(&sent).await.unwrap();
        store.mailbox.put(&sent).await.unwrap();

        assert_eq!(store.mailbox.message(sent.organization, sent.id).await.unwrap(), Some(sent), "{bytes} bytes");
        let now = guard.scan(table).await.len();
        assert_eq!(now - items, parts, "{bytes} bytes");
        items = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_whose_writing_broke_off_is_not_there_and_can_be_put_again() {
    let (store, guard, proxy) = proxied(shared_settings().await).await;
    let sent = with_content(4 * PART_BYTES);
    // All parts are written, and then nothing works any more.
    proxy.set(|asked| {
        let head = asked.is("PutItem", "message") && asked.body.contains("\"recipients\"");
        if head { Fate::Throttle("ThrottlingException") } else { Fate::Pass }
    });

    let refused = store.mailbox.put(&sent).await;
    let absent = store.mailbox.message(sent.organization, sent.id).await.unwrap();
    let unlisted = store.mailbox.items(sent.organization, sent.recipients[0], everything(), 10).await.unwrap();
    let sent_before = guard.sent();
    proxy.set(|_| Fate::Pass);
    store.mailbox.put(&sent).await.unwrap();

    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(sent_before.iter().filter(|request| **request == Request::PutPart).count(), 3);
    assert_eq!(sent_before.iter().filter(|request| **request == Request::PutMessage).count(), 6, "all attempts");
    assert!(absent.is_none() && unlisted.is_empty(), "a row is seen only where the content can be read");
    assert_eq!(store.mailbox.message(sent.organization, sent.id).await.unwrap(), Some(sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_that_the_settings_allow_fits_into_items() {
    let (store, _guard) = fixture().await;
    let (registry, client) = (&store.registry, client());
    let mut recipients: Vec<UserId> = (0..RECIPIENTS_MAX).map(|_| UserId::from_bytes(random())).collect();
    recipients.sort_unstable();
    let now = SystemClock.now_millis();
    let content = Bytes::from(vec![b'x'; PART_BYTES]);
    let sent = StoredMessage { content, ..message_at(&client, now, &recipients) };
    let entry = countersign_protocol::log::LogEntry {
        statement: "s".repeat(STATEMENT_BYTES_MAX - 4_096),
        signatures: vec!["t".repeat(2_048); 2],
    };

    store.mailbox.put(&sent).await.unwrap();
    registry.append(client.organization, u64::MAX, &entry).await.unwrap();

    assert_eq!(store.mailbox.message(client.organization, sent.id).await.unwrap().as_ref(), Some(&sent));
    for recipient in [recipients[0], recipients[RECIPIENTS_MAX - 1]] {
        let items = store.mailbox.items(client.organization, recipient, everything(), 10).await.unwrap();
        assert_eq!(items, [sent.item()]);
    }
    assert_eq!(registry.log(client.organization, 0, 10).await.unwrap(), [(u64::MAX, entry)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_longer_than_a_page_of_dynamodb_is_read_over_several() {
    let (store, guard) = fixture().await;
    let (registry, organization) = (&store.registry, client().organization);
    // A page ends after 1 MB.
    let entry = |number: u64| countersign_protocol::log::LogEntry {
        statement: number.to_string().repeat(200_000),
        signatures: Vec::new(),
    };
    for number in 0..9 {
        registry.append(organization, number, &entry(number)).await.unwrap();
    }
    guard.sent();

    let all = registry.log(organization, 0, 100).await.unwrap();
    let pages = guard.sent();
    let some = registry.log(organization, 2, 5).await.unwrap();

    assert_eq!(all, (0..9).map(|number| (number, entry(number))).collect::<Vec<_>>());
    assert!(pages.len() >= 2 && pages.iter().all(|request| *request == Request::QueryLog), "{pages:?}");
    assert_eq!(some, (2..7).map(|number| (number, entry(number))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_days_no_more_are_read_than_are_needed_and_of_empty_ones_several_at_once() {
    let (store, guard) = fixture().await;
    let (mailbox, client) = (&store.mailbox, client());
    let now = SystemClock.now_millis();
    let mut ids = Vec::new();
    for days in [14, 13, 0] {
        let sent = message_at(&client, now.minus(DAY * days), &[client.user]);
        mailbox.put(&sent).await.unwrap();
        ids.push(sent.id);
    }
    let range = IdRange::later_than(now.minus(DAY * 14).minus(Duration::from_millis(1)), now);
    guard.sent();

    let first = mailbox.items(client.organization, client.user, range, 1).await.unwrap();
    let of_first = guard.sent().len();
    let all = mailbox.items(client.organization, client.user, range, 10).await.unwrap();
    let of_all = guard.sent().len();

    assert_eq!(first.iter().map(|item| item.id).collect::<Vec<_>>(), ids[..1]);
    assert_eq!(all.iter().map(|item| item.id).collect::<Vec<_>>(), ids);
    assert_eq!((of_first, of_all), (1, 15), "a query a day");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_seen_for_a_day_after_retention_though_dynamodb_deletes_late() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let start = SystemClock.now_millis();
    let clock = Arc::new(ManualClock::at(UnixMicros(start.0 * 1_000)));
    let (store, mut guard) = begin(settings, Arc::clone(&clock) as _);
    guard.opened().await;
    let client = client();
    let old = message_at(&client, start, &[client.user]);
    let new = message_at(&client, start.plus(DAY), &[client.user]);
    for sent in [&old, &new] {
        store.mailbox.put(sent).await.unwrap();
        store.mailbox.add_fetched(&client, &[sent.id]).await.unwrap();
    }
    let everything = IdRange::later_than(UnixMillis(0), start.plus(20 * DAY));
    let ids = async || {
        let items = store.mailbox.items(client.organization, client.user, everything, 10).await.unwrap();
        let items: Vec<MessageId> = items.into_iter().map(|item| item.id).collect();
        assert_eq!(store.mailbox.fetched(&client, everything, 10).await.unwrap(), items);
        assert_eq!(store.mailbox.fetched_among(&client, &[old.id, new.id]).await.unwrap(), items);
        items
    };
    let tables = &guard.connection.tables;

    // The attribute that DynamoDB deletes by: not before the last moment at which it may be read.
    for table in [&tables.messages, &tables.mailbox, &tables.fetched] {
        let mut expire: Vec<u64> = Vec::new();
        for mut item in guard.scan(table).await {
            let Some(aws_sdk_dynamodb::types::AttributeValue::N(second)) = item.remove("expires") else {
                panic!("no number in {table}")
            };
            expire.push(second.parse().unwrap());
        }
        expire.sort_unstable();
        assert_eq!(expire, [15, 16].map(|days| start.plus(DAY * days).0 / 1_000 + 1), "{table}");
    }
    clock.set(UnixMicros((start.0 + 15 * 86_400_000) * 1_000));
    assert_eq!(ids().await, [old.id, new.id], "to the last millisecond");
    clock.set(UnixMicros((start.0 + 15 * 86_400_000 + 1) * 1_000));
    assert_eq!(ids().await, [new.id]);
    assert!(store.mailbox.message(client.organization, old.id).await.unwrap().is_none());
    assert_eq!(store.mailbox.message(client.organization, new.id).await.unwrap().as_ref(), Some(&new));
    // What nobody would read is not written: of years ago, DynamoDB would never delete it.
    store.mailbox.add_fetched(&client, &[message_at(&client, UnixMillis(1_000), &[client.user]).id]).await.unwrap();
    assert_eq!(guard.scan(&tables.fetched).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_seen_has_its_content_though_reads_are_eventually_consistent() {
    let settings = DynamodbSettings { consistent_reads: false, ..shared_settings().await };
    let (store, _guard, proxy) = proxied(settings).await;
    let sent = with_content(2 * PART_BYTES);
    store.mailbox.put(&sent).await.unwrap();
    // DynamoDB Local is never behind. An eventually consistent read that finds nothing looks so.
    proxy.set(|asked| match asked.operation {
        "GetItem" if !asked.body.contains("\"ConsistentRead\":true") => Fate::Blind,
        _ => Fate::Pass,
    });

    let read = store.mailbox.message(sent.organization, sent.id).await.unwrap();

    assert_eq!(read, Some(sent));
}
