//! How a ledger is made.

use std::time::Duration;

use countersign_protocol::id::UserId;

use super::book::Keeping;
use super::reader::Mode;
use crate::random::Random;
use crate::traffic::{Arrivals, Population, Rate, Schedule, Sizes, Traffic, drawn};

/// How a ledger is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Clients of each user that read.
    pub readers: usize,
    /// Clients of each user that write.
    pub writers: usize,
    /// Messages a second of all writers together, whatever the answers (open model).
    pub rate: f64,
    /// Bytes of a message.
    pub bytes: Sizes,
    /// Of the messages that a user's first reader gets, one in so many is acknowledged; none where this is 0.
    pub receipts_one_in: usize,
    /// How long one answer may take.
    pub patience: Duration,
    /// The share of readers that learn by long polling what is new, from 0 to 1. The others poll.
    pub long_polling: f64,
    /// How many seconds a long-polling reader waits.
    pub wait: u64,
    /// How far apart the times are at which a polling reader asks.
    pub pause: Duration,
    /// Whether a new client of each user looks at everything at the end.
    pub audit: bool,
    /// How well the ledger's files are kept.
    pub keeping: Keeping,
    /// What decides contents and recipients.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 2,
            writers: 2,
            rate: 20.0,
            bytes: Sizes::Even(200, 2_000),
            receipts_one_in: 10,
            patience: Duration::from_secs(10),
            long_polling: 0.5,
            wait: 20,
            pause: Duration::from_secs(1),
            audit: true,
            keeping: Keeping::Durable,
            seed: 1,
        }
    }
}

/// As long as nobody runs a ledger.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

impl Options {
    /// Returns how many clients a user needs.
    #[must_use]
    pub fn clients_of_each(&self) -> u32 {
        u32::try_from(self.readers + self.writers + usize::from(self.audit)).unwrap_or(u32::MAX)
    }

    /// Messages at the options' rate, from anybody to anybody of an organization, for as long as they are taken.
    #[must_use]
    pub fn endless(&self, organizations: usize, users: usize) -> Traffic {
        let mut random = Random::new(self.seed);
        let population = Population::new(organizations, users, 0.0, self.bytes.clone(), random.split());
        drawn(Schedule::new(&Rate::constant(self.rate), FOR_EVER, Arrivals::Even, random), population)
    }

    /// Returns how the nth of all readers learns what is new: both ways in turn, in the share that is asked for.
    pub(super) fn mode_of(&self, number: usize) -> Mode {
        let number = f64::from(u32::try_from(number % 1_000).unwrap_or(0));
        // Where the share's multiples pass a whole number.
        let long = ((number + 1.0) * self.long_polling).ceil() > (number * self.long_polling).ceil();
        if long { Mode::LongPoll(self.wait) } else { Mode::Poll(self.pause) }
    }
}

/// What writers do.
pub enum Work {
    /// Messages are sent when they are due, by the user whose turn it is, whatever became of those before.
    Open(Traffic),
    /// Each organization is one program that does one thing after the other, as fast as it can: it sends a message,
    /// then has all clients of its recipients look what is new. When messages are due does not matter.
    Closed(Vec<Traffic>),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(_) => formatter.write_str("Open"),
            Self::Closed(programs) => write!(formatter, "Closed({})", programs.len()),
        }
    }
}

/// Returns the users that numbers stand for.
pub(super) fn named(numbers: &[usize], users: &[UserId]) -> Vec<UserId> {
    numbers.iter().filter_map(|number| users.get(*number)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_poll_and_wait_in_the_share_that_is_asked_for() {
        let waiting = |long_polling| {
            let options = Options { long_polling, ..Options::default() };
            (0..100).filter(|number| matches!(options.mode_of(*number), Mode::LongPoll(_))).count()
        };

        assert_eq!([0.0, 0.1, 0.5, 0.75, 1.0].map(waiting), [0, 10, 50, 75, 100]);
        let first_two = [0, 1].map(|number| Options::default().mode_of(number));
        assert!(matches!(first_two, [Mode::LongPoll(_), Mode::Poll(_)]));
    }
}
