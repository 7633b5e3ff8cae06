//! Randomness as a parameter. The only place that asks the system for it.

use std::fmt::Debug;

use uuid::Uuid;

/// A source of random bytes.
pub trait Entropy: Debug + Send + Sync {
    /// Fills a buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// The system's cryptographic generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system has a working source of randomness");
    }
}

/// Draws a random UUID (version 4), such as the id of a new user, client or message.
#[must_use]
pub fn random_id(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Draws a fraction in `[0, 1)`, for jitter.
#[must_use]
pub fn fraction(entropy: &dyn Entropy) -> f64 {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
