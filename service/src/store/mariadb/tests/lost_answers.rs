//! Answers that are lost: what was done is done once, and is told as done.

use super::*;
use crate::store::lossy_proxy::LossyProxy;
use crate::store::{Append, Claim};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_was_lost_is_told_as_done() {
    let mut settings = shared_settings(Indices::Kept).await;
    let proxy = LossyProxy::start(shared_server().await.address()).await;
    settings.address.port = proxy.port();
    // One connection: what is prepared on it is done in one trip.
    settings.connections = 1;
    let (store, _guard) = opened(settings).await;
    let (registry, mailbox) = (&store.registry, &store.mailbox);
    let [client, warm] = [client(), client()];
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: vec!["t".to_owned()] };
    let [sent, other] = [client, warm].map(|client| message_at(&client, SystemClock.now_millis(), &[client.user]));
    let prepare = async || {
        registry.append(OrganizationId::from_bytes(random()), 0, &entry).await.unwrap();
        registry.free_place(&warm).await.unwrap();
        registry.claim_place(&warm, 5, UnixMicros(1)).await.unwrap();
        registry.free_place(&warm).await.unwrap();
        mailbox.put(&other).await.unwrap();
    };

    prepare().await;
    proxy.lose_an_answer_after(0);
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Appended);
    assert!(proxy.has_lost());
    assert_eq!(registry.append(client.organization, 0, &entry).await.unwrap(), Append::Taken);

    prepare().await;
    // The look at the places is answered, the claim is not.
    proxy.lose_an_answer_after(1);
    assert_eq!(registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert!(proxy.has_lost());
    assert_eq!(registry.clients(client.organization, client.user).await.unwrap().len(), 1);

    prepare().await;
    // Likewise.
    proxy.lose_an_answer_after(1);
    assert!(registry.free_place(&client).await.unwrap());
    assert!(proxy.has_lost());
    proxy.lose_an_answer_after(0);
    assert!(!registry.free_place(&client).await.unwrap(), "there was none");
    assert!(proxy.has_lost());

    prepare().await;
    proxy.lose_an_answer_after(0);
    mailbox.put(&sent).await.unwrap();
    assert!(proxy.has_lost());
    let items = mailbox.items(client.organization, client.user, everything(), 10).await.unwrap();
    assert_eq!(items, [sent.item()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_has_closed_are_noticed_by_nobody() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (store, _guard) = opened(settings.clone()).await;
    let client = client();
    let put = async || {
        let sent: Vec<_> = (0..8).map(|_| message_at(&client, SystemClock.now_millis(), &[client.user])).collect();
        let stored = sent.iter().map(|sent| store.mailbox.put(sent));
        futures_util::future::try_join_all(stored).await.unwrap();
    };
    put().await;
    let mut look = look(&settings).await;
    let database = &settings.address.database;

    let of_the_store =
        format!("SELECT id FROM information_schema.processlist WHERE db = '{database}' AND id <> CONNECTION_ID()");
    let killed: Vec<u64> = look.query(of_the_store).await.unwrap();
    for id in &killed {
        look.query_drop(format!("KILL {id}")).await.unwrap();
    }
    put().await;

    assert!(!killed.is_empty());
    assert_eq!(count(&mut look, "message").await, 16);
}
