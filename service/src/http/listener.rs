//! Listeners: accepting connections, TLS, and the limits of a connection before any request is there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::admission::PeerAddress;
use super::linger::Lingering;
use super::{RequestBody, ResponseBody};

/// Bytes of a request's head: the target with 100 recipients takes 4 KiB, the headers 1 KiB.
const HEAD_BYTES: usize = 64 * 1024;
/// Streams of one HTTP/2 connection at once.
const STREAMS: u32 = 256;
/// Streams that a peer may reset before they were accepted, before its connection ends.
const RESET_STREAMS: usize = 50;
/// Flow-control windows: a whole default content fits into a stream's.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How often an idle HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after the system refused to accept a connection, as it does without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// How long the head of a connection's first request may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request, with the time that its head takes. Where that is less than
    /// whoever sends the requests keeps connections for, one is closed now and then at the moment that it is used again:
    /// most proxies then answer 502, since they may not repeat a POST.
    pub idle_timeout: Duration,
}

/// A listener that is bound and serves nothing yet.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: ConnectionLimits,
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: ConnectionLimits,
    ) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, tls: tls.map(TlsAcceptor::from), limits })
    }

    /// Returns the address, with the port that the system chose if 0 was asked for.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves connections until `stop`. Then accepts no more, tells those that are open to finish what they have
    /// begun, and returns when all are closed.
    pub async fn serve<S>(self, service: S, stop: CancellationToken)
    where
        S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let connections = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let server = Arc::new(server(self.limits));
        let graceful = GracefulShutdown::new();
        loop {
            // The permit comes first: a full house leaves connections in the system's queue instead of taking and
            // dropping them.
            let permit = tokio::select! {
                permit = Arc::clone(&permits).acquire_owned() => permit,
                () = stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are written whole; waiting to fill a packet would only delay them.
            let _ = socket.set_nodelay(true);
            let socket = Lingering::new(socket);
            let (tls, server, service) = (self.tls.clone(), Arc::clone(&server), service.clone());
            let watcher = graceful.watcher();
            let first_request = self.limits.header_timeout;
            connections.spawn(async move {
                let _permit = permit;
                match tls {
                    None => connection(socket, peer, &server, service, first_request, watcher).await,
                    // In the connection's own task, so that a slow handshake delays nobody else.
                    Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket)).await {
                        Ok(Ok(stream)) => connection(stream, peer, &server, service, first_request, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    },
                }
            });
        }
        drop(self.socket);
        connections.close();
        graceful.shutdown().await;
        connections.wait().await;
    }
}

fn server(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(HEAD_BYTES)
        .pipeline_flush(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    server
}

async fn connection<I, S>(
    stream: I,
    peer: SocketAddr,
    server: &auto::Builder<TokioExecutor>,
    service: S,
    first_request: Duration,
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let began = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&began);
    let service = OfConnection { service: Mutex::new(service), peer, began: begins };
    let connection = server.serve_connection(TokioIo::new(stream), service);
    let connection = watcher.watch(connection.into_owned());
    tokio::pin!(connection);
    // Hyper's own timer is for later requests, and starts when it knows the version of HTTP, which a peer may delay for ever.
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = tokio::time::sleep(first_request) => {
            if !began.load(Ordering::Relaxed) {
                tracing::debug!("a connection ended whose first request did not come");
                return;
            }
            connection.await
        }
    };
    if let Err(error) = outcome {
        // Broken connections and slow or malformed heads: the peer's doing, and no request's.
        tracing::debug!(error = &*error, "a connection ended early");
    }
}

/// The service as one connection uses it. Hyper's own adapter clones the whole stack for each request.
struct OfConnection<S> {
    service: Mutex<S>,
    peer: SocketAddr,
    /// Set with the first request.
    began: Arc<AtomicBool>,
}

impl<S> hyper::service::Service<Request<RequestBody>> for OfConnection<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, mut request: Request<RequestBody>) -> S::Future {
        self.began.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(PeerAddress(self.peer));
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        // The stack refuses instead of making anybody wait, so it is always ready.
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        debug_assert!(ready.is_ready(), "a layer makes requests wait");
        service.call(request)
    }
}
