//! Answers that are lost: what was done is done once, and is told as done.

use super::*;
use crate::store::{Append, Claim};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_was_lost_is_told_as_done() {
    let (store, _guard, proxy) = proxied(shared_settings().await).await;
    let (registry, mailbox, client) = (&store.registry, &store.mailbox, client());
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: vec!["t".to_owned()] };
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);

    let asked = proxy.once(Fate::LoseAnswer, "PutItem", "organization_log");
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
    assert_eq!(asked(), 2, "it was repeated");
    let asked = proxy.once(Fate::LoseAnswer, "PutItem", "organization_log");
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Taken);
    assert_eq!(asked(), 2, "another call's, though an answer was lost");

    let asked = proxy.once(Fate::LoseAnswer, "PutItem", "client_place");
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(asked(), 2);
    assert_eq!(registry.clients(client.organization, client.user).await.unwrap().len(), 1);
    let asked = proxy.once(Fate::LoseAnswer, "GetItem", "client_place");
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Held);
    assert_eq!(asked(), 2);

    let asked = proxy.once(Fate::LoseAnswer, "PutItem", "client_place");
    assert!(registry.free_place(&client).await.unwrap());
    assert_eq!(asked(), 2);
    let asked = proxy.once(Fate::LoseAnswer, "GetItem", "client_place");
    assert!(!registry.free_place(&client).await.unwrap(), "there was none");
    assert_eq!(asked(), 2);

    for (operation, table) in [("PutItem", "message"), ("BatchWriteItem", "mailbox")] {
        let asked = proxy.once(Fate::LoseAnswer, operation, table);
        mailbox.put(&sent).await.unwrap();
        assert_eq!(asked(), 2, "{table}");
    }
    let items = mailbox.items(client.organization, client.user, everything(), 10).await.unwrap();
    assert_eq!(items, [sent.item()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_done_since_the_request_was_lost_is_done_by_the_next() {
    let (store, _guard, proxy) = proxied(shared_settings().await).await;
    let (registry, client) = (&store.registry, client());
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };

    let asked = proxy.once(Fate::LoseRequest, "PutItem", "organization_log");
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
    assert_eq!(asked(), 2);
    let asked = proxy.once(Fate::LoseRequest, "PutItem", "client_place");
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(asked(), 2);
    let asked = proxy.once(Fate::LoseRequest, "PutItem", "client_place");
    assert!(registry.free_place(&client).await.unwrap());
    assert_eq!(asked(), 2);
    assert!(registry.clients(client.organization, client.user).await.unwrap().is_empty());
}

/// An attempt that hangs on its way may arrive after its call was given up, and after others have changed the same item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_takes_too_long_is_repeated_and_no_late_one_undoes_what_came_after() {
    let settings = DynamodbSettings { attempt_timeout: Duration::from_millis(500), ..shared_settings().await };
    let (store, _guard, proxy) = proxied(settings).await;
    let (registry, client) = (&store.registry, client());
    let sibling = countersign_protocol::id::ClientAddress {
        client: countersign_protocol::id::ClientId::from_bytes(random()),
        ..client
    };

    let asked = proxy.once(Fate::Hang, "PutItem", "client_place");
    assert_eq!(registry.claim_place(&client, 1, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(asked(), 2);
    assert!(registry.free_place(&client).await.unwrap());
    assert_eq!(registry.claim_place(&sibling, 1, UnixMicros(2)).await.unwrap(), Claim::Claimed);
    // What hung is passed on now.
    proxy.let_go().await;

    let held = registry.clients(client.organization, client.user).await.unwrap();
    assert_eq!(held.iter().map(|held| held.client).collect::<Vec<_>>(), [sibling.client]);
}
