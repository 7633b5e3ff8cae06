//! A proxy that loses an answer of a server when it is told to: for tests of what was done though nobody was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Passes bytes on to a server, and can be told to lose an answer.
pub(crate) struct LossyProxy {
    port: u16,
    losing: Arc<Losing>,
}

/// How many answers come before the one that is to be lost; and whether it is. Small answers come in one piece.
struct Losing {
    before: AtomicI32,
    lost: AtomicBool,
}

impl LossyProxy {
    /// Starts before a server, on a free port of the loopback.
    pub(crate) async fn start(server: String) -> Self {
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

    /// Returns its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Loses an answer after some others, and cuts its connection.
    pub(crate) fn lose_an_answer_after(&self, others: i32) {
        self.losing.lost.store(false, Ordering::SeqCst);
        self.losing.before.store(others, Ordering::SeqCst);
    }

    /// Tells whether an answer was lost.
    pub(crate) fn has_lost(&self) -> bool {
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
