//! The operations: one file each, from a request to the domain and back.
//!
//! Owns: what a request must look like, and what an answer looks like. Refuses to know: how anything is decided.

mod acknowledge_message;
mod authenticate;
mod confirm_fetched;
mod list_clients;
mod list_messages;
mod list_users;
mod read_log;
mod read_message;
mod read_user;
mod remove_client;
mod request_session_key;
mod run_to_end;
mod send_message;
mod submit_statement;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::User;
use countersign_protocol::id::ClientAddress;
use countersign_protocol::limits::Limits;
use countersign_protocol::two_man_rule::UserRecord;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::Instrument as _;

use crate::authority::Authority;
use crate::deadline::Deadline;
use crate::delivery::Delivery;
use crate::http::error::ApiError;
use crate::http::incoming::discard;
use crate::http::route::{Matched, Operation, PathIds};
use crate::http::{RequestBody, ResponseBody};
use crate::rate_limit::RateLimit;
use crate::session::Sessions;
use run_to_end::RunToEnd;

/// Users or log entries in an answer that asks for no number, and at most: each brings certificates of some KiB.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// What handlers work with.
pub struct ApiParts {
    /// Organizations.
    pub authority: Authority,
    /// Sessions.
    pub sessions: Sessions,
    /// Messages.
    pub delivery: Delivery,
    /// The protocol's numbers.
    pub limits: Limits,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The rate of each client.
    pub rate_per_client: RateLimit<ClientAddress>,
    /// Set when the process is about to end: whoever waits is answered early.
    pub draining: CancellationToken,
    /// Where the rest of a request that changes something runs after its client has gone.
    pub tasks: TaskTracker,
    /// The runtime that it runs on.
    pub runtime: Handle,
}

/// The innermost service of the stack: dispatches requests to handlers.
#[derive(Clone)]
pub struct Api(Arc<ApiParts>);

/// A request in a handler's hands.
pub(crate) struct Incoming {
    ids: PathIds,
    parts: Parts,
    body: RequestBody,
}

type Answer = Response<ResponseBody>;

impl Api {
    /// Makes the service.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl ApiParts {
    async fn dispatch(&self, matched: Matched, request: Request<RequestBody>) -> Result<Answer, ApiError> {
        let Matched { operation, ids, allow } = matched;
        let (parts, body) = request.into_parts();
        let refusal = match (operation, ids.malformed) {
            (Operation::UnknownPath, _) => Some(ApiError::UnknownPath),
            (Operation::UnknownMethod, _) => Some(ApiError::UnknownMethod { allow }),
            (_, Some(name)) => Some(ApiError::Malformed(format!(
                "The {name} in the path is not an identifier in lower-case hyphenated form."
            ))),
            _ => None,
        };
        if let Some(refusal) = refusal {
            discard(body, self.limits.content_bytes, self.body_timeout).await;
            return Err(refusal);
        }
        let request = Incoming { ids, parts, body };
        match operation {
            Operation::ListUsers => self.list_users(request).await,
            Operation::CreateOrganization | Operation::AddUser | Operation::UpdateUser => {
                self.submit_statement(operation, request).await
            }
            Operation::ReadLog => self.read_log(request).await,
            Operation::ReadUser => self.read_user(request).await,
            Operation::RequestSessionKey => self.request_session_key(request).await,
            Operation::ListClients => self.list_clients(request).await,
            Operation::RemoveClient => self.remove_client(request).await,
            Operation::ConfirmFetched => self.confirm_fetched(request).await,
            Operation::ListMessages => self.list_messages(request).await,
            Operation::SendMessage => self.send_message(request).await,
            Operation::ReadMessage => self.read_message(request).await,
            Operation::AcknowledgeMessage => self.acknowledge_message(request).await,
            Operation::UnknownPath | Operation::UnknownMethod => Err(ApiError::UnknownPath),
        }
    }

    fn user(&self, record: UserRecord) -> User {
        User {
            user: record.user,
            fingerprint: record.fingerprint.to_string(),
            certificate: record.certificate,
            administrator: record.administrator,
            active: record.active,
            client_limit: self.authority.client_limit(record.client_limit),
        }
    }
}

impl Service<Request<RequestBody>> for Api {
    type Response = Answer;
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let api = Arc::clone(&self.0);
        let unmatched = Matched { operation: Operation::UnknownPath, ids: PathIds::default(), allow: "" };
        let matched = request.extensions().get::<Matched>().copied().unwrap_or(unmatched);
        if !matched.operation.writes() {
            return Box::pin(async move { api.dispatch(matched, request).await });
        }
        let (tasks, runtime) = (api.tasks.clone(), api.runtime.clone());
        // A task does not inherit how much time its request has left.
        let write = Deadline::current().scope(async move { api.dispatch(matched, request).await });
        // Nor which trace it is in.
        let write = write.in_current_span();
        Box::pin(RunToEnd::new(write, tasks, runtime))
    }
}

// === Answers ===

fn json<T: Serialize>(status: StatusCode, body: &T) -> Answer {
    let bytes = serde_json::to_vec(body).expect("answers have nothing that JSON cannot hold");
    let mut response = Response::new(ResponseBody::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn octets(content: Bytes) -> Answer {
    let mut response = Response::new(ResponseBody::from(content));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

fn no_content() -> Answer {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
