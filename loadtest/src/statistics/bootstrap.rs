//! Intervals of percentiles, for which there is no formula: by drawing the run again from itself (Efron 1979).
//!
//! What happened within a few seconds depends on each other, so whole blocks of time are drawn (Künsch 1989), not
//! single values.

use super::real;
use super::sample::Interval;
use crate::random::Random;

/// Values of one run, by block of time.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Each value with its block, ascending.
    sorted: Vec<(f64, usize)>,
    blocks: usize,
}

impl Blocks {
    /// Takes the values of each block, such as the times of all requests that began within the same ten seconds. Values
    /// that are no number are left out.
    pub fn new<B: IntoIterator<Item = f64>>(blocks: impl IntoIterator<Item = B>) -> Self {
        let mut sorted = Vec::new();
        let mut count = 0;
        for (index, block) in blocks.into_iter().enumerate() {
            count = index + 1;
            sorted.extend(block.into_iter().filter(|value| value.is_finite()).map(|value| (value, index)));
        }
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { sorted, blocks: count }
    }

    /// Returns the value that a share of all are not above (0 to 1), where each block counts as often as is said.
    fn quantile(&self, share: f64, times: &[usize]) -> Option<f64> {
        let weight = |block: &usize| times.get(*block).copied().unwrap_or(0);
        let all: usize = self.sorted.iter().map(|(_, block)| weight(block)).sum();
        let rank = (share * real(all)).max(f64::MIN_POSITIVE);
        let mut seen = 0;
        self.sorted.iter().find_map(|(value, block)| {
            seen += weight(block);
            (real(seen) >= rank).then_some(*value)
        })
    }

    fn draw(&self, random: &mut Random) -> Vec<usize> {
        let mut times = vec![0; self.blocks];
        for _ in 0..self.blocks {
            if let Some(times) = times.get_mut(random.below(self.blocks)) {
                *times += 1;
            }
        }
        times
    }
}

/// How intervals are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How often; a thousand is enough for 95 %.
    pub times: usize,
    /// The confidence, 0 to 1.
    pub confidence: f64,
    /// What decides the drawing.
    pub seed: u64,
}

impl Bootstrap {
    /// Returns the interval of a percentile (`share` is 0 to 1); none of fewer than two blocks or of no value.
    #[must_use]
    pub fn quantile(&self, blocks: &Blocks, share: f64) -> Option<Interval> {
        let estimate = blocks.quantile(share, &vec![1; blocks.blocks])?;
        let mut random = Random::new(self.seed);
        self.interval(blocks.blocks >= 2, estimate, || blocks.quantile(share, &blocks.draw(&mut random)))
    }

    /// Returns the interval of the second's percentile by the first's; none of fewer than two blocks each, or of values
    /// that are not positive.
    #[must_use]
    pub fn quantile_ratio(&self, first: &Blocks, second: &Blocks, share: f64) -> Option<Interval> {
        let ratio = |one: Option<f64>, other: Option<f64>| {
            let ratio = other? / one?;
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        };
        let once = |blocks: &Blocks| blocks.quantile(share, &vec![1; blocks.blocks]);
        let estimate = ratio(once(first), once(second))?;
        let mut random = Random::new(self.seed);
        self.interval(first.blocks.min(second.blocks) >= 2, estimate, || {
            let one = first.quantile(share, &first.draw(&mut random));
            ratio(one, second.quantile(share, &second.draw(&mut random)))
        })
    }

    fn interval(&self, enough: bool, estimate: f64, draw: impl FnMut() -> Option<f64>) -> Option<Interval> {
        if !enough {
            return None;
        }
        let mut drawn: Vec<f64> = std::iter::repeat_with(draw).take(self.times).flatten().collect();
        drawn.sort_by(f64::total_cmp);
        let outside = (1.0 - self.confidence) / 2.0;
        let all = Blocks { sorted: drawn.into_iter().map(|value| (value, 0)).collect(), blocks: 1 };
        Some(Interval {
            estimate,
            low: all.quantile(outside, &[1])?,
            high: all.quantile(1.0 - outside, &[1])?,
            confidence: self.confidence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { times: 200, confidence: 0.95, seed: 1 };

    /// Times with mean 1 in blocks of 25, exponential, so that the median is ln 2.
    fn times(random: &mut Random, blocks: usize) -> Blocks {
        Blocks::new((0..blocks).map(|_| (0..25).map(|_| -(1.0 - random.fraction()).ln()).collect::<Vec<_>>()))
    }

    #[test]
    fn a_percentile_is_the_value_of_its_rank() {
        let blocks = Blocks::new([(1..=50).map(f64::from), (51..=100).map(f64::from)]);

        for (share, value) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(blocks.quantile(share, &[1, 1]).map(f64::to_bits), Some(f64::to_bits(value)));
        }
    }

    #[test]
    fn intervals_hold_the_true_percentile_about_as_often_as_they_say() {
        let mut random = Random::new(7);
        let held = (0..100)
            .filter(|_| BOOTSTRAP.quantile(&times(&mut random, 20), 0.5).unwrap().holds(std::f64::consts::LN_2))
            .count();

        assert!((85..=99).contains(&held), "{held} of 100");
    }

    #[test]
    fn a_seed_decides_an_interval() {
        let blocks = times(&mut Random::new(1), 20);

        let with = |seed| Bootstrap { seed, ..BOOTSTRAP }.quantile(&blocks, 0.9);
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }

    #[test]
    fn what_takes_twice_as_long_has_a_ratio_of_about_two() {
        let mut random = Random::new(3);
        let first = times(&mut random, 30);
        let second = Blocks::new([first.sorted.iter().map(|(value, _)| value * 2.0).collect::<Vec<_>>(), vec![]]);

        let ratio = BOOTSTRAP.quantile_ratio(&first, &second, 0.9).unwrap();

        assert!((ratio.estimate - 2.0).abs() < 1e-9 && ratio.holds(2.0) && !ratio.holds(1.0), "{ratio:?}");
    }

    #[test]
    fn of_one_block_nothing_is_said() {
        assert_eq!(BOOTSTRAP.quantile(&Blocks::new([[1.0, 2.0]]), 0.5), None);
        assert_eq!(BOOTSTRAP.quantile(&Blocks::new([[f64::NAN], [f64::NAN]]), 0.5), None);
    }
}
