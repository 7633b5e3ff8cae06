//! Every way in which a request can fail, and the one place that turns it into a problem.
//!
//! Invariant I-15: what a user sees is written here, for them. What went wrong inside is in the log only.

use std::time::Duration;

use countersign_protocol::id::UserId;
use countersign_protocol::problem::{MEDIA_TYPE, Problem, ProblemType};
use countersign_protocol::request_signature::{ACCEPT_SIGNATURE, InvalidSignatureHeader};
use countersign_protocol::session_key::InvalidAuthorization;
use countersign_protocol::statement::InvalidStatement;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::Refusal;
use http::{HeaderValue, Response, StatusCode, header};

use super::ResponseBody;
use crate::authority::AuthorityError;
use crate::delivery::DeliveryError;
use crate::session::SessionError;
use crate::store::StoreError;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No such path.
    #[error("no such path")]
    UnknownPath,
    /// The path has other methods.
    #[error("the path has no such method")]
    UnknownMethod {
        /// Those that it has.
        allow: &'static str,
    },
    /// The request cannot be understood.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The statement cannot be understood.
    #[error("malformed statement")]
    Statement(#[source] InvalidStatement),
    /// No signature.
    #[error("the request is not signed")]
    Unsigned(Challenge),
    /// The `Authorization` header is malformed.
    #[error("the authorization is malformed")]
    Authorization(#[source] InvalidAuthorization),
    /// A signature header is not of the profile.
    #[error("the header {header} is malformed")]
    SignatureHeader {
        /// Which one.
        header: &'static str,
        /// What is wrong.
        #[source]
        source: InvalidSignatureHeader,
    },
    /// The body and the signature disagree whether there is a digest.
    #[error("the signature covers content-digest exactly when there is a body")]
    DigestCover,
    /// No session, or none that is good.
    #[error("not authenticated")]
    Session {
        /// Why.
        #[source]
        source: SessionError,
        /// What would be accepted.
        challenge: Challenge,
    },
    /// The signer is another than the path names.
    #[error("the signer is another than the path names")]
    Forbidden,
    /// The statement is refused.
    #[error("the statement is refused")]
    Authority(#[source] AuthorityError),
    /// There is nothing here.
    #[error("nothing here")]
    NotFound,
    /// Recipients who are not active users.
    #[error("unknown recipients")]
    UnknownRecipients(Vec<UserId>),
    /// Delivery refuses or fails.
    #[error("delivery failed")]
    Delivery(#[source] DeliveryError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    ContentTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken(#[source] hyper::Error),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// As many requests as allowed are in work.
    #[error("too many requests in work")]
    Overloaded,
    /// The request took too long.
    #[error("the request took too long")]
    DeadlineExceeded,
    /// Too many requests of one client or address.
    #[error("rate limited")]
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// A task broke.
    #[error("the handler did not come to its end")]
    Broken,
}

/// What a 401 says would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A signature under a session key: `Accept-Signature`.
    RequestSignature,
    /// An `OpenPGP` signature over a nonce: `WWW-Authenticate: OpenPGP`.
    OpenPgp,
}

/// What a problem's answer needs besides the error.
#[derive(Clone, Copy, Debug)]
pub struct ProblemContext {
    /// The clock, for `now`.
    pub now: UnixMicros,
    /// When to come back after a 503, jittered so that not all come back at once.
    pub retry_after: Duration,
}

/// The kind of problem in a response, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind(pub ProblemType);

impl ApiError {
    /// Returns the problem that a user sees.
    #[must_use]
    pub fn problem(&self, now: UnixMicros) -> Problem {
        use ProblemType as Type;
        match self {
            Self::UnknownPath => Problem::new(Type::NotFound, "There is no such path."),
            Self::UnknownMethod { allow } => Problem::new(Type::MethodNotAllowed, format!("This path has {allow}.")),
            Self::Malformed(detail) => Problem::new(Type::MalformedRequest, detail.clone()),
            Self::Statement(invalid) => Problem::new(Type::MalformedRequest, sentence(invalid)),
            Self::Unsigned(Challenge::RequestSignature) => Problem::new(
                Type::SignatureMissing,
                "Sign the request under a session key: the headers Signature-Input and Signature.",
            ),
            Self::Unsigned(Challenge::OpenPgp) => Problem::new(
                Type::SignatureMissing,
                "Sign a nonce with the user's OpenPGP key: the header Authorization: OpenPGP nonce=…, signature=….",
            ),
            Self::Authorization(invalid) => Problem::new(Type::SignatureInvalid, sentence(invalid)),
            Self::SignatureHeader { header, source } => {
                Problem::new(Type::SignatureInvalid, format!("The header {header} is {source}."))
            }
            Self::DigestCover => Problem::new(
                Type::SignatureInvalid,
                "A body needs one Content-Digest with sha-256, covered by the signature; without a body there is none.",
            ),
            Self::Session { source, .. } => session_problem(source, now),
            Self::Forbidden => {
                Problem::new(Type::Forbidden, "The session is of another client or user than the path names.")
            }
            Self::Authority(error) => authority_problem(error),
            Self::NotFound => Problem::new(Type::NotFound, "There is nothing here for this user."),
            Self::UnknownRecipients(users) => Problem {
                recipients: users.clone(),
                ..Problem::new(
                    Type::UnknownRecipient,
                    "These recipients are not active users of the organization; nothing was sent.",
                )
            },
            Self::Delivery(error) => delivery_problem(error, now),
            Self::Store(error) => store_problem(error),
            Self::ContentTooLarge { limit } => {
                Problem::new(Type::ContentTooLarge, format!("At most {limit} bytes are accepted here."))
            }
            Self::BodyBroken(_) => Problem::new(Type::MalformedRequest, "The body broke off; send it again."),
            Self::BodyTimeout => {
                Problem::new(Type::RequestTimeout, "The body did not arrive in time; send it again.")
            }
            Self::Overloaded => Problem::new(Type::Unavailable, "The service has too much to do; come back soon."),
            Self::DeadlineExceeded => {
                Problem::new(Type::Unavailable, "The request took too long; repeat it with the same message id.")
            }
            Self::RateLimited { .. } => Problem::new(Type::RateLimited, "Too many requests; come back later."),
            Self::Broken => Problem::new(Type::Internal, "The service failed; its operator finds why in the log."),
        }
    }

    /// Writes the whole answer.
    #[must_use]
    pub fn respond(&self, context: ProblemContext) -> Response<ResponseBody> {
        let problem = self.problem(context.now);
        let kind = problem.kind;
        let mut response = problem_response(&problem);
        let headers = response.headers_mut();
        match self {
            Self::UnknownMethod { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Self::RateLimited { retry_after } => insert_retry_after(headers, *retry_after),
            _ if matches!(kind, ProblemType::Unavailable | ProblemType::StorageFull) => {
                insert_retry_after(headers, context.retry_after);
            }
            _ => {}
        }
        if kind.status() == StatusCode::UNAUTHORIZED.as_u16() {
            match self {
                Self::Unsigned(Challenge::OpenPgp)
                | Self::Authorization(_)
                | Self::Session { challenge: Challenge::OpenPgp, .. } => {
                    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("OpenPGP"));
                }
                _ => {
                    headers.insert("accept-signature", HeaderValue::from_static(ACCEPT_SIGNATURE));
                }
            }
        }
        response
    }
}

/// Writes a problem as a response, with its kind for logs and metrics.
///
/// # Panics
/// Never: a problem has nothing that JSON cannot hold.
#[must_use]
pub fn problem_response(problem: &Problem) -> Response<ResponseBody> {
    let body = serde_json::to_vec(problem).expect("a problem has nothing that JSON cannot hold");
    let mut response = Response::new(ResponseBody::from(body));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.extensions_mut().insert(ProblemKind(problem.kind));
    response
}

fn insert_retry_after(headers: &mut http::HeaderMap, after: Duration) {
    // Whole seconds, rounded up: nobody should come back too early.
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

/// Makes a sentence of an error's text, which by convention begins in lower case and has no full stop.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) | StoreError::Timeout => unavailable(),
        StoreError::Corrupt(_) => {
            Problem::new(ProblemType::Internal, "The service failed; its operator finds why in the log.")
        }
        StoreError::Full => Problem::new(
            ProblemType::StorageFull,
            "The service has no room for more, and nothing was stored; repeat the request later.",
        ),
    }
}

fn unavailable() -> Problem {
    Problem::new(ProblemType::Unavailable, "A part of the service cannot be reached; repeat the request soon.")
}

fn session_problem(error: &SessionError, now: UnixMicros) -> Problem {
    match error {
        SessionError::SignatureInvalid => {
            Problem::new(ProblemType::SignatureInvalid, "The signature does not verify over this request.")
        }
        SessionError::NonceOutOfWindow => Problem {
            now: Some(now.0),
            ..Problem::new(
                ProblemType::NonceOutOfWindow,
                "The nonce or created is too far from the server's clock, which \"now\" tells in microseconds.",
            )
        },
        SessionError::NonceReused => Problem::new(
            ProblemType::NonceReused,
            "Each nonce must be greater than every one before it; sign the request again with a new one.",
        ),
        SessionError::SessionUnknown => {
            Problem::new(ProblemType::SessionUnknown, "Ask for a new session key at …/password.")
        }
        SessionError::ClientLimit => Problem::new(
            ProblemType::ClientLimit,
            "The user has as many clients as allowed; remove one, or ask an administrator for more.",
        ),
        SessionError::Encryption(_) => Problem::new(
            ProblemType::BadCertificate,
            "Nothing can be encrypted to the user's certificate now; an administrator must update it.",
        ),
        SessionError::Pool(_) | SessionError::Ephemeral(_) => unavailable(),
        SessionError::Store(error) => store_problem(error),
    }
}

fn authority_problem(error: &AuthorityError) -> Problem {
    match error {
        AuthorityError::Refused(refusal) => {
            let head = if let Refusal::LogMoved { head } = refusal { *head } else { None };
            Problem { head, ..Problem::new(refusal.problem_type(), sentence(refusal)) }
        }
        AuthorityError::ClientLimit => Problem::new(ProblemType::MalformedRequest, sentence(error)),
        AuthorityError::Pool(_) => unavailable(),
        AuthorityError::Store(error) => store_problem(error),
    }
}

fn delivery_problem(error: &DeliveryError, now: UnixMicros) -> Problem {
    match error {
        DeliveryError::WrongId => Problem::new(
            ProblemType::WrongId,
            "The id is not the one that organization, sender, time, recipients and content make.",
        ),
        DeliveryError::IdOutOfWindow => Problem {
            now: Some(now.0),
            ..Problem::new(
                ProblemType::IdOutOfWindow,
                "The id's time is too far from the server's clock, which \"now\" tells in microseconds; make a new id.",
            )
        },
        DeliveryError::NotFound => Problem::new(ProblemType::NotFound, "There is no such message for this user."),
        DeliveryError::SessionEnded => session_problem(&SessionError::SessionUnknown, now),
        DeliveryError::Store(error) => store_problem(error),
        DeliveryError::Ephemeral(_) => unavailable(),
    }
}
