//! Nonces (section 5.3): Unix time in microseconds, strictly increasing for each client.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::UnixMicros;

/// A nonce: decimal Unix time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(UnixMicros);

/// A text that is not a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a nonce: decimal Unix time in microseconds, such as 1795400000123456")]
pub struct InvalidNonce;

impl Nonce {
    /// Makes the nonce of a moment.
    #[must_use]
    pub const fn at(time: UnixMicros) -> Self {
        Self(time)
    }

    /// Makes the next nonce of a client whose clock shows `now` and that used `last` before: the time, or one more
    /// than the last where the clock did not move.
    ///
    /// ```
    /// use countersign_protocol::nonce::Nonce;
    /// use countersign_protocol::time::UnixMicros;
    ///
    /// let now = UnixMicros(1_795_400_000_123_456);
    /// let first = Nonce::next(now, None);
    /// assert_eq!(first.to_string(), "1795400000123456");
    /// assert_eq!(Nonce::next(now, Some(first)).to_string(), "1795400000123457");
    /// ```
    #[must_use]
    pub fn next(now: UnixMicros, last: Option<Self>) -> Self {
        match last {
            Some(Self(last)) if last >= now => Self(UnixMicros(last.0.saturating_add(1))),
            _ => Self(now),
        }
    }

    /// Returns the moment that the nonce names.
    #[must_use]
    pub const fn time(self) -> UnixMicros {
        self.0
    }

    /// Tells whether the nonce is within `window` of `now`, on either side.
    #[must_use]
    pub fn is_within(self, window: Duration, now: UnixMicros) -> bool {
        self.0.distance(now) <= window
    }
}

impl FromStr for Nonce {
    type Err = InvalidNonce;

    fn from_str(text: &str) -> Result<Self, InvalidNonce> {
        let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let one_spelling = !text.starts_with('0') || text == "0";
        if !(digits_only && one_spelling) {
            return Err(InvalidNonce);
        }
        text.parse().map(|micros| Self(UnixMicros(micros))).map_err(|_| InvalidNonce)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(formatter)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
