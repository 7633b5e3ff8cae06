//! Randomness as a parameter: a sequence that a seed decides, the same on every machine and in every version.
//!
//! Identifiers of what is created come from the system instead, by way of the client library: two runs with one seed
//! must not meet each other's.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// A sequence of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Starts the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Splits off a sequence of its own, so that what one part draws does not move what another draws.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number below `bound`; 0 if that is 0. The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.bits().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    /// Returns a number of at least 0 and below 1, one of 2³² that are equally likely.
    pub fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX)) / 4_294_967_296.0
    }

    /// Returns a number of a range.
    pub fn within(&mut self, range: &RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end().saturating_sub(*range.start()).saturating_add(1))
    }

    /// Returns a time of a range, to the millisecond.
    pub fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let millis = |duration: &Duration| usize::try_from(duration.as_millis()).unwrap_or(usize::MAX);
        let millis = self.within(&(millis(range.start())..=millis(range.end())));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Returns one of several; none of none.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill_bytes(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_sequence() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.bits(), random.below(10), random.split().bits())
        };

        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn fractions_are_spread_evenly_below_one() {
        let mut random = Random::new(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let fraction = random.fraction();
            assert!((0.0..1.0).contains(&fraction));
            let tenth = (0..10).rfind(|tenth| f64::from(*tenth) / 10.0 <= fraction).unwrap();
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }

        assert!(tenths.iter().all(|count| (900..1_100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let mut random = Random::new(1);
        let drawn: std::collections::BTreeSet<usize> = (0..100).map(|_| random.within(&(2..=4))).collect();

        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(random.within(&(5..=5)), 5);
    }
}
