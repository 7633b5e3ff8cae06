//! Too little capacity: throttling, and batches that are done by half.

use super::*;
use crate::deadline::Deadline;
use crate::store::{Append, Claim};

/// All errors that say that there is too much to do.
const THROTTLED: [&str; 3] =
    ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_throttled_for_a_while_succeed() {
    let (store, guard, proxy) = proxied(shared_settings().await).await;
    let (registry, mailbox) = (&store.registry, &store.mailbox);
    for error in THROTTLED {
        // Of each operation, every third attempt passes; there is never more than one request under way.
        let mut attempts: std::collections::HashMap<String, u32> = std::collections::HashMap::new();
        proxy.set(move |asked| {
            let attempts = attempts.entry(asked.operation.to_owned()).or_default();
            *attempts += 1;
            if attempts.is_multiple_of(3) { Fate::Pass } else { Fate::Throttle(error) }
        });
        let client = client();
        let now = SystemClock.now_millis();
        let of_now = IdRange::later_than(now.minus(Duration::from_millis(1)), now);
        let sent = message_at(&client, now, &[client.user]);
        let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };
        guard.sent();

        mailbox.put(&sent).await.unwrap();
        assert_eq!(guard.sent(), [[Request::PutMessage; 3], [Request::WriteItems; 3]].concat(), "{error}");
        mailbox.add_fetched(&client, &[sent.id]).await.unwrap();
        assert_eq!(mailbox.fetched_among(&client, &[sent.id]).await.unwrap(), [sent.id]);
        let items = mailbox.items(client.organization, client.user, of_now, 10).await.unwrap();
        assert_eq!(items, [sent.item()]);
        assert_eq!(mailbox.message(client.organization, sent.id).await.unwrap(), Some(sent));
        assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
        assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
        assert!(registry.free_place(&client).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_throttled_for_good_gives_up_after_its_attempts_and_has_done_nothing() {
    let settings = DynamodbSettings { attempts: NonZeroU32::new(3).unwrap(), ..shared_settings().await };
    let (store, guard, proxy) = proxied(settings).await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    for error in THROTTLED {
        proxy.set(move |_| Fate::Throttle(error));
        guard.sent();

        let refused = store.mailbox.put(&sent).await;

        let Err(StoreError::Unavailable(cause)) = refused else { panic!("{refused:?}") };
        assert_eq!(cause.to_string(), "DynamoDB did not do PutMessage");
        assert_eq!(guard.sent(), [Request::PutMessage; 3]);
    }
    proxy.set(|_| Fate::Pass);
    assert!(store.mailbox.message(client.organization, sent.id).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_repeating_cannot_help_is_not_repeated() {
    let (store, guard, proxy) = proxied(shared_settings().await).await;
    let client = client();
    proxy.set(|_| Fate::Throttle("AccessDeniedException"));
    guard.sent();

    let refused = store.registry.clients(client.organization, client.user).await;

    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(guard.sent(), [Request::GetPlaces]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_are_left_unprocessed_are_sent_again_until_none_is() {
    let (store, guard, proxy) = proxied(shared_settings().await).await;
    let client = client();
    let now = SystemClock.now_millis();
    let everyone: Vec<UserId> = (0..60).map(|_| UserId::from_bytes(random())).collect();
    let sent = message_at(&client, now, &everyone);
    let ids: Vec<MessageId> = (0..100).map(|_| message_at(&client, now, &[client.user]).id).collect();
    // Of every batch that is not small, half is done: of twenty-five twelve, of thirteen six, of seven three.
    proxy.set(move |asked| {
        let half = asked.operation.starts_with("Batch") && asked.body.matches("\"id\"").count() > 4;
        if half { Fate::HalfUnprocessed } else { Fate::Pass }
    });
    guard.sent();

    store.mailbox.put(&sent).await.unwrap();
    store.mailbox.add_fetched(&client, &ids).await.unwrap();
    let written = guard.sent();
    let found = store.mailbox.fetched_among(&client, &ids).await.unwrap();
    let found_again = store.mailbox.fetched_among(&client, &ids).await.unwrap();
    let read = guard.sent();

    for recipient in everyone {
        let items = store.mailbox.items(client.organization, recipient, everything(), 10).await.unwrap();
        assert_eq!(items, [sent.item()]);
    }
    let mut ids = ids;
    ids.sort_unstable();
    assert_eq!((&found, &found_again), (&ids, &ids));
    let of = |requests: &[Request], one| requests.iter().filter(|request| **request == one).count();
    // 25, 13, 7, 4; of the last ten, 10, 5, 3. And 100, 50, 25, 13, 7, 4, twice.
    assert_eq!((of(&written, Request::WriteItems), of(&written, Request::WriteFetched)), (11, 16), "{written:?}");
    assert_eq!(of(&read, Request::GetFetched), 12, "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_are_never_processed_end_a_call_with_an_error() {
    let settings = DynamodbSettings { attempts: NonZeroU32::new(3).unwrap(), ..shared_settings().await };
    let (store, guard, proxy) = proxied(settings).await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    proxy.set(|asked| if asked.operation.starts_with("Batch") { Fate::HalfUnprocessed } else { Fate::Pass });
    guard.sent();

    let refused = store.mailbox.put(&sent).await;
    let written = guard.sent();
    let unread = store.mailbox.fetched_among(&client, &[sent.id]).await;

    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(written, [&[Request::PutMessage][..], &[Request::WriteItems; 3]].concat());
    assert!(matches!(unread, Err(StoreError::Unavailable(_))), "{unread:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_end_with_the_time_of_the_request() {
    let settings = DynamodbSettings { attempts: NonZeroU32::new(1_000).unwrap(), ..shared_settings().await };
    let (store, _guard, proxy) = proxied(settings).await;
    let client = client();
    proxy.set(|_| Fate::Throttle("ThrottlingException"));

    let deadline = Deadline::at(tokio::time::sleep(Duration::from_millis(300)).deadline());
    let refused = deadline.scope(store.registry.clients(client.organization, client.user)).await;

    assert!(matches!(refused, Err(StoreError::Timeout)), "{refused:?}");
}
