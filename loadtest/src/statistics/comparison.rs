//! Two series, and whether they differ.

use std::fmt::{self, Display};

use super::sample::{Interval, Sample};

/// What more of a figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// Done in a time: more is better.
    Rate,
    /// A time: less is better.
    Duration,
    /// Processor time or money for the same work: less is better.
    Cost,
}

impl Sense {
    /// Returns the words for less and for more.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Rate => ("less", "more"),
            Self::Duration => ("faster", "slower"),
            Self::Cost => ("cheaper", "dearer"),
        }
    }
}

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The second is better than the first.
    Better,
    /// The second is worse.
    Worse,
    /// The intervals allow either.
    Nothing,
}

/// A second series against a first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The first.
    pub first: Sample,
    /// The second.
    pub second: Sample,
    /// The second mean less the first.
    pub difference: Interval,
    /// The second mean by the first; none unless both are positive.
    pub ratio: Option<Interval>,
}

impl Comparison {
    /// Compares two series.
    ///
    /// The difference is by Welch's t (1947), which does not ask for equal variances. The ratio is by the delta method
    /// on logarithms with the same freedom of Welch and Satterthwaite: exp(ln r ± t·√(v₁/m₁² + v₂/m₂²)).
    #[must_use]
    pub fn new(first: Sample, second: Sample, confidence: f64) -> Self {
        let (one, other) = (first.error_squared(), second.error_squared());
        let difference = Interval::student(
            second.mean - first.mean,
            (one + other).sqrt(),
            freedom(&first, one, &second, other),
            confidence,
        );
        let ratio = (first.mean > 0.0 && second.mean > 0.0).then(|| {
            let (one, other) = (one / first.mean.powi(2), other / second.mean.powi(2));
            let estimate = (second.mean / first.mean).ln();
            let logarithm =
                Interval::student(estimate, (one + other).sqrt(), freedom(&first, one, &second, other), confidence);
            Interval {
                estimate: logarithm.estimate.exp(),
                low: logarithm.low.exp(),
                high: logarithm.high.exp(),
                confidence,
            }
        });
        Self { first, second, difference, ratio }
    }

    /// Says in words what can be told.
    #[must_use]
    pub const fn verdict(&self, sense: Sense) -> Verdict {
        Verdict { comparison: *self, sense }
    }
}

/// Returns the degrees of freedom by Welch and Satterthwaite, of errors whose squares are given.
fn freedom(first: &Sample, one: f64, second: &Sample, other: f64) -> f64 {
    let each = |sample: &Sample, error: f64| error.powi(2) / (super::real(sample.count) - 1.0);
    let below = each(first, one) + each(second, other);
    if below > 0.0 { (one + other).powi(2) / below } else { f64::INFINITY }
}

/// A comparison in words, such as "faster by 12 % (95 %: 9…15 %)". The share is of the first: a time that is "faster by
/// 12 %" is 12 % shorter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    comparison: Comparison,
    sense: Sense,
}

impl Verdict {
    /// Returns what can be told: something only if neither the difference may be 0 nor the ratio 1.
    #[must_use]
    pub fn told(&self) -> Told {
        let Comparison { difference, ratio, .. } = &self.comparison;
        if difference.holds(0.0) || ratio.is_some_and(|ratio| ratio.holds(1.0)) {
            return Told::Nothing;
        }
        if (difference.estimate > 0.0) == (self.sense == Sense::Rate) { Told::Better } else { Told::Worse }
    }
}

impl Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { difference, ratio, .. } = &self.comparison;
        let confidence = difference.confidence * 100.0;
        let (less, more) = self.sense.words();
        let word = if difference.estimate < 0.0 { less } else { more };
        let told = self.told() != Told::Nothing;
        let Some(ratio) = ratio else {
            // There is nothing that a share could be of.
            let Interval { estimate, low, high, .. } = difference;
            return if told {
                write!(formatter, "{word} by {:.3} ({confidence:.0} %: {low:.3}…{high:.3})", estimate.abs())
            } else {
                write!(formatter, "no difference can be told ({confidence:.0} %: {low:+.3}…{high:+.3})")
            };
        };
        let [low, share, high] = [ratio.low, ratio.estimate, ratio.high].map(|ratio| (ratio - 1.0) * 100.0);
        let digits = digits(share.abs().max((high - low) / 2.0));
        if !told {
            return write!(
                formatter,
                "no difference can be told ({confidence:.0} %: {}…{} %)",
                signed(low, digits),
                signed(high, digits)
            );
        }
        let (from, to) = if share < 0.0 { (-high, -low) } else { (low, high) };
        write!(formatter, "{word} by {:.digits$} % ({confidence:.0} %: {from:.digits$}…{to:.digits$} %)", share.abs())
    }
}

/// Returns how many digits after the point a share is worth.
fn digits(share: f64) -> usize {
    match share {
        share if share >= 10.0 => 0,
        share if share >= 1.0 => 1,
        _ => 2,
    }
}

/// Writes a share with its sign, and a real minus.
fn signed(share: f64, digits: usize) -> String {
    format!("{share:+.digits$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(first: &[f64], second: &[f64]) -> Comparison {
        Comparison::new(Sample::of_runs(first).unwrap(), Sample::of_runs(second).unwrap(), 0.95)
    }

    #[test]
    fn the_difference_is_that_of_welch() {
        // The example of Welch's test in R: t.test(c(2.1, 2.9, 3.4, 2.6), c(4.0, 5.2, 4.4, 6.1, 4.9)).
        // Means 2.75 and 4.92; s²: 0.296667 and 0.647; error √(0.0741667 + 0.1294) = 0.451184; freedom 6.8829.
        let comparison = compare(&[2.1, 2.9, 3.4, 2.6], &[4.0, 5.2, 4.4, 6.1, 4.9]);
        let Interval { estimate, low, high, .. } = comparison.difference;

        assert!((estimate - 2.17).abs() < 1e-9);
        assert!((f64::midpoint(low, high) - estimate).abs() < 1e-9);
        let errors = (high - estimate) / 0.451_184;
        // Between the tables' 2.4469 for a freedom of 6 and 2.3646 for one of 7, close to the latter.
        assert!((2.3646..2.3850).contains(&errors), "{errors}");
    }

    #[test]
    fn verdicts_are_said_in_words() {
        let before = [100.0, 101.0, 99.0, 100.5, 99.5];
        let after = [88.0, 88.5, 87.5, 88.2, 87.8];

        assert_eq!(compare(&before, &after).verdict(Sense::Duration).to_string(), "faster by 12 % (95 %: 11…13 %)");
        assert_eq!(compare(&before, &after).verdict(Sense::Cost).to_string(), "cheaper by 12 % (95 %: 11…13 %)");
        assert_eq!(compare(&before, &after).verdict(Sense::Rate).to_string(), "less by 12 % (95 %: 11…13 %)");
        assert_eq!(compare(&after, &before).verdict(Sense::Duration).to_string(), "slower by 14 % (95 %: 13…15 %)");
        assert_eq!(compare(&before, &after).verdict(Sense::Duration).told(), Told::Better);
        assert_eq!(compare(&before, &after).verdict(Sense::Rate).told(), Told::Worse);
    }

    #[test]
    fn what_may_be_chance_is_not_called_a_difference() {
        let verdict = compare(&[100.0, 104.0, 97.0], &[101.0, 96.0, 105.0]).verdict(Sense::Rate);

        assert_eq!(verdict.told(), Told::Nothing);
        let said = verdict.to_string();
        assert!(said.starts_with("no difference can be told (95 %: −"), "{said}");
        assert!(said.contains("…+"), "{said}");
    }

    #[test]
    fn what_never_varies_differs_or_is_the_same() {
        assert_eq!(compare(&[3.0, 3.0], &[3.0, 3.0]).verdict(Sense::Rate).told(), Told::Nothing);
        assert_eq!(compare(&[3.0, 3.0], &[4.0, 4.0]).verdict(Sense::Rate).told(), Told::Better);
    }

    #[test]
    fn of_nothing_there_is_no_share() {
        let comparison = compare(&[0.0, 0.0], &[2.0, 2.0]);

        assert_eq!(comparison.ratio, None);
        assert_eq!(comparison.verdict(Sense::Rate).to_string(), "more by 2.000 (95 %: 2.000…2.000)");
    }
}
