//! The administrative listener: `/metrics` and `/livez`. Keep it away from the ingress.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Writes the metrics in Prometheus' text format.
pub type Encode = Arc<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// How long a request's head may take to arrive.
const HEADER: Duration = Duration::from_secs(5);

/// A bound listener.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds an address, whose port may be 0.
    ///
    /// # Errors
    /// If it is taken.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self(TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?))
    }

    /// Returns the address.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Answers for ever.
    pub async fn serve(self, metrics: Encode) -> Infallible {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                // Out of descriptors, or the peer is gone already.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request.method(), request.uri().path(), &metrics);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // One that breaks off is nobody's trouble.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

fn answer(method: &Method, path: &str, metrics: &Encode) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET, "/metrics") => match metrics() {
            Ok(text) => (StatusCode::OK, Bytes::from(text)),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from_static(b"metrics cannot be written\n"))
            }
        },
        (&Method::GET, "/livez") => (StatusCode::OK, Bytes::from_static(b"alive\n")),
        (_, "/metrics" | "/livez") => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"GET only\n")),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"/metrics, /livez\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let text = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
