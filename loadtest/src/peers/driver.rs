//! What a side must be able to do for a user, and why it was not done.

use async_trait::async_trait;
use bytes::Bytes;
use countersign_client::connection::TransportError;
use http::StatusCode;

/// Something new for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its id, as the side writes it.
    pub id: String,
    /// Its content, where the side lists it together with that.
    pub content: Option<Bytes>,
}

/// One user of a side, on one device. Users are known by their number, from 0.
///
/// Each call is as many requests as the side needs for it, and no call repeats any: what was not answered may have been
/// done.
#[async_trait]
pub trait Client: Send {
    /// Sends a content to a user. Once this returns well, the side has promised to keep it.
    async fn send(&mut self, to: usize, content: Bytes) -> Result<(), Failure>;

    /// Asks what is new since what was confirmed last.
    async fn check(&mut self) -> Result<Vec<Item>, Failure>;

    /// Returns the content of something new.
    async fn read(&mut self, item: &Item) -> Result<Bytes, Failure>;

    /// Says that this user holds all that [`Self::check`] returned last, so that it is not new any more.
    async fn confirm(&mut self, items: &[Item]) -> Result<(), Failure>;
}

/// Why something was not done, or nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error("there was no answer")]
    Transport(#[from] TransportError),
    /// No answer, or one by which it may be done later.
    #[error("it was not done, or nobody knows: {0}")]
    Again(&'static str),
    /// An answer that refuses.
    #[error("refused with {status}: {text}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The beginning of its body.
        text: String,
    },
    /// An answer that this driver does not understand.
    #[error("not understood: {0}")]
    Unreadable(String),
}
