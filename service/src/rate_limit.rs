//! Rates of requests by key: a client, or an address.

use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// Allows each key so many requests a second, and twice as many at once after a pause. Or any number, if off.
///
/// Clones count together.
#[derive(Clone)]
pub struct RateLimit<K: Clone + Eq + Hash>(Option<Arc<DefaultKeyedRateLimiter<K>>>);

impl<K: Clone + Eq + Hash> RateLimit<K> {
    /// Makes a limit of requests a second for each key; 0 is none.
    #[must_use]
    pub fn per_second(rate: u32) -> Self {
        Self(NonZeroU32::new(rate).map(|rate| {
            let burst = rate.saturating_add(rate.get());
            Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
        }))
    }

    /// Counts a request of a key.
    ///
    /// # Errors
    /// How long the key has to wait, if it had too many.
    pub fn check(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// Forgets keys that have been quiet for so long that they have their whole burst again.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

impl<K: Clone + Eq + Hash> Debug for RateLimit<K> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "RateLimit(on)" } else { "RateLimit(off)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_burst_and_no_more_and_others_have_theirs() {
        let limit = RateLimit::per_second(1);

        let outcomes: Vec<bool> = (0..4).map(|_| limit.check(&"one").is_ok()).collect();

        assert_eq!(outcomes, [true, true, false, false]);
        assert!(limit.check(&"other").is_ok());
        assert!(limit.check(&"one").is_err_and(|wait| wait <= Duration::from_secs(1)));
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::per_second(0);
        assert!((0..10_000).all(|_| limit.check(&"one").is_ok()));
    }
}
