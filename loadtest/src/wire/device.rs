//! A client of a user: what it asks, under its session, and what sort of answer came.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use countersign_client::clock::Clock;
use countersign_client::connection::{Answer, Call, RequestSigner, TransportError};
use countersign_protocol::body::Fetched;
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::problem::{Problem, ProblemType};
use countersign_protocol::session_key::{OpenPgpAuthorization, SessionGrant, SessionKey, password_text};
use countersign_protocol::time::UnixMicros;
use http::{Method, Request};
use http_body_util::Full;

use super::{Ending, Observer, Operation, Target, Targets, Unobserved};
use crate::clock::Stopwatch;
use crate::keys::Person;
use crate::random::Random;

/// What came of one attempt.
#[derive(Debug)]
pub enum Reply {
    /// It was done.
    Done(Answer),
    /// Nobody knows whether it was done, or it was not and may be later: to be tried again.
    Again(Why),
    /// It will not be done.
    Refused(Box<Problem>),
}

/// Why an attempt is to be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There was no connection, or it broke.
    Unreachable,
    /// There was no answer in time.
    Unanswered,
    /// The service, or what is in front of it, cannot do it now.
    Busy,
    /// The session is not known (any more), or the nonce was not acceptable.
    Session,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unreachable, Self::Unanswered, Self::Busy, Self::Session];

    /// Returns its name in reports and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::Busy => "busy",
            Self::Session => "session",
        }
    }
}

/// A client of a user.
#[derive(Debug)]
pub struct Device {
    address: ClientAddress,
    person: Arc<Person>,
    targets: Targets,
    clock: Arc<dyn Clock>,
    random: Random,
    /// How long an answer may take, beyond what a listing waits by itself.
    patience: Duration,
    session: Option<RequestSigner>,
    nonce: Option<Nonce>,
    /// Requests for session keys have a nonce memory of their own.
    password_nonce: Option<Nonce>,
    /// How far the service's clock is ahead of ours, and how far behind, as it said last; one of them is nothing.
    correction: (Duration, Duration),
    observer: Arc<dyn Observer>,
}

impl Device {
    /// Takes a client's address and its user's key. Nothing is sent.
    #[must_use]
    pub fn new(
        address: ClientAddress,
        person: Arc<Person>,
        targets: Targets,
        clock: Arc<dyn Clock>,
        random: Random,
        patience: Duration,
    ) -> Self {
        Self {
            address,
            person,
            targets,
            clock,
            random,
            patience,
            session: None,
            nonce: None,
            password_nonce: None,
            correction: (Duration::ZERO, Duration::ZERO),
            observer: Arc::new(Unobserved),
        }
    }

    /// Has somebody told of each attempt.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Gives it a session that it need not ask for: for a server that is no service.
    #[must_use]
    pub fn in_session(mut self, key: SessionKey) -> Self {
        self.session = Some(RequestSigner::new(self.address, key));
        self
    }

    /// Asks for a session, unless there is one.
    pub async fn open_session(&mut self) -> Result<(), Reply> {
        if self.session.is_none() {
            self.session = Some(self.request_session().await?);
        }
        Ok(())
    }

    /// Returns its address.
    #[must_use]
    pub const fn address(&self) -> &ClientAddress {
        &self.address
    }

    /// Returns the key of its user.
    #[must_use]
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// Returns the service's time as this client reckons it.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.clock.now().plus(self.correction.0).minus(self.correction.1)
    }

    /// Lists what is new, up to `limit` items; waits up to `wait` seconds where nothing is.
    pub async fn list(&mut self, limit: usize, wait: Option<u64>) -> Reply {
        let ClientAddress { organization, user, .. } = self.address;
        let mut call = Call::get(format!("/{organization}/{user}/message?limit={limit}"));
        call.wait = wait;
        self.attempt(Operation::ListMessages, &call).await
    }

    /// Reads a content.
    pub async fn read(&mut self, id: &MessageId) -> Reply {
        let ClientAddress { organization, user, .. } = self.address;
        self.attempt(Operation::ReadMessage, &Call::get(format!("/{organization}/{user}/message/{id}"))).await
    }

    /// Says that this client holds messages.
    pub async fn confirm(&mut self, ids: &[MessageId]) -> Reply {
        let ClientAddress { organization, user, client } = self.address;
        let body = serde_json::to_vec(&Fetched { messages: ids.to_vec() }).unwrap_or_default();
        let target = format!("/{organization}/{user}/client/{client}/fetched");
        self.attempt(
            Operation::ConfirmFetched,
            &Call::with_body(Method::POST, target, body.into(), "application/json"),
        )
        .await
    }

    /// Sends a content.
    pub async fn send(&mut self, id: &MessageId, recipients: &[UserId], content: Bytes) -> Reply {
        self.attempt(Operation::SendMessage, &Call::send_message(&self.address, id, recipients, content)).await
    }

    /// Acknowledges a message by a receipt.
    pub async fn acknowledge(&mut self, of: &MessageId, receipt: &MessageId, signature: Bytes) -> Reply {
        let ClientAddress { organization, user, .. } = self.address;
        let target = format!("/{organization}/{user}/message/{of}?receipt={receipt}");
        self.attempt(
            Operation::AcknowledgeMessage,
            &Call::with_body(Method::PUT, target, signature, "application/octet-stream"),
        )
        .await
    }

    /// Makes one attempt under this client's session, after asking for one where there is none.
    pub async fn attempt(&mut self, operation: Operation, call: &Call) -> Reply {
        if let Err(reply) = self.open_session().await {
            return reply;
        }
        let now = self.now();
        let nonce = Nonce::next(now, self.nonce);
        self.nonce = Some(nonce);
        let targets = self.targets.clone();
        let target = targets.draw(&mut self.random);
        let Some(Ok(request)) =
            self.session.as_ref().map(|signer| signer.request(call, target.http.server().as_str(), nonce, now))
        else {
            return Reply::Refused(Box::new(Problem::new(ProblemType::MalformedRequest, "no path")));
        };
        let patience = self.patience.saturating_add(Duration::from_secs(call.wait.unwrap_or(0)));
        self.exchange(operation, target, request, patience, call.wait.is_some()).await
    }

    async fn request_session(&mut self) -> Result<RequestSigner, Reply> {
        let ClientAddress { organization, user, client } = self.address;
        let now = self.now();
        let nonce = Nonce::next(now, self.password_nonce);
        self.password_nonce = Some(nonce);
        let broken = |error: anyhow::Error| {
            Reply::Refused(Box::new(Problem::new(ProblemType::SignatureInvalid, format!("{error:#}"))))
        };
        let signature = self.person.sign(password_text(&self.address, nonce).as_bytes(), now).map_err(broken)?;
        let targets = self.targets.clone();
        let target = targets.draw(&mut self.random);
        let request =
            Request::get(format!("{}/{organization}/{user}/password?client={client}", target.http.server()))
                .header("authorization", OpenPgpAuthorization { nonce, signature }.to_string())
                .body(Full::default())
                .map_err(|error| broken(error.into()))?;
        match self.exchange(Operation::RequestSessionKey, target, request, self.patience, false).await {
            Reply::Done(answer) => {
                let key = self.open(&answer, nonce).map_err(broken)?;
                Ok(RequestSigner::new(self.address, key))
            }
            other => Err(other),
        }
    }

    /// Sends a request, waits for its answer, and says what it means.
    async fn exchange(
        &mut self,
        operation: Operation,
        target: &Target,
        request: Request<Full<Bytes>>,
        patience: Duration,
        waits: bool,
    ) -> Reply {
        let watch = Stopwatch::start();
        let answer = target.http.send(request, patience).await;
        let took = watch.elapsed();
        if answer.is_err() {
            self.targets.rest(target);
        }
        let timeout = matches!(answer, Err(TransportError::Timeout { .. }));
        let reply = self.judge(answer);
        let ending = match &reply {
            Reply::Done(_) => Ending::Ok,
            Reply::Again(_) if timeout => Ending::Timeout,
            Reply::Again(Why::Session) | Reply::Refused(_) => Ending::Refused,
            Reply::Again(_) => Ending::Failed,
        };
        self.observer.attempted(operation, ending, took, waits);
        reply
    }

    fn open(&self, answer: &Answer, nonce: Nonce) -> Result<SessionKey> {
        let grant: SessionGrant = serde_json::from_slice(&self.person.decrypt(&answer.body)?)?;
        ensure!(grant.nonce == nonce, "the session key is for another request");
        Ok(grant.key.clone())
    }

    fn judge(&mut self, answer: Result<Answer, TransportError>) -> Reply {
        let answer = match answer {
            Ok(answer) if answer.status.is_success() => return Reply::Done(answer),
            Ok(answer) => answer,
            Err(TransportError::Timeout { .. }) => return Reply::Again(Why::Unanswered),
            Err(_) => return Reply::Again(Why::Unreachable),
        };
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            // What is in front of the service answers in its own words.
            return if answer.status.is_server_error() || answer.status.as_u16() == 429 {
                Reply::Again(Why::Busy)
            } else {
                let detail = format!("status {}, and no problem of the protocol", answer.status);
                Reply::Refused(Box::new(Problem::new(ProblemType::Internal, detail)))
            };
        };
        match problem.kind {
            ProblemType::Unavailable
            | ProblemType::RateLimited
            | ProblemType::RequestTimeout
            | ProblemType::Internal
            | ProblemType::StorageFull => Reply::Again(Why::Busy),
            ProblemType::SessionUnknown | ProblemType::SignatureInvalid => {
                self.session = None;
                Reply::Again(Why::Session)
            }
            ProblemType::NonceReused => Reply::Again(Why::Session),
            ProblemType::NonceOutOfWindow => {
                if let Some(theirs) = problem.now {
                    let ours = self.clock.now().0;
                    let micros = Duration::from_micros;
                    self.correction = (micros(theirs.saturating_sub(ours)), micros(ours.saturating_sub(theirs)));
                    // A nonce that is far ahead, from before the clock was corrected, would keep all others out.
                    self.nonce = self.nonce.filter(|nonce| nonce.is_within(Duration::from_secs(20), self.now()));
                }
                Reply::Again(Why::Session)
            }
            _ => Reply::Refused(Box::new(problem)),
        }
    }
}
