//! Means, and how well they are known.

use std::time::Duration;

use statrs::distribution::{ContinuousCDF as _, StudentsT};
use thiserror::Error;

use super::real;

/// The shortest batch. Shorter ones still remember each other: caches, compactions and retries last seconds.
const BATCH: usize = 10;
/// The fewest batches that an interval is made of, and the fewest that making them longer may leave.
const BATCHES_MIN: usize = 5;
const BATCHES_KEPT: usize = 8;
const SECONDS_MIN: usize = BATCHES_MIN * BATCH;

/// From where to where a value is likely to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How often such intervals hold the true value, 0 to 1.
    pub confidence: f64,
}

impl Interval {
    /// Says whether a value is within, ends included.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Returns the interval of the estimate ± t·error by Student's t distribution.
    pub(super) fn student(estimate: f64, error: f64, freedom: f64, confidence: f64) -> Self {
        let reach = if error > 0.0 { student_quantile(freedom, confidence) * error } else { 0.0 };
        Self { estimate, low: estimate - reach, high: estimate + reach, confidence }
    }
}

/// Returns how many standard errors from the middle of Student's t distribution so much of it ends, on both sides.
fn student_quantile(freedom: f64, confidence: f64) -> f64 {
    // Only a scale or a freedom that is not positive is refused.
    StudentsT::new(0.0, 1.0, freedom.max(1.0))
        .map_or(f64::INFINITY, |t| t.inverse_cdf(f64::midpoint(1.0, confidence)))
}

/// What the values of a sample are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// One value of each of several runs.
    Runs,
    /// Means of batches of one run.
    Batches {
        /// How long each is.
        length: Duration,
        /// Whether the means still depend on the ones before, so that the interval is too narrow.
        dependent: bool,
    },
}

/// There is not enough to say how well a mean is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooLittle {
    /// One run, or none.
    #[error("{0} runs: it takes two to know how far runs differ")]
    Runs(usize),
    /// A short run.
    #[error(
        "{0} s of one run: it takes {SECONDS_MIN} s, as seconds depend on each other and only batches of {BATCH} s hardly \
         do; measure longer or run again"
    )]
    Seconds(usize),
    /// A value that is no number.
    #[error("a value is not a number")]
    NotFinite,
}

/// A mean and what it is known by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The mean.
    pub mean: f64,
    /// The variance of the values about it, with n − 1.
    pub variance: f64,
    /// How many values there are, at least two.
    pub count: usize,
    /// What they are.
    pub basis: Basis,
}

impl Sample {
    /// Takes one figure of each of several runs.
    ///
    /// # Errors
    /// If there are fewer than two.
    pub fn of_runs(values: &[f64]) -> Result<Self, TooLittle> {
        if values.len() < 2 {
            return Err(TooLittle::Runs(values.len()));
        }
        Self::of(values, Basis::Runs)
    }

    /// Takes one figure of each second of one run, without its warm-up.
    ///
    /// Seconds depend on each other, so they say less than as many runs would. By the method of batch means (Law,
    /// *Simulation Modeling and Analysis*, 9.5.3) the mean of each 10 s is one value; while those still follow
    /// each other (their first autocorrelation is over 2/√n), batches are made twice as long, down to eight of them.
    /// What is left over at the start, less than a batch, is left out.
    ///
    /// # Errors
    /// If there are less than 50 s.
    pub fn of_seconds(values: &[f64]) -> Result<Self, TooLittle> {
        if values.len() < SECONDS_MIN {
            return Err(TooLittle::Seconds(values.len()));
        }
        let mut length = BATCH;
        loop {
            let means = batch_means(values, length);
            let dependent = autocorrelation(&means) > 2.0 / real(means.len()).sqrt();
            if dependent && values.len() / (2 * length) >= BATCHES_KEPT {
                length *= 2;
                continue;
            }
            let seconds = u64::try_from(length).unwrap_or(u64::MAX);
            return Self::of(&means, Basis::Batches { length: Duration::from_secs(seconds), dependent });
        }
    }

    /// Returns where the true mean is likely to be.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Interval {
        Interval::student(self.mean, self.error_squared().sqrt(), real(self.count) - 1.0, confidence)
    }

    /// Returns the square of the mean's standard error.
    pub(super) fn error_squared(&self) -> f64 {
        self.variance / real(self.count)
    }

    fn of(values: &[f64], basis: Basis) -> Result<Self, TooLittle> {
        if values.iter().any(|value| !value.is_finite()) {
            return Err(TooLittle::NotFinite);
        }
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Ok(Self { mean, variance: squares / (real(values.len()) - 1.0), count: values.len(), basis })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / real(values.len())
}

fn batch_means(values: &[f64], length: usize) -> Vec<f64> {
    values.rchunks_exact(length).rev().map(mean).collect()
}

/// Returns the first autocorrelation; 0 where nothing varies.
fn autocorrelation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let all: f64 = deviations.iter().map(|deviation| deviation * deviation).sum();
    let next: f64 = deviations.iter().zip(deviations.iter().skip(1)).map(|(one, other)| one * other).sum();
    if all > 0.0 { next / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [(1.0, 12.706_205), (4.0, 2.776_445), (10.0, 2.228_139), (120.0, 1.979_930)] {
            let computed = student_quantile(freedom, 0.95);

            assert!((computed - quantile).abs() < 1e-5, "{freedom}: {computed}");
        }
    }

    #[test]
    fn an_interval_is_that_of_the_textbook() {
        // Mean 5, standard deviation √2.5, n = 5: 5 ± 2.776 445 · √(2.5 / 5).
        let interval = Sample::of_runs(&[3.0, 4.0, 5.0, 6.0, 7.0]).unwrap().interval(0.95);

        assert!((interval.estimate - 5.0).abs() < 1e-12);
        assert!((interval.high - 6.963_243).abs() < 1e-5, "{interval:?}");
        assert!((interval.low - 3.036_757).abs() < 1e-5, "{interval:?}");
    }

    #[test]
    fn too_little_is_refused() {
        assert_eq!(Sample::of_runs(&[1.0]), Err(TooLittle::Runs(1)));
        assert_eq!(Sample::of_seconds(&[1.0; 49]), Err(TooLittle::Seconds(49)));
        assert_eq!(Sample::of_runs(&[1.0, f64::NAN]), Err(TooLittle::NotFinite));
    }

    /// Seconds of which each is mostly the one before, with mean 100.
    fn dependent(random: &mut Random, count: usize, memory: f64) -> Vec<f64> {
        let mut last = 0.0;
        (0..count)
            .map(|_| {
                last = memory * last + (random.fraction() - 0.5) * 10.0;
                100.0 + last
            })
            .collect()
    }

    #[test]
    fn seconds_that_depend_on_each_other_are_not_taken_for_runs() {
        // Of 95 % intervals of 300 s, about 95 % hold the true mean, and far fewer if seconds were taken for runs.
        let mut random = Random::new(1);
        let (mut held, mut naive_held) = (0, 0);
        for _ in 0..400 {
            let seconds = dependent(&mut random, 300, 0.9);
            held += u32::from(Sample::of_seconds(&seconds).unwrap().interval(0.95).holds(100.0));
            naive_held += u32::from(Sample::of_runs(&seconds).unwrap().interval(0.95).holds(100.0));
        }

        assert!(held > 340, "{held} of 400");
        assert!(naive_held < 240, "{naive_held} of 400");
    }

    #[test]
    fn batches_grow_while_they_depend_on_each_other() {
        let mut random = Random::new(2);
        let batch = |sample: Sample| match sample.basis {
            Basis::Batches { length, .. } => length.as_secs(),
            Basis::Runs => 0,
        };

        let independent = Sample::of_seconds(&dependent(&mut random, 600, 0.0)).unwrap();
        let slow = Sample::of_seconds(&dependent(&mut random, 3_600, 0.99)).unwrap();

        assert_eq!(batch(independent), 10);
        assert!(batch(slow) > 10);
    }
}
