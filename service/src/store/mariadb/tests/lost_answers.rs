//! Answers that are lost: what was done is done once, and is told as done.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::store::{Append, Claim};

/// Passes bytes on to a server, and can be told to lose an answer.
struct Proxy {
    port: u16,
    losing: Arc<Losing>,
}

/// How many answers come before the one that is to be lost; and whether it is. Small answers come in one piece.
struct Losing {
    before: AtomicI32,
    lost: AtomicBool,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let losing = Arc::new(Losing { before: AtomicI32::new(-1), lost: AtomicBool::new(false) });
        let told = Arc::clone(&losing);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&told)));
            }
        });
        Self { port, losing }
    }

    /// Loses an answer after some others, and cuts its connection.
    fn lose_an_answer_after(&self, others: i32) {
        self.losing.lost.store(false, Ordering::SeqCst);
        self.losing.before.store(others, Ordering::SeqCst);
    }

    fn has_lost(&self) -> bool {
        self.losing.lost.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: TcpStream, losing: Arc<Losing>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        // Below zero nothing is to be lost, and it stays below: no test has as many answers as there are numbers.
        if losing.before.fetch_sub(1, Ordering::SeqCst) == 0 {
            losing.lost.store(true, Ordering::SeqCst);
            break;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    asks.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_though_the_answer_was_lost_is_told_as_done() {
    let mut settings = shared_settings(Indices::Kept).await;
    let proxy = Proxy::start(shared_server().await.address()).await;
    settings.address.port = proxy.port;
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
