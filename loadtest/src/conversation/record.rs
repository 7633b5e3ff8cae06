//! What a line says.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::drawing::Drawing;

/// What the first line calls the format.
pub const FORMAT: &str = "countersign-conversation";
/// The version of the format that is read and written here.
pub const VERSION: u32 = 1;
/// The most bytes of one message: what the protocol allows.
pub const CONTENT_MAX: u32 = 1024 * 1024;
/// The most recipients of one message: what the protocol allows.
pub const RECIPIENTS_MAX: usize = 100;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// How many users there are. Their numbers are 0 to one less.
    pub users: u32,
    /// What the log was drawn from; none if people wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawing: Option<Drawing>,
}

impl Head {
    /// Returns the first line of a log of so many users.
    #[must_use]
    pub fn new(users: u32, drawing: Option<Drawing>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, users, drawing }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When it is sent, from the start of the log. To the millisecond; seconds in the file.
    #[serde(serialize_with = "write_seconds", deserialize_with = "read_seconds")]
    pub at: Duration,
    /// The user who sends it.
    pub from: u32,
    /// The users whom it is for, without repeats.
    pub to: Vec<u32>,
    /// The size of its content as it is sent, so of the ciphertext, in bytes.
    pub bytes: u32,
}

/// Why a message cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// A user whom the first line does not count.
    #[error("there is no user {user}: the first line says {users} users, so they are 0 to {}", users.saturating_sub(1))]
    NoSuchUser {
        /// Who it names.
        user: u32,
        /// How many there are.
        users: u32,
    },
    /// Nobody would get it.
    #[error("\"to\" names nobody")]
    NoRecipient,
    /// More than a service takes.
    #[error("\"to\" names {0} users; a message has at most {RECIPIENTS_MAX} recipients")]
    TooManyRecipients(usize),
    /// A recipient is named twice.
    #[error("\"to\" names user {0} twice")]
    Repeated(u32),
    /// A size that a service does not take.
    #[error("\"bytes\" is {0}; a message has 1 to {CONTENT_MAX} bytes")]
    Size(u32),
    /// Times go back.
    #[error("\"at\" is {:.3}, and the line before is at {:.3}: lines are in the order of time", at.as_secs_f64(), before.as_secs_f64())]
    Earlier {
        /// When it says that it is.
        at: Duration,
        /// When the one before is.
        before: Duration,
    },
}

impl Entry {
    /// Checks that a message can be replayed after one of `before`, among so many users.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, users: u32, before: Duration) -> Result<(), EntryError> {
        if self.at < before {
            return Err(EntryError::Earlier { at: self.at, before });
        }
        if self.to.is_empty() {
            return Err(EntryError::NoRecipient);
        }
        if self.to.len() > RECIPIENTS_MAX {
            return Err(EntryError::TooManyRecipients(self.to.len()));
        }
        for (index, user) in self.to.iter().enumerate() {
            if self.to.iter().skip(index + 1).any(|other| other == user) {
                return Err(EntryError::Repeated(*user));
            }
        }
        if let Some(user) = self.to.iter().chain([&self.from]).find(|user| **user >= users) {
            return Err(EntryError::NoSuchUser { user: *user, users });
        }
        if self.bytes == 0 || self.bytes > CONTENT_MAX {
            return Err(EntryError::Size(self.bytes));
        }
        Ok(())
    }
}

fn write_seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = u32::try_from(at.as_millis()).map_err(|_| serde::ser::Error::custom("a log is at most 49 days"))?;
    serializer.serialize_f64(f64::from(millis) / 1_000.0)
}

fn read_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    let at = Duration::try_from_secs_f64(seconds)
        .map_err(|_| serde::de::Error::custom("\"at\" is in seconds from the start, so 0 or more"))?;
    let millis = (at + Duration::from_micros(500)).as_millis();
    let millis = u32::try_from(millis).map_err(|_| serde::de::Error::custom("a log is at most 49 days"))?;
    Ok(Duration::from_millis(u64::from(millis)))
}
