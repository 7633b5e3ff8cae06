//! When to try again, how often, and how long to wait.

use std::sync::Mutex;
use std::time::Duration;

use crate::entropy::{Entropy, fraction};

/// How long to wait between attempts, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one among them.
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles with each.
    pub first: Duration,
    /// The longest wait of all.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(250), longest: Duration::from_secs(15) }
    }
}

impl RetryPolicy {
    /// Never tries again.
    #[must_use]
    pub const fn once() -> Self {
        Self { attempts: 1, first: Duration::ZERO, longest: Duration::ZERO }
    }

    /// Returns how long to wait after attempt `attempt` (from 1) failed; none if that was the last one.
    ///
    /// Anywhere between nothing and the doubled time, so that clients whose server failed do not come back together.
    /// Where the server said when to come back, not before that.
    #[must_use]
    pub fn wait(&self, attempt: u32, retry_after: Option<Duration>, entropy: &dyn Entropy) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let jittered = doubled.min(self.longest).mul_f64(fraction(entropy));
        match retry_after {
            // Longer than a person waits: what is in the outbox is sent by a later run.
            Some(after) if after > self.longest.saturating_mul(4) => None,
            Some(after) => Some(after.saturating_add(jittered)),
            None => Some(jittered),
        }
    }
}

/// A bucket of retries for all of a client's requests: where most requests fail, few are repeated, so a server that is
/// down is not held down by its clients.
#[derive(Debug)]
pub struct RetryBudget {
    /// In tenths of a retry.
    left: Mutex<u32>,
}

impl RetryBudget {
    const FULL: u32 = 200;
    const RETRY: u32 = 10;
    const SUCCESS: u32 = 1;

    /// Begins with a full bucket: 20 retries.
    #[must_use]
    pub const fn full() -> Self {
        Self { left: Mutex::new(Self::FULL) }
    }

    /// Takes one retry; false if there is none left.
    pub fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match left.checked_sub(Self::RETRY) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }

    /// Puts a tenth of a retry back after a request that succeeded.
    pub fn succeeded(&self) {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *left = (*left + Self::SUCCESS).min(Self::FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let policy = RetryPolicy { attempts: 4, first: Duration::from_secs(1), longest: Duration::from_secs(3) };
        let longest = |attempt| policy.wait(attempt, None, &Always(255)).map(|wait| wait.as_secs_f64().round());
        assert_eq!([1, 2, 3, 4].map(longest), [Some(1.0), Some(2.0), Some(3.0), None]);
        assert_eq!(policy.wait(1, None, &Always(0)), Some(Duration::ZERO));
    }

    #[test]
    fn the_server_is_not_asked_before_it_said() {
        let policy = RetryPolicy::default();
        let after = Duration::from_secs(7);
        assert!(policy.wait(1, Some(after), &Always(0)).unwrap() >= after);
        assert_eq!(policy.wait(1, Some(Duration::from_secs(3600)), &Always(0)), None);
    }

    #[test]
    fn a_budget_runs_out_and_fills_again() {
        let budget = RetryBudget::full();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 20);
        for _ in 0..10 {
            assert!(!budget.take());
            budget.succeeded();
        }
        assert!(budget.take());
        assert!(!budget.take());
    }
}
