//! TLS: both versions of HTTP by ALPN, and a certificate that is replaced without a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::process::Setup;
use crate::support::raw;
use crate::support::time::eventually;

/// Makes a certificate, writes it and its key, and returns it.
fn issue(setup: &Setup) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(setup.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(setup.path("tls.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn with_tls() -> (Setup, CertificateDer<'static>) {
    let setup = Setup::new().await;
    let certificate = issue(&setup);
    let file = |path: &Path| path.display().to_string();
    let (pem, key) = (file(&setup.path("tls.pem")), file(&setup.path("tls.key")));
    (setup.set("TLS_CERTIFICATE", pem).set("TLS_KEY", key), certificate)
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A connection that speaks the version that was agreed on.
enum Connection {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(driver);
            Self::Two(sender)
        } else {
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(driver);
            Self::One(sender)
        }
    }

    /// Asks for a path that is not there, and returns the status.
    async fn ask(&mut self) -> u16 {
        let request = Request::builder().header("host", "localhost");
        let response = match self {
            Self::One(sender) => sender.send_request(request.uri("/").body(Empty::new()).unwrap()).await.unwrap(),
            Self::Two(sender) => {
                sender.send_request(request.uri("https://localhost/").body(Empty::new()).unwrap()).await.unwrap()
            }
        };
        let status = response.status().as_u16();
        assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
        status
    }
}

/// Asks once, and returns what was agreed on and the status.
async fn ask(stream: TlsStream<TcpStream>) -> (String, u16) {
    let protocol = stream.get_ref().1.alpn_protocol().map_or("none", |name| std::str::from_utf8(name).unwrap());
    let protocol = protocol.to_owned();
    (protocol, Connection::over(stream).await.ask().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_by_what_the_client_offers() {
    let (setup, certificate) = with_tls().await;
    let service = setup.start().await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["http/1.1", "h2"], "h2"),
        (&["http/1.1"], "http/1.1"),
        (&["h2"], "h2"),
        (&[], "none"),
    ] {
        let stream = connect(service.public, &certificate, offered).await.unwrap();
        assert_eq!(ask(stream).await, (agreed.to_owned(), 404), "{offered:?}");
    }
    assert!(connect(service.public, &certificate, &["spdy/3"]).await.is_err());
    // Plain HTTP gets no answer of HTTP, and nobody else is disturbed.
    let answer = raw::exchange(service.public, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(raw::status(&answer), None);
    ask(connect(service.public, &certificate, &["h2"]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handshake_delays_nobody_else() {
    let (setup, certificate) = with_tls().await;
    let service = setup.start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(service.public).await.unwrap());
    }

    let (_, status) = ask(connect(service.public, &certificate, &["h2"]).await.unwrap()).await;

    assert_eq!(status, 404);
    assert!(raw::read_to_end(&mut silent[0]).await.is_empty(), "who never begins is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_replaced_is_used_by_new_connections() {
    let (setup, first) = with_tls().await;
    let service = setup.start().await;
    let mut open = Connection::over(connect(service.public, &first, &["h2"]).await.unwrap()).await;
    // Who has not begun a first request is disconnected, however long the rest of this test takes.
    assert_eq!(open.ask().await, 404);

    // What cannot be used changes nothing.
    std::fs::write(setup.path("tls.pem"), "no certificate").unwrap();
    eventually("the service says so", async || {
        service.process.log().iter().any(|line| line["level"] == "ERROR").then_some(())
    })
    .await;
    ask(connect(service.public, &first, &["h2"]).await.unwrap()).await;

    let second = issue(&setup);
    eventually("the new certificate is used", async || {
        connect(service.public, &second, &["h2"]).await.ok().map(drop)
    })
    .await;
    assert!(connect(service.public, &first, &["h2"]).await.is_err());
    assert_eq!(open.ask().await, 404, "open connections go on");
}
