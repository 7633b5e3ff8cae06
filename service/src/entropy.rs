//! Randomness as a parameter. The only place that asks the system for it.

use std::fmt::Debug;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

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

/// A generator that a seed decides: SHA-256 in counter mode. For tests and simulations only.
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<(u64, u64)>,
}

impl SeededEntropy {
    /// Makes a generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: Mutex::new((seed, 0)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in buffer.chunks_mut(32) {
            let block = Sha256::new().chain_update(state.0.to_be_bytes()).chain_update(state.1.to_be_bytes());
            state.1 += 1;
            let block: [u8; 32] = block.finalize().into();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// Draws a fraction in `[0, 1)`, for jitter.
#[must_use]
pub fn fraction(entropy: &dyn Entropy) -> f64 {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
