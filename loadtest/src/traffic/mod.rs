//! What is to be sent: when, by whom, to whom, how much of it. An iterator of [`Due`] messages that a seed decides.
//!
//! Owns: schedules (constant, ramp, steps, Poisson), who writes how often to whom, how large messages are. Refuses to
//! know: the service, and what becomes of a message.
//!
//! Invariant: times never go back. The open model: when a message is due does not depend on any answer.

mod population;
mod schedule;

use std::iter::Peekable;
use std::time::Duration;

pub use population::{BYTES_MIN, InvalidSizes, Population, Sizes};
pub use schedule::{Arrivals, InvalidRate, Rate, Schedule};

/// A message that is due. Users are numbers from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When, after the start.
    pub after: Duration,
    /// Who sends it.
    pub from: usize,
    /// Who gets it, of the same organization: without repeats, at least one.
    pub to: Vec<usize>,
    /// Bytes of its content.
    pub bytes: usize,
}

/// Messages in the order in which they are due.
pub type Traffic = Box<dyn Iterator<Item = Due> + Send>;

/// Puts a schedule and a population together.
#[must_use]
pub fn drawn(schedule: Schedule, mut population: Population) -> Traffic {
    Box::new(schedule.map(move |after| population.draw(after)))
}

/// Puts several lists together, in the order in which messages are due.
#[must_use]
pub fn merged(lists: Vec<Traffic>) -> Traffic {
    let mut lists: Vec<Peekable<Traffic>> = lists.into_iter().map(Iterator::peekable).collect();
    Box::new(std::iter::from_fn(move || {
        let first =
            lists.iter_mut().enumerate().filter_map(|(number, list)| Some((list.peek()?.after, number))).min();
        lists.get_mut(first?.1)?.next()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_in_order_of_time() {
        let at = |seconds| Due { after: Duration::from_secs(seconds), from: 0, to: vec![1], bytes: 1 };
        let list = |times: &[u64]| -> Traffic {
            Box::new(times.iter().map(|time| at(*time)).collect::<Vec<_>>().into_iter())
        };

        let times: Vec<u64> =
            merged(vec![list(&[1, 4]), list(&[]), list(&[2, 3, 9])]).map(|due| due.after.as_secs()).collect();

        assert_eq!(times, [1, 2, 3, 4, 9]);
    }
}
