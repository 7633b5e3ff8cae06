//! A proxy between the driver and a server that can lose requests or answers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes requests on and loses their answers.
    LoseAnswers,
    /// Loses requests.
    LoseRequests,
}

/// A proxy. What is connected when the mode changes back to passing is cut, since bytes are missing in it.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: String,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    pub(super) async fn before(server: String) -> Self {
        // At the server's own address: the driver connects to what the server says, with the port that it was given.
        let host = server.split(':').next().unwrap();
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mode = Arc::new(watch::channel(Mode::Pass).0);
        let modes = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (requests, answers) = (modes.subscribe(), modes.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(from_client, to_server, requests, Mode::LoseRequests) => {}
                        () = pass(from_server, to_client, answers, Mode::LoseAnswers) => {}
                    }
                });
            }
        });
        Self { address, mode }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Passes bytes on until the end, or until some were lost and no more are to be.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    lossy: Mode,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) if *mode.borrow() == lossy => lost |= length > 0,
                Ok(length) => {
                    if to.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            },
            changed = mode.changed() => {
                if changed.is_err() || (lost && *mode.borrow() == Mode::Pass) {
                    return;
                }
            }
        }
    }
}
