//! The server as one client sees it: requests under its session, tried again where that can help.
//!
//! Invariants: one request at a time, since nonces increase (a listing that waits is the exception). A session key is
//! asked for by one process at a time: a second one would end the first.

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::openpgp::{Author, Certificate, OpenFault, open};
use countersign_protocol::problem::{Problem, ProblemType};
use countersign_protocol::session_key::{OpenPgpAuthorization, SessionGrant, password_text};
use countersign_protocol::time::{UnixMicros, parse_rfc3339};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use tokio::sync::Mutex;

use super::http_client::{Answer, HttpClient, TransportError};
use super::retry::{RetryBudget, RetryPolicy};
use super::signing::{Call, RequestSigner};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::gnupg::{Gnupg, GnupgError};
use crate::profile::{Profile, ProfileError};
use crate::store::{Store, StoreError, StoredSession};

/// How long an answer may take, beyond what a listing waits by itself.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a request is sent again because another one of this client overtook it.
const OVERTAKEN_MAX: u32 = 50;

/// How long before its end a session key is replaced.
const SESSION_MARGIN: Duration = Duration::from_secs(60);

/// Largest answer to a request for a session key.
const GRANT_BYTES_MAX: usize = 64 * 1024;

/// Why a request got no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server cannot be reached, or does not answer.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The server cannot do it now, or has had enough of this client's requests.
    #[error("the server cannot do this now: {}", .0.detail)]
    Busy(Box<Problem>),
    /// The server refuses it.
    #[error("the server refuses this: {}", .0.detail)]
    Problem(Box<Problem>),
    /// The answer is none of the protocol.
    #[error("this is not how a Countersign server answers: {0}")]
    NotCountersign(String),
    /// The session key in the answer is not for this request.
    #[error("the server answered with a session key of another request; nothing was sent under it")]
    WrongSession,
    /// GnuPG could not sign or decrypt.
    #[error(transparent)]
    Gnupg(#[from] GnupgError),
    /// The answer to the request for a session key cannot be opened.
    #[error("the server's session key cannot be opened")]
    Open(#[source] OpenFault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock failed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl ServerError {
    /// Returns the problem that the server refused with, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) | Self::Busy(problem) => Some(problem),
            _ => None,
        }
    }

    /// Tells whether the same may succeed later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_))
    }
}

/// A server, and this client's session with it.
#[derive(Debug)]
pub struct Server {
    http: HttpClient,
    address: ClientAddress,
    store: Arc<Store>,
    profile: Profile,
    gnupg: Gnupg,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    policy: RetryPolicy,
    budget: RetryBudget,
    one_at_a_time: Mutex<()>,
}

/// What a [`Server`] is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) http: HttpClient,
    pub(crate) address: ClientAddress,
    pub(crate) store: Arc<Store>,
    pub(crate) profile: Profile,
    pub(crate) gnupg: Gnupg,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policy: RetryPolicy,
}

impl Server {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { http, address, store, profile, gnupg, clock, entropy, policy } = parts;
        let (budget, one_at_a_time) = (RetryBudget::full(), Mutex::new(()));
        Self { http, address, store, profile, gnupg, clock, entropy, policy, budget, one_at_a_time }
    }

    /// Returns this client's address.
    #[must_use]
    pub const fn address(&self) -> &ClientAddress {
        &self.address
    }

    /// Returns the server's time as this client reckons it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn now(&self) -> Result<UnixMicros, StoreError> {
        self.store.server_time(self.clock.now())
    }

    /// Sends a request under this client's session, and returns an answer that says that it was done. `certificate` is
    /// the user's own, whose key asks for a session where there is none.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn call(&self, call: &Call, certificate: &Certificate) -> Result<Answer, ServerError> {
        // A listing that waits would hold up everything else; a nonce that is overtaken meanwhile is replaced.
        let _one = if call.wait.is_some() { None } else { Some(self.one_at_a_time.lock().await) };
        let deadline = DEADLINE + Duration::from_secs(call.wait.unwrap_or(0));
        let (mut attempt, mut overtaken, mut corrected, mut renewed) = (1, 0, 0, 0);
        loop {
            let session = self.session(certificate).await?;
            let (nonce, now) = self.store.take_nonce(self.clock.now())?;
            let signer = RequestSigner::new(self.address, session.key.clone());
            let request = signer.request(call, self.http.server().as_str(), nonce, now);
            let request = request.map_err(|error| ServerError::NotCountersign(error.to_string()))?;
            let failure = match self.exchange(request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.problem().map(|problem| (problem.kind, problem.now)) {
                Some((ProblemType::NonceReused, _)) if overtaken < OVERTAKEN_MAX => overtaken += 1,
                Some((ProblemType::NonceOutOfWindow, Some(now))) if corrected < 2 => {
                    corrected += 1;
                    self.store.set_server_time(self.clock.now(), UnixMicros(now))?;
                }
                Some((ProblemType::SessionUnknown | ProblemType::SignatureInvalid, _)) if renewed < 2 => {
                    renewed += 1;
                    self.store.forget_session(&session.key)?;
                }
                _ => self.wait_before_retry(failure, &mut attempt).await?,
            }
        }
    }

    /// Sends a request that carries its own authentication: a statement.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn submit(&self, call: &Call) -> Result<Answer, ServerError> {
        submit(&self.http, call, &self.policy, &self.budget, &*self.entropy).await
    }

    /// Waits where the same request may succeed later, and gives up where it will not.
    async fn wait_before_retry(&self, failure: Failure, attempt: &mut u32) -> Result<(), ServerError> {
        wait_before_retry(failure, attempt, &self.policy, &self.budget, &*self.entropy).await
    }

    async fn exchange(&self, request: Request<Full<bytes::Bytes>>, deadline: Duration) -> Result<Answer, Failure> {
        let answer = exchange(&self.http, request, deadline).await;
        if answer.is_ok() {
            self.budget.succeeded();
        }
        answer
    }

    /// Returns the session, after asking for one where there is none or it is about to end.
    async fn session(&self, certificate: &Certificate) -> Result<StoredSession, ServerError> {
        if let Some(session) = self.stored_session()? {
            return Ok(session);
        }
        let _lock = self.profile.lock("session").await?;
        // Another process may have asked meanwhile.
        if let Some(session) = self.stored_session()? {
            return Ok(session);
        }
        let session = self.request_session(certificate).await?;
        self.store.set_session(&session)?;
        Ok(session)
    }

    fn stored_session(&self) -> Result<Option<StoredSession>, StoreError> {
        let soon = self.now()?.plus(SESSION_MARGIN);
        Ok(self.store.session()?.filter(|session| session.expires > soon))
    }

    /// Asks for a session key (section 5.1 of the protocol).
    async fn request_session(&self, certificate: &Certificate) -> Result<StoredSession, ServerError> {
        let ClientAddress { organization, user, client } = self.address;
        let (mut attempt, mut overtaken, mut corrected) = (1, 0, 0);
        // By a clock that is very wrong no key of the user's is valid: it was not made yet, or it has ended.
        if certificate.signing_keys(self.now()?).is_empty() {
            self.learn_time().await?;
        }
        loop {
            let (nonce, now) = self.store.take_password_nonce(self.clock.now())?;
            let text = password_text(&self.address, nonce);
            let signature = self.gnupg.sign(certificate, text.as_bytes(), now).await?;
            let server = self.http.server();
            let request = Request::get(format!("{server}/{organization}/{user}/password?client={client}"))
                .header("authorization", OpenPgpAuthorization { nonce, signature }.to_string())
                .body(Full::default())
                .map_err(|error| ServerError::NotCountersign(error.to_string()))?;
            let failure = match self.exchange(request, DEADLINE).await {
                Ok(answer) => {
                    let grant = self.open_grant(&answer, now).await?;
                    if grant.nonce != nonce {
                        return Err(ServerError::WrongSession);
                    }
                    let expires = parse_rfc3339(&grant.expires);
                    let expires = expires.map_err(|error| ServerError::NotCountersign(error.to_string()))?;
                    return Ok(StoredSession { key: grant.key.clone(), expires });
                }
                Err(failure) => failure,
            };
            match failure.problem().map(|problem| (problem.kind, problem.now)) {
                Some((ProblemType::NonceReused, _)) if overtaken < OVERTAKEN_MAX => overtaken += 1,
                Some((ProblemType::NonceOutOfWindow, Some(now))) if corrected < 2 => {
                    corrected += 1;
                    self.store.set_server_time(self.clock.now(), UnixMicros(now))?;
                }
                _ => self.wait_before_retry(failure, &mut attempt).await?,
            }
        }
    }

    /// Takes the time from the `Date` that the server puts on each of its answers, to the second. Whatever it says is
    /// corrected by its refusals of nonces, and none of it decides whom to believe.
    async fn learn_time(&self) -> Result<(), ServerError> {
        let request = Request::get(format!("{}/", self.http.server()))
            .body(Full::default())
            .map_err(|error| ServerError::NotCountersign(error.to_string()))?;
        let answer = self.http.send(request, DEADLINE).await.map_err(ServerError::Unreachable)?;
        let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
            && let Ok(micros) = u64::try_from(date.timestamp().as_microsecond())
        {
            self.store.set_server_time(self.clock.now(), UnixMicros(micros))?;
        }
        Ok(())
    }

    async fn open_grant(&self, answer: &Answer, now: UnixMicros) -> Result<SessionGrant, ServerError> {
        let key = self.gnupg.message_key(&answer.body).await?;
        // Nobody signs it: what counts is that it has this request's nonce and is encrypted to this user alone.
        let nobody: [Certificate; 0] = [];
        let opened = open(&answer.body, &key, &nobody, now, GRANT_BYTES_MAX).map_err(ServerError::Open)?;
        debug_assert!(!matches!(opened.author, Author::Signer(_)));
        let content = zeroize::Zeroizing::new(opened.content);
        serde_json::from_slice(&content).map_err(|error| ServerError::NotCountersign(error.to_string()))
    }
}

/// Sends a request that carries its own authentication, such as a statement.
///
/// # Errors
/// [`ServerError`].
pub(crate) async fn submit(
    http: &HttpClient,
    call: &Call,
    policy: &RetryPolicy,
    budget: &RetryBudget,
    entropy: &dyn Entropy,
) -> Result<Answer, ServerError> {
    let mut attempt = 1;
    loop {
        let mut request =
            Request::builder().method(call.method.clone()).uri(format!("{}{}", http.server(), call.target));
        if let Some((_, media_type)) = &call.body {
            request = request.header("content-type", *media_type);
        }
        let body = call.body.as_ref().map(|(body, _)| body.clone()).unwrap_or_default();
        let request =
            request.body(Full::new(body)).map_err(|error| ServerError::NotCountersign(error.to_string()))?;
        match exchange(http, request, DEADLINE).await {
            Ok(answer) => {
                budget.succeeded();
                return Ok(answer);
            }
            Err(failure) => wait_before_retry(failure, &mut attempt, policy, budget, entropy).await?,
        }
    }
}

/// Why one attempt failed.
enum Failure {
    Transport(TransportError),
    Problem(Box<Problem>, Option<Duration>),
    NotCountersign(String),
}

impl Failure {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem, _) => Some(problem),
            Self::Transport(_) | Self::NotCountersign(_) => None,
        }
    }
}

async fn exchange(
    http: &HttpClient,
    request: Request<Full<bytes::Bytes>>,
    deadline: Duration,
) -> Result<Answer, Failure> {
    let answer = http.send(request, deadline).await.map_err(Failure::Transport)?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let after = retry_after(&answer.headers);
    if let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) {
        return Err(Failure::Problem(Box::new(problem), after));
    }
    // An ingress in front of the service answers in its own words.
    let kind = match answer.status {
        StatusCode::TOO_MANY_REQUESTS => ProblemType::RateLimited,
        status if status.is_server_error() => ProblemType::Unavailable,
        status => return Err(Failure::NotCountersign(format!("status {status}"))),
    };
    Err(Failure::Problem(Box::new(Problem::new(kind, format!("it answered {}", answer.status))), after))
}

/// Waits where the same request may succeed later, and gives up where it will not.
async fn wait_before_retry(
    failure: Failure,
    attempt: &mut u32,
    policy: &RetryPolicy,
    budget: &RetryBudget,
    entropy: &dyn Entropy,
) -> Result<(), ServerError> {
    let (after, error) = match failure {
        Failure::Transport(error @ (TransportError::Connection { .. } | TransportError::Timeout { .. })) => {
            (None, ServerError::Unreachable(error))
        }
        Failure::Transport(error) => return Err(ServerError::Unreachable(error)),
        Failure::Problem(problem, after) => {
            let passing = matches!(
                problem.kind,
                ProblemType::RateLimited
                    | ProblemType::Unavailable
                    | ProblemType::RequestTimeout
                    | ProblemType::Internal
                    | ProblemType::StorageFull
            );
            if !passing {
                return Err(ServerError::Problem(problem));
            }
            (after, ServerError::Busy(problem))
        }
        Failure::NotCountersign(what) => return Err(ServerError::NotCountersign(what)),
    };
    match policy.wait(*attempt, after, entropy) {
        Some(wait) if budget.take() => {
            *attempt += 1;
            tokio::time::sleep(wait).await;
            Ok(())
        }
        _ => Err(error),
    }
}

/// Reads `Retry-After` in seconds; a date is not asked for, since clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
