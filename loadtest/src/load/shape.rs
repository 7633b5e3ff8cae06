//! What a load looks like: drawn from a rate and a population, or replayed from conversations, open or closed.

use std::fmt::Write as _;
use std::time::Duration;

use crate::ledger::{Options, Work};
use crate::random::Random;
use crate::traffic::{Arrivals, Due, Population, Rate, Schedule, Traffic, drawn, merged};

/// A conversation to be replayed by the users of an organization of its own.
pub struct Replay {
    /// What it is called.
    pub name: String,
    /// Its users.
    pub users: usize,
    /// Its messages, of users from 0.
    pub messages: Traffic,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Replay({}, {} users)", self.name, self.users)
    }
}

/// What a load looks like.
#[derive(Debug)]
pub enum Shape {
    /// Messages at a rate, whatever becomes of them.
    Drawn {
        /// The rate.
        rate: Rate,
        /// How messages lie within it.
        arrivals: Arrivals,
        /// How unequal users are: see [`Population::new`].
        skew: f64,
        /// Organizations.
        organizations: usize,
        /// Users of each.
        users: usize,
    },
    /// Conversations, each message at its time, whatever becomes of those before.
    Replayed {
        /// Which.
        conversations: Vec<Replay>,
        /// How many times faster than they were.
        speed: f64,
    },
    /// Programs that replay one conversation each, one message after the other, as fast as they can.
    Closed(Vec<Replay>),
}

impl Shape {
    /// Returns how many users each organization has.
    #[must_use]
    pub fn organizations(&self) -> Vec<usize> {
        match self {
            Self::Drawn { organizations, users, .. } => vec![*users; *organizations],
            Self::Replayed { conversations, .. } | Self::Closed(conversations) => {
                conversations.iter().map(|conversation| conversation.users).collect()
            }
        }
    }

    /// Says what is asked for, in words.
    #[must_use]
    pub fn in_words(&self, clients: &Options, duration: Duration) -> String {
        let mut text = match self {
            Self::Drawn { rate, arrivals, skew, organizations, users } => {
                let arrivals = if *arrivals == Arrivals::Poisson { "as a Poisson process" } else { "evenly" };
                format!(
                    "{rate} messages/s of {} bytes, {arrivals}, by {organizations} × {users} users (skew {skew})",
                    clients.bytes
                )
            }
            Self::Replayed { conversations, speed } => {
                format!("{} conversations replayed at {speed} times their speed", conversations.len())
            }
            Self::Closed(programs) => {
                format!("{} programs in a closed loop, each replaying a conversation", programs.len())
            }
        };
        let Options { readers, writers, long_polling, pause, .. } = clients;
        let _ = write!(
            text,
            "; {readers} reading and {writers} writing clients of each user, {:.0} % of the readers by long polling, the \
             others every {}; {}",
            long_polling * 100.0,
            humantime::format_duration(*pause),
            humantime::format_duration(duration)
        );
        text
    }

    /// Returns the work, and the names of its programs where it is closed.
    #[must_use]
    pub fn work(self, clients: &Options, duration: Duration) -> (Vec<String>, Work) {
        let mut random = Random::new(clients.seed);
        match self {
            Self::Drawn { rate, arrivals, skew, organizations, users } => {
                let sizes = clients.bytes.clone();
                let population = Population::new(organizations, users, skew, sizes, random.split());
                (Vec::new(), Work::Open(drawn(Schedule::new(&rate, duration, arrivals, random), population)))
            }
            Self::Replayed { conversations, speed } => {
                let mut first = 0;
                let mut lists: Vec<Traffic> = Vec::new();
                for Replay { users, messages, .. } in conversations {
                    lists.push(Box::new(messages.map(move |due| moved(due, first, speed))));
                    first += users;
                }
                (Vec::new(), Work::Open(merged(lists)))
            }
            Self::Closed(programs) => {
                let names = programs.iter().map(|program| program.name.clone()).collect();
                (names, Work::Closed(programs.into_iter().map(|program| program.messages).collect()))
            }
        }
    }
}

/// Returns a message of an organization whose first user has a number among all, at another speed.
fn moved(due: Due, first: usize, speed: f64) -> Due {
    let Due { after, from, to, bytes } = due;
    let after = Duration::try_from_secs_f64(after.as_secs_f64() / speed).unwrap_or(Duration::MAX);
    Due { after, from: from + first, to: to.into_iter().map(|user| user + first).collect(), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_merged_with_users_of_their_own() {
        let replay = |users: usize, seconds: u64| Replay {
            name: "x".to_owned(),
            users,
            messages: Box::new(std::iter::once(Due {
                after: Duration::from_secs(seconds),
                from: 0,
                to: vec![1],
                bytes: 9,
            })),
        };
        let shape = Shape::Replayed { conversations: vec![replay(3, 10), replay(2, 4)], speed: 2.0 };

        assert_eq!(shape.organizations(), [3, 2]);
        let (_, Work::Open(traffic)) = shape.work(&Options::default(), Duration::from_secs(60)) else {
            panic!("it is open")
        };
        let dues: Vec<Due> = traffic.collect();

        assert_eq!(
            dues.iter().map(|due| (due.after.as_secs(), due.from, due.to[0])).collect::<Vec<_>>(),
            [(2, 3, 4), (5, 0, 1)]
        );
    }
}
