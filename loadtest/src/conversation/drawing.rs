//! Draws a conversation as people have it: rooms of two and more in which some write much and most little, bursts of
//! back and forth with silence between them, more by day than by night, short texts and now and then an attachment.
//!
//! The shapes are those that studies of messaging agree on: activity of people and rooms by Zipf's law, waiting times
//! between messages log-normal within a session, lengths of texts log-normal, of files with a Pareto tail. The constants
//! are of the order that such studies give and are not fitted to any one. A log serves to make a load of a likely
//! shape, not to say something of people.
//!
//! Times and sizes are rounded when they are drawn, to milliseconds and bytes, so that the last bit of a logarithm on
//! another machine does not make another log.

use std::io::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{Entry, Head};
use super::stream::Writer;
use crate::random::Random;

/// Shares of messages by hour of the day, from midnight.
const HOURS: [f64; 24] = [
    1.2, 0.6, 0.3, 0.2, 0.2, 0.4, 1.2, 2.8, 4.4, 5.8, 6.2, 6.0, 6.4, 5.8, 5.4, 5.2, 5.4, 6.0, 6.8, 7.6, 8.0, 7.2,
    5.0, 2.6,
];
const DAY: f64 = 86_400.0;

/// The exponent of Zipf's law: the second writes half as much as the first, the third a third.
const ZIPF: f64 = 1.0;
/// Rooms for each user, the share of those with two members, and the most members of the others.
const ROOMS_PER_USER: f64 = 1.5;
const PAIRS: f64 = 0.6;
const GROUP_MAX: usize = 9;

/// Messages of a session in the mean; one session in so many is a long evening, so many times longer.
const SESSION: f64 = 9.0;
const LONG_ONE_IN: usize = 15;
const LONGER: f64 = 6.0;
/// How often the one who wrote writes again at once.
const GOES_ON: f64 = 0.35;
/// Median and spread of the time until someone goes on, and until another answers, in seconds.
const GO_ON: (f64, f64) = (5.0, 0.8);
const ANSWER: (f64, f64) = (17.0, 1.0);

/// Median, spread and most of the bytes of a text.
const TEXT: (f64, f64, f64) = (70.0, 1.1, 8_000.0);
/// One message in so many is an attachment: least bytes, exponent of the Pareto tail, most bytes.
const ATTACHMENT_ONE_IN: usize = 120;
const ATTACHMENT: (f64, f64, f64) = (20_000.0, 1.2, 300_000.0);
/// What encryption and signature add, in all and for each recipient, in bytes.
const ENVELOPE: (u32, u32) = (350, 95);

/// What decides a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawing {
    /// Users, at least two.
    pub users: u32,
    /// Messages.
    pub messages: u32,
    /// What decides everything else.
    pub seed: u64,
    /// Days of the conversation …
    pub days: u32,
    /// … and the seconds that they are pressed into.
    pub seconds: u32,
}

/// Who is in a room, and whom it is who writes there.
#[derive(Debug)]
struct Room {
    members: Vec<u32>,
    voices: Weights,
}

/// Numbers that are drawn with different weights.
#[derive(Debug)]
struct Weights(Vec<f64>);

impl Weights {
    fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        Self(
            weights
                .into_iter()
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut Random) -> usize {
        let place = random.fraction() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|sum| *sum <= place).min(self.0.len().saturating_sub(1))
    }
}

impl Drawing {
    /// Draws the messages, in the order of time.
    #[must_use]
    pub fn draw(&self) -> Vec<Entry> {
        let mut random = Random::new(self.seed);
        let rooms = self.rooms(&mut random.split());
        let busy = Weights::new(zipf(rooms.len()));
        let hours = Weights::new(HOURS);
        let wanted = usize::try_from(self.messages).unwrap_or(usize::MAX);
        let mut entries = Vec::with_capacity(wanted);
        while entries.len() < wanted {
            let Some(room) = rooms.get(busy.draw(&mut random)) else { break };
            let day = random.below(usize::try_from(self.days.max(1)).unwrap_or(1));
            let hour = hours.draw(&mut random);
            let begins = real(day) * DAY + (real(hour) + random.fraction()) * DAY / 24.0;
            self.session(room, begins, wanted, &mut random, &mut entries);
        }
        entries.sort_by_key(|entry| entry.at);
        // The first night is not waited for.
        let first = entries.first().map_or(Duration::ZERO, |entry| entry.at);
        for entry in &mut entries {
            entry.at = entry.at.saturating_sub(first);
        }
        entries
    }

    /// Draws the log and writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut writer = Writer::create(to, &Head::new(self.users, Some(*self)))?;
        for entry in self.draw() {
            writer.write(&entry)?;
        }
        writer.finish().map(drop)
    }

    /// Draws who is in which room. The first rooms are the busiest.
    fn rooms(&self, random: &mut Random) -> Vec<Room> {
        let mut people: Vec<u32> = (0..self.users).collect();
        for index in (1..people.len()).rev() {
            people.swap(index, random.below(index + 1));
        }
        let known = Weights::new(zipf(people.len()));
        let voice = |rank: usize| 1.0 / (real(rank) + 1.0).powf(ZIPF);
        let count = (f64::from(self.users) * ROOMS_PER_USER).ceil();
        let mut rooms = Vec::new();
        while real(rooms.len()) < count {
            let size = if random.fraction() < PAIRS { 2 } else { random.within(&(3..=GROUP_MAX)) };
            let mut ranks: Vec<usize> = Vec::new();
            while ranks.len() < size.min(people.len()) {
                let rank = known.draw(random);
                // Whoever is known to few is in some room too.
                let rank = if ranks.is_empty() { rooms.len() % people.len() } else { rank };
                if !ranks.contains(&rank) {
                    ranks.push(rank);
                }
            }
            let voices = Weights::new(ranks.iter().map(|rank| voice(*rank)));
            rooms
                .push(Room { members: ranks.iter().filter_map(|rank| people.get(*rank).copied()).collect(), voices });
        }
        rooms
    }

    /// Draws a burst of back and forth, of which nothing is after the last day or over `wanted`.
    fn session(&self, room: &Room, begins: f64, wanted: usize, random: &mut Random, entries: &mut Vec<Entry>) {
        let long = random.below(LONG_ONE_IN) == 0;
        let mean = if long { SESSION * LONGER } else { SESSION };
        let length = 1.0 + (exponential(random) * mean).floor();
        let mut speaker = room.voices.draw(random);
        let mut at = begins;
        let mut said = 0.0;
        while said < length && entries.len() < wanted {
            let Some(at_millis) = self.pressed(at) else { return };
            let Some(from) = room.members.get(speaker).copied() else { return };
            let to: Vec<u32> = room.members.iter().copied().filter(|member| *member != from).collect();
            entries.push(Entry { at: at_millis, from, bytes: size(to.len(), random), to });
            said += 1.0;
            let goes_on = random.fraction() < GOES_ON;
            let (median, spread) = if goes_on { GO_ON } else { ANSWER };
            at += log_normal(median, spread, random);
            if !goes_on {
                let before = speaker;
                // Two are never the same one for ever: each has a weight.
                while speaker == before && room.members.len() > 1 {
                    speaker = room.voices.draw(random);
                }
            }
        }
    }

    /// Returns when what happens so many seconds from the first midnight is replayed; none after the last day.
    fn pressed(&self, at: f64) -> Option<Duration> {
        let all = f64::from(self.days.max(1)) * DAY;
        let millis = (at / all * f64::from(self.seconds) * 1_000.0).round();
        (at < all).then(|| Duration::from_secs_f64(millis / 1_000.0)).map(to_millis)
    }
}

/// Rounds to a millisecond.
fn to_millis(at: Duration) -> Duration {
    let millis = (at + Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Returns the bytes of a message for so many.
fn size(recipients: usize, random: &mut Random) -> u32 {
    let text = if random.below(ATTACHMENT_ONE_IN) == 0 {
        let (least, exponent, most) = ATTACHMENT;
        (least / (1.0 - random.fraction()).powf(1.0 / exponent)).min(most)
    } else {
        let (median, spread, most) = TEXT;
        log_normal(median, spread, random).clamp(1.0, most)
    };
    let (fixed, each) = ENVELOPE;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 300 000")]
    let text = text.round() as u32;
    text + fixed + each * u32::try_from(recipients).unwrap_or(u32::MAX)
}

fn zipf(ranks: usize) -> impl Iterator<Item = f64> {
    (0..ranks).map(|rank| 1.0 / (real(rank) + 1.0).powf(ZIPF))
}

/// Draws from the exponential distribution of mean 1.
fn exponential(random: &mut Random) -> f64 {
    -(1.0 - random.fraction()).ln()
}

/// Draws from a log-normal distribution: its median, and the standard deviation of its logarithm. By Box and Muller.
fn log_normal(median: f64, spread: f64, random: &mut Random) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.fraction()).cos();
    median * (spread * normal).exp()
}

/// Returns a small number as a real one.
fn real(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWING: Drawing = Drawing { users: 40, messages: 12_000, seed: 1, days: 3, seconds: 600 };

    #[test]
    fn a_drawing_makes_one_log() {
        let small = Drawing { messages: 500, ..DRAWING };

        assert_eq!(small.draw(), small.draw());
        assert_ne!(small.draw(), Drawing { seed: 2, ..small }.draw());
    }

    #[test]
    fn there_are_as_many_messages_as_were_asked_for_within_the_time() {
        for users in [2, 3, 40] {
            let entries = Drawing { users, messages: 1_000, ..DRAWING }.draw();

            let mut before = Duration::ZERO;
            for entry in &entries {
                entry.check(users, before).unwrap();
                assert!(!entry.to.contains(&entry.from));
                before = entry.at;
            }
            assert_eq!(entries.len(), 1_000);
            assert!(before <= Duration::from_secs(600));
        }
    }

    #[test]
    fn a_few_write_most() {
        let entries = DRAWING.draw();
        let mut by_user = vec![0_usize; 40];
        for entry in &entries {
            by_user[usize::try_from(entry.from).unwrap()] += 1;
        }
        by_user.sort_unstable();

        let top: usize = by_user.iter().rev().take(8).sum();
        assert!(top * 2 > entries.len(), "a fifth of the people write over half: {by_user:?}");
        assert!(by_user.iter().filter(|count| **count == 0).count() < 8, "nearly all write something: {by_user:?}");
    }

    #[test]
    fn messages_come_in_bursts_and_by_day() {
        let entries = DRAWING.draw();
        // Were they spread evenly, as many would be in each second, give or take its root.
        let mut by_second = vec![0.0_f64; 601];
        for entry in &entries {
            by_second[usize::try_from(entry.at.as_secs()).unwrap()] += 1.0;
        }
        let mean = 20.0;
        let variance = by_second.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 601.0;
        // Three days: the first hours after each midnight, against the evenings.
        let between = |from: u64, to: u64| {
            let hours = |entry: &&Entry| (from..to).contains(&(entry.at.as_secs() * 72 / 600 % 24));
            entries.iter().filter(hours).count()
        };

        assert!(variance > 3.0 * mean, "{variance}");
        assert!(between(18, 21) > 5 * between(2, 5));
    }

    #[test]
    fn sizes_have_a_heavy_tail() {
        let mut sizes: Vec<u32> = DRAWING.draw().iter().map(|entry| entry.bytes).collect();
        sizes.sort_unstable();

        assert!((450..1_500).contains(&sizes[sizes.len() / 2]), "the median: {}", sizes[sizes.len() / 2]);
        assert!(sizes[sizes.len() - 50] > 20_000, "the largest: {:?}", &sizes[sizes.len() - 50..]);
    }
}
