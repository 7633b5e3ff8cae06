//! What is told of each attempt to whoever measures: which operation, how long it took, how it ended.

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a client asks a service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A session key: the only operation with public-key cryptography.
    RequestSessionKey,
    /// Taking a message.
    SendMessage,
    /// What is new: a check, or a long poll.
    ListMessages,
    /// A content.
    ReadMessage,
    /// Knowing that a client holds messages.
    ConfirmFetched,
    /// Taking a receipt.
    AcknowledgeMessage,
}

impl Operation {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 6] = [
        Self::RequestSessionKey,
        Self::SendMessage,
        Self::ListMessages,
        Self::ReadMessage,
        Self::ConfirmFetched,
        Self::AcknowledgeMessage,
    ];

    /// Returns its name in metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestSessionKey => "request_session_key",
            Self::SendMessage => "send_message",
            Self::ListMessages => "list_messages",
            Self::ReadMessage => "read_message",
            Self::ConfirmFetched => "confirm_fetched",
            Self::AcknowledgeMessage => "acknowledge_message",
        }
    }

    /// Returns its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It was done.
    Ok,
    /// It was answered with a problem that is the client's: a statement about this request.
    Refused,
    /// It was answered with a problem that is the service's, or the connection broke.
    Failed,
    /// It was not answered in time.
    Timeout,
}

impl Ending {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::Timeout];

    /// Returns its name in metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }

    /// Returns its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Is told of attempts while they happen. What it does takes time off the generator: it must be quick and never wait.
pub trait Observer: Send + Sync + Debug {
    /// An attempt of a client ended.
    ///
    /// `waited` says that the service was asked to wait for something new, so that `took` is nobody's fault.
    fn attempted(&self, operation: Operation, ending: Ending, took: Duration, waited: bool);

    /// A message that was due began to be sent, so much later than intended by the fault of the generator.
    fn began(&self, lag: Duration);

    /// A message was promised, so long after it was due.
    fn promised(&self, after: Duration);

    /// A client that checks at fixed times was still at work when the time came, so often.
    fn skipped_checks(&self, count: u64);
}

/// Looks away.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn attempted(&self, _: Operation, _: Ending, _: Duration, _: bool) {}

    fn began(&self, _: Duration) {}

    fn promised(&self, _: Duration) {}

    fn skipped_checks(&self, _: u64) {}
}
