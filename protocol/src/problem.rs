//! Problems (section 8): what a service answers instead of what was asked for, as RFC 9457 `application/problem+json`.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::UserId;
use crate::log::Head;

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

const URN: &str = "urn:countersign:problem:";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problem, each with one status and one title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemType { $($(#[$doc])* $variant,)* }

        impl ProblemType {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name, the last part of the problem's URN.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns a short summary for people, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

problem_types! {
    /// The request cannot be understood.
    MalformedRequest = "malformed-request", 400, "The request is malformed.";
    /// No signature where one is needed.
    SignatureMissing = "signature-missing", 401, "The request is not signed.";
    /// A signature that is malformed or does not verify.
    SignatureInvalid = "signature-invalid", 401, "The signature is not valid.";
    /// The nonce or `created` is too far from the server's clock; `now` tells it.
    NonceOutOfWindow = "nonce-out-of-window", 401, "The nonce is too far from the server's clock.";
    /// The nonce is not greater than the last one accepted.
    NonceReused = "nonce-reused", 401, "The nonce was used before.";
    /// No such session; ask for a new session key.
    SessionUnknown = "session-unknown", 401, "There is no such session.";
    /// The signer may not do this.
    Forbidden = "forbidden", 403, "This is not allowed.";
    /// The statement's signatures do not satisfy the two-man rule.
    TwoManRule = "two-man-rule", 403, "The signatures do not satisfy the two-man rule.";
    /// The user has no place left for another client.
    ClientLimit = "client-limit", 403, "The user has as many clients as allowed.";
    /// There is nothing here, or not for this caller.
    NotFound = "not-found", 404, "There is nothing here.";
    /// A recipient is not an active user of the organization; `recipients` names them.
    UnknownRecipient = "unknown-recipient", 404, "A recipient is unknown.";
    /// The path exists, but not with this method.
    MethodNotAllowed = "method-not-allowed", 405, "The path has no such method.";
    /// The request did not arrive whole in time.
    RequestTimeout = "request-timeout", 408, "The request did not arrive in time.";
    /// Another statement has this place in the log; `head` tells where the log is.
    LogMoved = "log-moved", 409, "The log has moved on.";
    /// The organization or user exists already.
    Exists = "exists", 409, "It exists already.";
    /// The statement's time is not acceptable.
    StatementExpired = "statement-expired", 409, "The statement's time is not acceptable.";
    /// The change would leave no active administrator.
    LastAdministrator = "last-administrator", 409, "An organization needs an active administrator.";
    /// The message id's time is too far from the server's clock.
    IdOutOfWindow = "id-out-of-window", 409, "The message id's time is too far from the server's clock.";
    /// The body is larger than allowed.
    ContentTooLarge = "content-too-large", 413, "The content is too large.";
    /// The id is not the one that the message has.
    WrongId = "wrong-id", 422, "The id does not belong to this content.";
    /// The certificate cannot be used.
    BadCertificate = "bad-certificate", 422, "The certificate cannot be used.";
    /// Too many requests.
    RateLimited = "rate-limited", 429, "There are too many requests.";
    /// The service failed; the operator's log says how.
    Internal = "internal", 500, "The service failed.";
    /// The service cannot do this now.
    Unavailable = "unavailable", 503, "The service cannot do this now.";
    /// The service has no room for what it is to keep.
    StorageFull = "storage-full", 507, "The service has no room for more.";
}

/// A text that is not a known problem's URN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known urn:countersign:problem:<name>")]
pub struct UnknownProblem;

impl FromStr for ProblemType {
    type Err = UnknownProblem;

    fn from_str(text: &str) -> Result<Self, UnknownProblem> {
        let name = text.strip_prefix(URN).ok_or(UnknownProblem)?;
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownProblem)
    }
}

impl Serialize for ProblemType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{URN}{}", self.name()))
    }
}

impl<'de> Deserialize<'de> for ProblemType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A problem's JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// The summary for people.
    pub title: String,
    /// The HTTP status again, for those who see the body alone.
    pub status: u16,
    /// What is wrong with this request and what to do.
    pub detail: String,
    /// The request's id, by which an operator finds it in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `nonce-out-of-window`: the server's time in Unix microseconds, as a nonce would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// `log-moved`: where the log is; absent if there is no such organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// `unknown-recipient`: which are unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<UserId>,
}

impl Problem {
    /// Makes a problem with its kind's title and status.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            now: None,
            head: None,
            recipients: Vec::new(),
        }
    }
}
