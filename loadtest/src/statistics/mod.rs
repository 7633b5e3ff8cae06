//! What figures say and what they don't: intervals of confidence, comparisons in words, and the law of scalability.
//!
//! Owns: the arithmetic. Refuses to know: what was measured, and in what unit.
//!
//! Invariants:
//! - No figure is called a difference unless its interval says so.
//! - Seconds of one run are never taken for independent: they are put together to batches first.
//! - What is drawn at random is drawn from a seed.

mod bootstrap;
mod comparison;
mod sample;
mod scalability;

pub use bootstrap::{Blocks, Bootstrap};
pub use comparison::{Comparison, Sense, Told, Verdict};
pub use sample::{Basis, Interval, Sample, TooLittle};
pub use scalability::{FitError, Scalability, ScalabilityFit};

/// The confidence that is usual: 95 %.
pub const CONFIDENCE: f64 = 0.95;

/// Returns a count as a real number.
fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
