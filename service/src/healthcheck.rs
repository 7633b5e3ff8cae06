//! Asks a running service whether it is ready: the image has no shell and no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the administrative listener at `address` for `/readyz`.
///
/// # Errors
/// If it cannot be reached or is not ready, with its reason.
pub async fn healthcheck(address: SocketAddr) -> anyhow::Result<()> {
    tokio::time::timeout(TIMEOUT, ask(reachable(address))).await.context("the service does not answer in time")?
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let socket = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("the service gives no answer")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 1024).collect().await.map(http_body_util::Collected::to_bytes);
    driver.abort();
    if status != StatusCode::OK {
        bail!("the service is not ready: {}", String::from_utf8_lossy(&body.unwrap_or_default()).trim());
    }
    Ok(())
}

/// A service that listens on every address is asked on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
