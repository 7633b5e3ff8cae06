//! HTTP: one connection pool to one server, TLS by rustls.
//!
//! `hyper-util`'s client rather than a larger one, because the request's target is signed as it stands on the wire: here
//! nothing rewrites it, follows a redirect with it, or sends it twice (docs/decisions/0008-http-client.md).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Most bytes of an answer that are read: a page of a log is the largest.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A server: `http://` or `https://`, a host, perhaps a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

/// A text that is not a server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a server's address: http:// or https://, a host and perhaps a port, such as https://messages.example.org"
)]
pub struct InvalidServerUrl;

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| InvalidServerUrl)?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        // The path is signed, so no ingress may shorten it: a server has a host of its own.
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        match (uri.scheme_str(), authority) {
            (Some(scheme), Some(authority)) if known && bare => Ok(Self(format!("{scheme}://{authority}"))),
            _ => Err(InvalidServerUrl),
        }
    }
}

impl ServerUrl {
    /// Returns the text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which authorities vouch for the server's TLS certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts.
    #[default]
    System,
    /// Those of a PEM file, and no others.
    File(PathBuf),
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The authorities cannot be read.
    #[error("cannot read the certificates of {file}: {message}")]
    Trust {
        /// Which file, or the system.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// Whoever answers is not vouched for by the authorities that are believed.
    #[error(
        "the TLS certificate of {server} is not to be believed: {why}. If the server has an authority of its own, name a \
         file with that authority's certificate: --authorities"
    )]
    Untrusted {
        /// The server.
        server: String,
        /// What is wrong with the certificate.
        why: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {server}")]
    Connection {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{server} did not answer within {} s", .after.as_secs())]
    Timeout {
        /// The server.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// More than is read.
    #[error("{0} answered more than this client reads")]
    TooLarge(String),
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Connections to one server, kept open between requests.
#[derive(Clone)]
pub struct HttpClient {
    server: ServerUrl,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpClient({})", self.server)
    }
}

impl HttpClient {
    /// Prepares connections. Nothing is sent.
    ///
    /// # Errors
    /// [`TransportError::Trust`].
    ///
    /// # Panics
    /// Never: the one provider of cryptography has what TLS needs.
    pub fn new(server: ServerUrl, trust: &Trust) -> Result<Self, TransportError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has the cipher suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots(&server, trust)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Ok(Self { server, client })
    }

    /// Returns the server.
    #[must_use]
    pub const fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Sends a request once and reads the whole answer, within a time.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn send(&self, request: Request<Full<Bytes>>, deadline: Duration) -> Result<Answer, TransportError> {
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| self.broken(error.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    TransportError::TooLarge(self.server.to_string())
                } else {
                    self.broken(error)
                }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let timeout = || TransportError::Timeout { server: self.server.to_string(), after: deadline };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| Err(timeout()))
    }

    fn broken(&self, source: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
        let server = self.server.to_string();
        match certificate_fault(&*source) {
            Some(why) => TransportError::Untrusted { server, why },
            None => TransportError::Connection { server, source },
        }
    }
}

/// Finds what TLS has against the server's certificate, if that is why there is no connection.
fn certificate_fault(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
            return Some(match fault {
                rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature => {
                    "no authority that is believed here issued it".to_owned()
                }
                other => other.to_string(),
            });
        }
        // What an I/O error was made of is not its source, but takes its place.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inner.map_or_else(|| error.source(), |inner| Some(inner));
    }
    None
}

fn roots(server: &ServerUrl, trust: &Trust) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    match trust {
        // Reading the system's authorities takes a while, and plain HTTP needs none.
        Trust::System if server.as_str().starts_with("http://") => {}
        Trust::System => {
            let loaded = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(loaded.certs);
            if roots.is_empty() {
                let message = "there are none; install ca-certificates, or give a file".to_owned();
                return Err(TransportError::Trust { file: "the system".to_owned(), message });
            }
        }
        Trust::File(path) => {
            let failed = |error: &dyn fmt::Display| TransportError::Trust {
                file: path.display().to_string(),
                message: error.to_string(),
            };
            let pem = std::fs::read(path).map_err(|error| failed(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            if roots.is_empty() {
                return Err(failed(&"it has no certificate"));
            }
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in
            [("http://127.0.0.1:8080", "http://127.0.0.1:8080"), ("https://a.example/", "https://a.example")]
        {
            assert_eq!(text.parse::<ServerUrl>().unwrap().as_str(), expected);
        }
        for text in ["", "a.example", "ftp://a.example", "http://a.example/x", "http://a.example?x", "https://u@a"] {
            assert_eq!(text.parse::<ServerUrl>(), Err(InvalidServerUrl), "{text}");
        }
    }
}
