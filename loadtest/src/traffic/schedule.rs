//! When messages are due: a rate over time, and how arrivals lie within it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::random::Random;

/// A rate over time, in messages a second: parts that follow each other, in each of which it changes evenly.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    from: f64,
    to: f64,
    /// How long it is; where this is not said, an equal share of what the others leave.
    lasts: Option<Duration>,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is messages a second, such as 200; a ramp is 10..500; several follow each other with commas, such as \
     50,100,200; and each may say how long it is, such as 100@30s,100..1000@2m"
)]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let number = |text: &str| -> Result<f64, InvalidRate> {
            let number: f64 = text.trim().parse().map_err(|_| InvalidRate)?;
            // More than this, and rounding would be seen in the times.
            if (0.0..=1e7).contains(&number) { Ok(number) } else { Err(InvalidRate) }
        };
        let part = |text: &str| -> Result<Part, InvalidRate> {
            let (rate, lasts) = match text.split_once('@') {
                Some((rate, lasts)) => {
                    (rate, Some(humantime::parse_duration(lasts.trim()).map_err(|_| InvalidRate)?))
                }
                None => (text, None),
            };
            let (from, to) = rate.split_once("..").unwrap_or((rate, rate));
            Ok(Part { from: number(from)?, to: number(to)?, lasts })
        };
        text.split(',').map(part).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Part { from, to, lasts }) in self.0.iter().enumerate() {
            if number > 0 {
                formatter.write_str(",")?;
            }
            write!(formatter, "{from}")?;
            if from.total_cmp(to).is_ne() {
                write!(formatter, "..{to}")?;
            }
            if let Some(lasts) = lasts {
                write!(formatter, "@{}", humantime::format_duration(*lasts))?;
            }
        }
        Ok(())
    }
}

impl Rate {
    /// The same rate all the time.
    #[must_use]
    pub fn constant(rate: f64) -> Self {
        Self(vec![Part { from: rate, to: rate, lasts: None }])
    }

    /// Returns the rate with all its parts multiplied, such as one worker's share.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|part| Part { from: part.from * factor, to: part.to * factor, ..*part }).collect())
    }

    /// Returns the parts with their lengths: from, to, and seconds.
    fn parts(&self, duration: Duration) -> Vec<(f64, f64, f64)> {
        let said: Duration = self.0.iter().filter_map(|part| part.lasts).sum();
        let silent = self.0.iter().filter(|part| part.lasts.is_none()).count();
        let share = duration.saturating_sub(said) / u32::try_from(silent.max(1)).unwrap_or(u32::MAX);
        self.0.iter().map(|part| (part.from, part.to, part.lasts.unwrap_or(share).as_secs_f64())).collect()
    }

    /// Returns how long it all is, where the parts that do not say so share what is left of `duration`.
    #[must_use]
    pub fn lasts(&self, duration: Duration) -> Duration {
        let all_said: Option<Duration> = self.0.iter().map(|part| part.lasts).sum();
        all_said.unwrap_or_else(|| {
            let said: Duration = self.0.iter().filter_map(|part| part.lasts).sum();
            said.max(duration)
        })
    }
}

/// How arrivals lie within a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly: the nth when the rate adds up to n.
    #[default]
    Even,
    /// As those of many people who know nothing of each other: a Poisson process of that rate.
    Poisson,
}

/// The times at which messages are due, after the start.
#[derive(Clone, Debug)]
pub struct Schedule {
    parts: std::vec::IntoIter<(f64, f64, f64)>,
    /// The part that runs, when it began, and how many arrivals it has had.
    part: (f64, f64, f64),
    began: f64,
    count: f64,
    arrivals: Arrivals,
    random: Random,
}

impl Schedule {
    /// Lays a rate out over a time.
    #[must_use]
    pub fn new(rate: &Rate, duration: Duration, arrivals: Arrivals, random: Random) -> Self {
        let parts = rate.parts(duration).into_iter();
        Self { parts, part: (0.0, 0.0, 0.0), began: 0.0, count: 0.0, arrivals, random }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // A Poisson process of a changing rate is one of rate 1 whose time is the rate's integral (Çinlar 1975).
        let mut ahead = match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => -(1.0 - self.random.fraction()).ln(),
        };
        loop {
            let (from, to, lasts) = self.part;
            let whole = f64::midpoint(from, to) * lasts;
            if self.count + ahead <= whole {
                self.count += ahead;
                return Duration::try_from_secs_f64(self.began + time_of(self.count, self.part)).ok();
            }
            ahead -= whole - self.count;
            self.began += lasts;
            self.count = 0.0;
            self.part = self.parts.next()?;
        }
    }
}

/// Returns when, within a part, the integral of its rate reaches a count: the root of `from·t + (to − from)/(2·lasts)·t²`.
fn time_of(count: f64, (from, to, lasts): (f64, f64, f64)) -> f64 {
    let slope = (to - from) / lasts;
    let root = (from * from + 2.0 * slope * count).max(0.0).sqrt();
    // This form does not lose digits where the slope is small, as the schoolbook's does.
    (2.0 * count / (from + root)).min(lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: &str, seconds: u64, arrivals: Arrivals) -> Vec<Duration> {
        Schedule::new(&rate.parse().unwrap(), Duration::from_secs(seconds), arrivals, Random::new(1)).collect()
    }

    #[test]
    fn a_constant_rate_is_even() {
        let times = times("4", 2, Arrivals::Even);

        assert_eq!(
            times.iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [250, 500, 750, 1000, 1250, 1500, 1750, 2000]
        );
    }

    #[test]
    fn a_ramp_has_as_many_as_its_mean_and_more_of_them_late() {
        let times = times("0..100", 10, Arrivals::Even);

        assert_eq!(times.len(), 500);
        // The integral at half the time is a quarter of the whole.
        assert_eq!(times.iter().filter(|time| **time <= Duration::from_secs(5)).count(), 125);
    }

    #[test]
    fn parts_follow_each_other_and_share_what_is_left() {
        let times = times("10@1s,20,0,40@1s", 6, Arrivals::Even);

        // The last of a second is due at its very end.
        let of_second = |second: u64| {
            let (from, until) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            let tolerance = Duration::from_micros(1);
            times.iter().filter(|time| **time > from + tolerance && **time <= until + tolerance).count()
        };
        assert_eq!((0..6).map(of_second).collect::<Vec<_>>(), [10, 20, 20, 0, 0, 40]);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
        let times = times("100", 100, Arrivals::Poisson);

        assert!((9_500..10_500).contains(&times.len()), "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1].abs_diff(pair[0]).as_secs_f64()).collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // Of an exponential distribution the standard deviation is the mean.
        assert!((0.9..1.1).contains(&(variance.sqrt() / mean)));
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["200", "10..500", "50,100,200", "100@30s,100..1000@2m"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "x", "-1", "1..", "10@soon", "1e9", "NaN"] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn a_rate_knows_how_long_it_is() {
        let lasts = |text: &str| text.parse::<Rate>().unwrap().lasts(Duration::from_secs(60)).as_secs();

        assert_eq!((lasts("5"), lasts("5@10s"), lasts("5@10s,6"), lasts("5@2m,6")), (60, 10, 60, 120));
    }
}
