//! Who writes how often, to whom, and how much.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Due;
use crate::random::Random;

/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 3;
/// The least bytes of a message: room for what makes each unlike all others.
pub const BYTES_MIN: usize = 16;
/// The most bytes of a message, as a service takes them by default.
const BYTES_MAX: usize = 1024 * 1024;
/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874;

/// How large messages are.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// Evenly between two, and with both, in bytes.
    Even(usize, usize),
    /// Log-normal, as lengths of texts are: half are at most `median`, 99 of 100 at most `p99` bytes.
    LogNormal {
        /// Half of them are at most this.
        median: f64,
        /// 99 of 100 are at most this.
        p99: f64,
    },
}

/// A text that is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a size is a number of bytes from 16 to 1048576, such as 1000; or two, such as 200-2000; or median and 99th percentile \
     of a log-normal distribution, such as 400~20000"
)]
pub struct InvalidSizes;

impl FromStr for Sizes {
    type Err = InvalidSizes;

    fn from_str(text: &str) -> Result<Self, InvalidSizes> {
        let number = |text: &str| -> Result<u32, InvalidSizes> {
            let number: u32 = text.trim().parse().map_err(|_| InvalidSizes)?;
            let within = usize::try_from(number).is_ok_and(|number| (BYTES_MIN..=BYTES_MAX).contains(&number));
            if within { Ok(number) } else { Err(InvalidSizes) }
        };
        if let Some((median, p99)) = text.split_once('~') {
            let (median, p99) = (f64::from(number(median)?), f64::from(number(p99)?));
            return if median <= p99 { Ok(Self::LogNormal { median, p99 }) } else { Err(InvalidSizes) };
        }
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let of = |text| Ok(usize::try_from(number(text)?).unwrap_or(BYTES_MAX));
        let (least, most) = (of(least)?, of(most)?);
        if least <= most { Ok(Self::Even(least, most)) } else { Err(InvalidSizes) }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even(least, most) if least == most => write!(formatter, "{least}"),
            Self::Even(least, most) => write!(formatter, "{least}-{most}"),
            Self::LogNormal { median, p99 } => write!(formatter, "{median}~{p99}"),
        }
    }
}

impl Sizes {
    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Even(least, most) => random.within(&(*least..=*most)),
            Self::LogNormal { median, p99 } => {
                // Box and Muller 1958.
                let radius = (-2.0 * (1.0 - random.fraction()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.fraction()).cos();
                whole(median * (p99 / median).powf(normal / NORMAL_P99)).clamp(BYTES_MIN, BYTES_MAX)
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floating point saturate")]
const fn whole(number: f64) -> usize {
    number as usize
}

/// Users in organizations of the same size, some of whom write and get more than others.
#[derive(Clone, Debug)]
pub struct Population {
    organizations: usize,
    /// Of the users of an organization, by their rank: the share of all messages of it and of those before it.
    shares: Vec<f64>,
    sizes: Sizes,
    random: Random,
}

impl Population {
    /// Takes how many organizations and users of each there are, and by how much they differ: the share of the nth is
    /// proportional to n^−skew (Zipf's law; 0 for none).
    #[must_use]
    pub fn new(organizations: usize, users: usize, skew: f64, sizes: Sizes, random: Random) -> Self {
        let weights = (1..=users.max(1)).map(|rank| f64::from(u32::try_from(rank).unwrap_or(u32::MAX)).powf(-skew));
        let mut sum = 0.0;
        let mut shares: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        for share in &mut shares {
            *share /= sum;
        }
        Self { organizations: organizations.max(1), shares, sizes, random }
    }

    /// Draws the message that is due at a time.
    pub fn draw(&mut self, after: Duration) -> Due {
        let first = self.random.below(self.organizations) * self.shares.len();
        let from = first + self.person();
        let count = self.random.within(&(1..=RECIPIENTS_MAX.min(self.shares.len())));
        let mut to = Vec::with_capacity(count);
        for _ in 0..count {
            let person = first + self.person();
            if !to.contains(&person) {
                to.push(person);
            }
        }
        Due { after, from, to, bytes: self.sizes.draw(&mut self.random) }
    }

    fn person(&mut self) -> usize {
        let share = self.random.fraction();
        self.shares.partition_point(|until| *until <= share).min(self.shares.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(population: &mut Population) -> Vec<Due> {
        (0..10_000).map(|_| population.draw(Duration::ZERO)).collect()
    }

    #[test]
    fn messages_stay_within_an_organization() {
        let mut population = Population::new(3, 5, 0.0, Sizes::Even(20, 30), Random::new(1));

        for due in drawn(&mut population) {
            assert!((1..=3).contains(&due.to.len()) && (20..=30).contains(&due.bytes));
            assert!(due.from < 15 && due.to.iter().all(|to| to / 5 == due.from / 5), "{due:?}");
        }
    }

    #[test]
    fn the_first_writes_as_much_more_than_the_tenth_as_zipf_says() {
        let mut population = Population::new(1, 100, 1.0, Sizes::Even(20, 30), Random::new(1));
        let dues = drawn(&mut population);

        let of = |user| f64::from(u32::try_from(dues.iter().filter(|due| due.from == user).count()).unwrap());
        let ratio = of(0) / of(9);
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn sizes_of_text_have_the_median_and_the_percentile_that_were_asked_for() {
        let sizes: Sizes = "400~20000".parse().unwrap();
        let mut random = Random::new(1);
        let mut drawn: Vec<usize> = (0..20_000).map(|_| sizes.draw(&mut random)).collect();
        drawn.sort_unstable();

        assert!((380..=420).contains(&drawn[10_000]), "{}", drawn[10_000]);
        assert!((17_000..=23_000).contains(&drawn[19_800]), "{}", drawn[19_800]);
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["1000", "200-2000", "400~20000"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in ["", "15", "1048577", "2000-200", "20000~400", "x~y"] {
            assert_eq!(text.parse::<Sizes>(), Err(InvalidSizes), "{text}");
        }
    }
}
