//! A TCP proxy that does to connections what networks do: cut them, hold them up, swallow answers.
//!
//! It stands in front of each pod, each node of the store and each Valkey, so that what is cut is one process for
//! everybody. No privileges are needed, and it is the same on every machine.
//!
//! Invariant: bytes are passed on in order and unaltered, or the connection ends. A connection that has lost bytes never
//! carries any again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are passed on at a time.
const CHUNK: usize = 16 * 1024;

/// What is done to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Clear,
    /// All end, and new ones end at once.
    Cut,
    /// Nothing passes for as long as it lasts; then all of it does.
    Still,
    /// What passes, in either direction, takes so much longer.
    Slow(Duration),
    /// Requests pass and answers are lost. Connections that have lost some end with it.
    Mute,
}

/// A running proxy. It ends, and with it all connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    upstream: watch::Sender<SocketAddr>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts to listen at an address, whose port may be 0, and passes on to another.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub async fn start(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (weather, sky) = watch::channel(Weather::Clear);
        let (upstream, to) = watch::channel(upstream);
        let connections = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, sky, to, Arc::clone(&connections)));
        Ok(Self { address, weather, upstream, connections, task })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is done to connections, to those that are open too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Passes new connections on to another address from now on.
    pub fn pass_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Returns how many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        // Connections end by themselves: what they listen to is gone.
    }
}

async fn accept(
    listener: TcpListener,
    weather: watch::Receiver<Weather>,
    upstream: watch::Receiver<SocketAddr>,
    connections: Arc<AtomicU64>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already.
            tokio::task::yield_now().await;
            continue;
        };
        connections.fetch_add(1, Ordering::Relaxed);
        let to = *upstream.borrow();
        tokio::spawn(connection(client, to, weather.clone()));
    }
}

async fn connection(mut client: TcpStream, to: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let open = async {
        if weather.wait_for(|weather| *weather != Weather::Still).await.is_err() || *weather.borrow() == Weather::Cut
        {
            return None;
        }
        TcpStream::connect(to).await.ok()
    };
    let Some(mut server) = open.await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    // Whichever direction ends first ends both.
    tokio::select! {
        () = carry(from_client, to_server, weather.clone(), false) => {}
        () = carry(from_server, to_client, weather, true) => {}
    }
}

/// Passes on one direction until it ends.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut weather: watch::Receiver<Weather>, answers: bool) {
    let mut chunk = vec![0; CHUNK];
    let mut lost = false;
    loop {
        let now = *weather.borrow_and_update();
        if now == Weather::Cut || (lost && now != Weather::Mute) {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut chunk), if now != Weather::Still => read,
            changed = weather.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        };
        let Ok(read @ 1..) = read else { return };
        let now = *weather.borrow();
        match now {
            Weather::Mute if answers => {
                lost = true;
                continue;
            }
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            _ => {}
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;

    /// A server that says everything back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn connections_are_passed_on_cut_and_passed_on_again() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo().await).await.unwrap();
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut before, b"one").await.unwrap(), b"one");

        proxy.set(Weather::Cut);
        let mut during = TcpStream::connect(proxy.address()).await.unwrap();

        assert!(say(&mut before, b"two").await.is_err());
        assert!(say(&mut during, b"three").await.is_err());
        proxy.set(Weather::Clear);
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut after, b"four").await.unwrap(), b"four");
        assert_eq!(proxy.connections(), 3);
    }

    #[tokio::test]
    async fn what_is_held_up_arrives_later_and_whole() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"one").await.unwrap();

        let watch = Stopwatch::start();
        proxy.set(Weather::Slow(Duration::from_millis(30)));
        assert_eq!(say(&mut stream, b"two").await.unwrap(), b"two");
        assert!(watch.elapsed() >= Duration::from_millis(60));

        proxy.set(Weather::Still);
        stream.write_all(b"three").await.unwrap();
        let mut heard = [0; 5];
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut heard)).await.is_err());
        proxy.set(Weather::Clear);
        // Reading is begun again: nothing had been read.
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"three");
    }

    #[tokio::test]
    async fn a_connection_that_lost_an_answer_never_carries_another() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, b"one").await.unwrap();

        proxy.set(Weather::Mute);
        stream.write_all(b"two").await.unwrap();
        let mut heard = [0; 3];
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut heard)).await.is_err());
        proxy.set(Weather::Clear);

        assert!(say(&mut stream, b"three").await.is_err());
    }
}
