//! A small HTTP client that keeps its connections and checks every answer against the `OpenAPI` description.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use bytes::Bytes;
use countersign_protocol::problem::{MEDIA_TYPE, Problem, ProblemType};
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::openapi;

type Body = BoxBody<Bytes, Infallible>;

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub(crate) enum Content {
    /// No body.
    #[default]
    Nothing,
    /// A whole body, with its length in the head.
    Whole(Bytes),
    /// A body in pieces, without a length in the head.
    Pieces(Vec<Bytes>),
}

impl Content {
    fn into_body(self) -> Body {
        match self {
            Self::Nothing => Full::default().boxed(),
            Self::Whole(bytes) => Full::new(bytes).boxed(),
            Self::Pieces(pieces) => {
                BodyExt::boxed(StreamBody::new(stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece))))))
            }
        }
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Returns a header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the body's text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// Reads the body as JSON of an answer with that status.
    #[track_caller]
    pub(crate) fn json<T: serde::de::DeserializeOwned>(self, status: u16) -> T {
        let answer = self.expect(status);
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// Asserts that the answer is a problem of that type, with its status, and with the headers of its status.
    #[track_caller]
    pub(crate) fn problem(&self, kind: ProblemType) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} {error}: {}", self.status, self.text()));
        assert_eq!(problem.kind, kind, "{problem:?}");
        assert_eq!((self.status.as_u16(), problem.status), (kind.status(), kind.status()));
        assert_eq!(self.header("content-type"), Some(MEDIA_TYPE));
        match self.status.as_u16() {
            401 => assert!(
                self.headers.contains_key("accept-signature") != self.headers.contains_key("www-authenticate")
            ),
            405 => assert!(self.headers.contains_key("allow")),
            429 | 503 => assert!(self.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1),
            _ => {}
        }
        problem
    }
}

/// Operations of the description that were answered, each with the statuses it was answered with.
pub(crate) type Seen = Arc<Mutex<BTreeSet<(String, u16)>>>;

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// An HTTP client of one listener.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    version: Version,
    /// Where answers are noted; none for the administrative listener, which the description does not have.
    seen: Option<Seen>,
    idle: Arc<Mutex<Vec<http1::SendRequest<Body>>>>,
    shared: Arc<tokio::sync::Mutex<Option<http2::SendRequest<Body>>>>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr, version: Version, seen: Option<Seen>) -> Self {
        Self { address, version, seen, idle: Arc::default(), shared: Arc::default() }
    }

    /// Returns the same client with connections of its own.
    pub(crate) fn separate(&self) -> Self {
        Self::new(self.address, self.version, self.seen.clone())
    }

    /// Returns a client that speaks HTTP/2 from the first byte.
    pub(crate) fn http2(&self) -> Self {
        Self::new(self.address, Version::Two, self.seen.clone())
    }

    /// Sends a GET without anything.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target).body(Content::Nothing).unwrap()).await
    }

    /// Sends a request, whose answer must come.
    pub(crate) async fn send(&self, request: Request<Content>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request, to which there may be no answer.
    pub(crate) async fn try_send(&self, request: Request<Content>) -> anyhow::Result<Answer> {
        let (method, target) = (request.method().clone(), request.uri().clone());
        let answer = match self.version {
            Version::One => self.send_http1(request).await?,
            Version::Two => self.send_http2(request).await?,
        };
        if let Some(seen) = &self.seen {
            note(seen, &method, &target, &answer);
        }
        Ok(answer)
    }

    async fn send_http1(&self, request: Request<Content>) -> anyhow::Result<Answer> {
        let mut request = request;
        request.headers_mut().entry("host").or_insert_with(|| self.address.to_string().parse().unwrap());
        loop {
            let idle = self.idle.lock().unwrap().pop();
            let (mut connection, reused) = match idle {
                Some(connection) => (connection, true),
                None => (self.connect_http1().await?, false),
            };
            let attempt = request.clone().map(Content::into_body);
            if connection.ready().await.is_err() && reused {
                continue;
            }
            let response = match connection.send_request(attempt).await {
                // The connection was closed while it was idle: nothing was sent.
                Err(error) if reused && error.is_canceled() => continue,
                response => response.context("no answer")?,
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await.context("the answer broke off")?.to_bytes();
            self.idle.lock().unwrap().push(connection);
            return Ok(Answer { status: head.status, headers: head.headers, body });
        }
    }

    async fn connect_http1(&self) -> anyhow::Result<http1::SendRequest<Body>> {
        let socket = TcpStream::connect(self.address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(driver);
        Ok(connection)
    }

    async fn send_http2(&self, request: Request<Content>) -> anyhow::Result<Answer> {
        let mut connection = {
            let mut shared = self.shared.lock().await;
            match &*shared {
                Some(connection) if !connection.is_closed() => connection.clone(),
                _ => {
                    let socket = TcpStream::connect(self.address).await.context("cannot connect")?;
                    socket.set_nodelay(true)?;
                    let (connection, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
                    tokio::spawn(driver);
                    shared.insert(connection).clone()
                }
            }
        };
        let (mut head, content) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        head.uri =
            Uri::builder().scheme("http").authority(self.address.to_string()).path_and_query(target).build()?;
        let request = Request::from_parts(head, content.into_body());
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await.context("no answer")?.into_parts();
        let body = body.collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// Holds an answer against the description and notes it.
pub(crate) fn note(seen: &Seen, method: &Method, target: &Uri, answer: &Answer) {
    if let Some(operation) = openapi::description().check(method, target.path(), answer) {
        seen.lock().unwrap().insert((operation, answer.status.as_u16()));
    }
}
