//! The HTTP client of the exporter of traces.
//!
//! The exporter runs on a thread of its own, which waits for each batch to be sent. So this client does too, on a runtime
//! of its own: it needs nothing of the service's runtime, takes nothing from it, and still works while that one ends. A
//! batch comes every few seconds, so each has a connection of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

/// How long a batch may take to be sent and answered.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum OtlpClientError {
    /// The authority's file.
    #[error("cannot read the authority of OTEL_EXPORTER_OTLP_CERTIFICATE from {0}")]
    Authority(String, #[source] rustls_pki_types::pem::Error),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The runtime.
    #[error("the runtime cannot be started")]
    Runtime(#[from] std::io::Error),
}

/// Sends batches.
pub(super) struct OtlpClient {
    runtime: Option<Runtime>,
    tls: Arc<ClientConfig>,
}

impl OtlpClient {
    /// Makes a client that trusts an authority of a PEM file, or those that the system trusts.
    pub(super) fn new(authority: Option<&str>) -> Result<Self, OtlpClientError> {
        let mut roots = RootCertStore::empty();
        match authority {
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Some(path) => {
                let unreadable = |error| OtlpClientError::Authority(path.to_owned(), error);
                for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                    roots.add(certificate.map_err(unreadable)?)?;
                }
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime: Some(runtime), tls: Arc::new(tls) })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or("the endpoint has no host")?.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        if secure {
            let name = ServerName::try_from(host)?;
            send(TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await?, request).await
        } else {
            send(socket, request).await
        }
    }
}

async fn send<S>(stream: S, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let authority = request.uri().authority().map(|authority| authority.as_str().parse()).transpose()?;
    if let Some(authority) = authority {
        request.headers_mut().insert(http::header::HOST, authority);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse()?;
    *request.uri_mut() = target;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.as_ref().ok_or("the client has ended")?;
        // It is the exporter's own thread that waits here.
        runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.exchange(request)).await? })
    }
}

impl fmt::Debug for OtlpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OtlpClient")
    }
}

impl Drop for OtlpClient {
    fn drop(&mut self) {
        // It may be dropped where a runtime may not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
