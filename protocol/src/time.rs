//! Points in time as the protocol writes them. None of these types can read a clock.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Milliseconds since 1970-01-01T00:00:00Z: the time of a message id, and of everything in delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The latest time that the 48 bits of a message id can hold, in the year 10889.
    pub const MAX_IN_ID: Self = Self((1 << 48) - 1);

    /// Returns the time `duration` later, or the latest one there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Returns the time `duration` earlier, or 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Returns how much later than `earlier` this is; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds since 1970-01-01T00:00:00Z: what nonces count in, and what a clock of the service returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Rounds down to milliseconds.
    #[must_use]
    pub const fn to_millis(self) -> UnixMillis {
        UnixMillis(self.0 / 1_000)
    }

    /// Rounds down to seconds.
    #[must_use]
    pub const fn to_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Returns the time `duration` later, or the latest one there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Returns the time `duration` earlier, or 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Returns the distance between two times, whichever is later.
    #[must_use]
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

impl From<UnixMillis> for UnixMicros {
    fn from(millis: UnixMillis) -> Self {
        Self(millis.0.saturating_mul(1_000))
    }
}

impl From<SystemTime> for UnixMicros {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<UnixMicros> for SystemTime {
    fn from(time: UnixMicros) -> Self {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time.0)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Writes RFC 3339 in UTC with microseconds where there are any, such as `2026-11-23T05:30:01Z`.
impl fmt::Display for UnixMicros {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok()) {
            Some(timestamp) => timestamp.fmt(formatter),
            None => write!(formatter, "{} µs after 1970", self.0),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A text that is not an RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between 1970 and 2106, such as 2026-11-23T05:30:01Z")]
pub struct InvalidTime;

/// Parses an RFC 3339 time with `T` and an offset. `OpenPGP`'s own times end in 2106, so later ones are refused.
///
/// ```
/// use countersign_protocol::time::{UnixMicros, parse_rfc3339};
///
/// let time = parse_rfc3339("2026-11-23T11:00:01+05:30")?;
/// assert_eq!(time, UnixMicros(1_795_411_801_000_000));
/// assert_eq!(time.to_string(), "2026-11-23T05:30:01Z");
/// assert!(parse_rfc3339("2026-11-23").is_err());
/// # Ok::<(), countersign_protocol::time::InvalidTime>(())
/// ```
///
/// # Errors
/// [`InvalidTime`].
pub fn parse_rfc3339(text: &str) -> Result<UnixMicros, InvalidTime> {
    if !is_shaped(text.as_bytes()) {
        return Err(InvalidTime);
    }
    let timestamp: jiff::Timestamp = text.parse().map_err(|_| InvalidTime)?;
    if timestamp < jiff::Timestamp::UNIX_EPOCH {
        return Err(InvalidTime);
    }
    let micros = u64::try_from(timestamp.as_microsecond()).map_err(|_| InvalidTime)?;
    if micros / 1_000_000 > u64::from(u32::MAX) {
        return Err(InvalidTime);
    }
    Ok(UnixMicros(micros))
}

/// Tells whether a text has the shape of RFC 3339, `DDDD-DD-DDTDD:DD:DD`, perhaps a fraction, then `Z` or `±DD:DD`: the
/// parser behind it knows more of ISO 8601 than that.
fn is_shaped(text: &[u8]) -> bool {
    let matches = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'D' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte == shape,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let offset = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            fraction.split_at(digits).1
        }
        _ => rest,
    };
    let is_offset = match offset {
        [_, hours @ .., b':', _, _] if matches(offset, b"+DD:DD") => hours <= b"23".as_slice(),
        _ => offset == b"Z",
    };
    is_offset && matches(moment, b"DDDD-DD-DDTDD:DD:DD")
}
