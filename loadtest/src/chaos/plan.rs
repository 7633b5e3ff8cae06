//! The plan: what is done, to what, when and for how long. Drawn from a seed before anything begins.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::random::Random;

/// What there is to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Processes of the service.
    pub pods: usize,
    /// Nodes of the store; none where it is embedded.
    pub nodes: usize,
    /// Whether the nodes are this run's own: only then are they stopped and killed.
    pub own_nodes: bool,
    /// Servers of Valkey.
    pub valkeys: usize,
    /// Whether clocks can be shifted.
    pub clocks: bool,
}

/// What something is done to. Numbers count from 0, and are told from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "place", content = "number", rename_all = "kebab-case")]
pub enum Place {
    /// A pod.
    Pod(usize),
    /// A node of the store.
    Node(usize),
    /// A Valkey server.
    Valkey(usize),
    /// All pods, one after the other.
    AllPods,
    /// All of Valkey.
    AllValkey,
}

impl Place {
    const fn sort(self) -> &'static str {
        match self {
            Self::Pod(_) => "pod",
            Self::Node(_) => "store node",
            Self::Valkey(_) => "Valkey server",
            Self::AllPods => "all pods",
            Self::AllValkey => "all of Valkey",
        }
    }
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sort())?;
        match self {
            Self::Pod(number) | Self::Node(number) | Self::Valkey(number) => write!(formatter, " {}", number + 1),
            Self::AllPods | Self::AllValkey => Ok(()),
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// It is killed, and started again. A Valkey server has nothing in it then.
    Kill,
    /// It is stopped (SIGSTOP), and goes on.
    Stop,
    /// Its connections are cut; those of a Valkey server's replica too.
    Cut,
    /// Nothing passes for a while, and then everything does.
    HoldUp,
    /// Its connections are slow.
    Slow {
        /// By so many milliseconds each way.
        millis: u64,
    },
    /// Its answers are lost.
    Mute,
    /// Its clock is wrong.
    ShiftClock {
        /// By so many seconds.
        seconds: i64,
    },
    /// Another process takes the place of each, one after the other; each is stopped in order (SIGTERM).
    Roll,
    /// Everything in it is deleted.
    Flush,
}

impl Fault {
    const fn sort(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Cut => "cut off",
            Self::HoldUp => "held up",
            Self::Slow { .. } => "slowed down",
            Self::Mute => "answers lost",
            Self::ShiftClock { .. } => "clock shifted",
            Self::Roll => "rolled",
            Self::Flush => "flushed",
        }
    }

    /// Tells whether it is over at once.
    const fn is_momentary(self) -> bool {
        matches!(self, Self::Roll | Self::Flush)
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow { millis } => write!(formatter, "slowed down by {millis} ms"),
            Self::ShiftClock { seconds } => write!(formatter, "clock shifted by {seconds:+} s"),
            other => formatter.write_str(other.sort()),
        }
    }
}

/// A step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When it begins, in milliseconds after the plan does.
    pub at: u64,
    /// How long it lasts, in milliseconds.
    pub lasts: u64,
    /// To what.
    #[serde(flatten)]
    pub place: Place,
    /// What is done.
    #[serde(flatten)]
    pub fault: Fault,
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.fault)
    }
}

/// All steps, in the order in which they begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What decided it.
    pub seed: u64,
    /// The steps.
    pub steps: Vec<Step>,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long it is until the next fault begins.
const GAP: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=secs(6);
/// How long it is until another is drawn, where what was drawn has a fault already.
const BUSY: Duration = Duration::from_millis(500);
/// How long a fault lasts.
const LASTS: std::ops::RangeInclusive<Duration> = secs(1)..=secs(12);
/// The farthest that the service's claim lets a clock be wrong.
const CLOCK_SECONDS: usize = 25;
/// How long a killed node takes until it serves again, at most. No other is killed meanwhile: without a quorum there is
/// nothing to be shown but 503.
const NODE_RETURNS: Duration = secs(40);

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(seed: u64, shape: Shape, duration: Duration) -> Self {
        let mut random = Random::new(seed);
        let mut drawer = Drawer { shape, free: Vec::new(), nodes_whole: Duration::ZERO };
        let mut steps = Vec::new();
        let mut at = secs(2);
        while at < duration {
            let lasts = random.duration(&LASTS).min(duration.saturating_sub(at));
            if let Some((place, fault)) = drawer.draw(&mut random, at, lasts) {
                let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let lasts = if fault.is_momentary() { 0 } else { millis(lasts) };
                steps.push(Step { at: millis(at), lasts, place, fault });
                at += random.duration(&GAP);
            } else {
                at += BUSY;
            }
        }
        Self { seed, steps }
    }

    /// Counts the faults of each sort.
    #[must_use]
    pub fn sorts(&self) -> BTreeMap<String, usize> {
        let mut sorts = BTreeMap::new();
        for Step { place, fault, .. } in &self.steps {
            *sorts.entry(format!("{}: {}", place.sort(), fault.sort())).or_default() += 1;
        }
        sorts
    }
}

struct Drawer {
    shape: Shape,
    /// Until when each place has a fault.
    free: Vec<(Place, Duration)>,
    /// From when on a node may be killed again.
    nodes_whole: Duration,
}

impl Drawer {
    /// Draws a fault of something that has none now; none if that cannot be.
    fn draw(&mut self, random: &mut Random, at: Duration, lasts: Duration) -> Option<(Place, Fault)> {
        let choices = self.choices(random, at);
        let mut drawn = random.below(choices.iter().map(|(weight, ..)| weight).sum());
        let (_, place, fault) = choices.into_iter().find(|(weight, ..)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        })?;
        self.free.retain(|(_, until)| *until > at);
        if self.free.iter().any(|(busy, _)| *busy == place) {
            return None;
        }
        if !fault.is_momentary() {
            self.free.push((place, at + lasts));
        }
        if matches!((place, fault), (Place::Node(_), Fault::Kill)) {
            self.nodes_whole = at + lasts + NODE_RETURNS;
        }
        Some((place, fault))
    }

    /// What may be done now, each with its weight. However few there are, the same number of bits is drawn.
    fn choices(&self, random: &mut Random, at: Duration) -> Vec<(usize, Place, Fault)> {
        let Shape { pods, nodes, own_nodes, valkeys, clocks } = self.shape;
        let pod = Place::Pod(random.below(pods));
        let node = Place::Node(random.below(nodes));
        let server = Place::Valkey(random.below(valkeys));
        let slow = Fault::Slow { millis: u64::try_from(random.within(&(20..=800))).unwrap_or(0) };
        let shift = i64::try_from(random.within(&(0..=2 * CLOCK_SECONDS))).unwrap_or(0);
        let shift = Fault::ShiftClock { seconds: shift - i64::try_from(CLOCK_SECONDS).unwrap_or(0) };
        // Where there is nothing but pods, most is shown by killing them.
        let mut choices = vec![
            (if nodes == 0 { 20 } else { 4 }, pod, Fault::Kill),
            (3, pod, Fault::Stop),
            (3, pod, Fault::Cut),
            (2, pod, Fault::HoldUp),
            (3, pod, slow),
            (4, pod, Fault::Mute),
            (1, Place::AllPods, Fault::Roll),
        ];
        if clocks {
            choices.push((5, pod, shift));
        }
        if nodes > 0 {
            choices.extend([(3, node, Fault::Cut), (3, node, slow), (4, node, Fault::Mute)]);
        }
        if nodes > 0 && own_nodes {
            choices.push((4, node, Fault::Stop));
            if at >= self.nodes_whole {
                choices.push((3, node, Fault::Kill));
            }
        }
        if valkeys > 0 {
            choices.extend([
                (3, server, Fault::Kill),
                (3, server, Fault::Stop),
                (2, server, Fault::Cut),
                (2, server, slow),
                (3, server, Fault::Mute),
                (3, Place::AllValkey, Fault::Flush),
            ]);
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Shape = Shape { pods: 3, nodes: 3, own_nodes: true, valkeys: 6, clocks: true };

    #[test]
    fn a_seed_decides_the_plan() {
        let draw = |seed| Plan::draw(seed, WHOLE, secs(180));

        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).steps, draw(2).steps);
    }

    #[test]
    fn all_sorts_come_up_and_none_outlasts_the_plan() {
        let mut sorts = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let plan = Plan::draw(seed, WHOLE, secs(180));
            sorts.extend(plan.sorts().into_keys());
            assert!(plan.steps.iter().all(|step| step.at + step.lasts <= 180_000));
            assert!(plan.steps.len() > 30, "{} steps", plan.steps.len());
        }
        assert_eq!(sorts.len(), 19, "{sorts:?}");
    }

    #[test]
    fn nothing_has_two_faults_at_once() {
        for seed in 0..20 {
            let plan = Plan::draw(seed, WHOLE, secs(180));
            for (number, step) in plan.steps.iter().enumerate() {
                let during = plan.steps.iter().skip(number + 1).filter(|later| later.at < step.at + step.lasts);
                assert!(during.clone().all(|later| later.place != step.place), "{step:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_or_not_ours_is_left_alone() {
        let embedded = Shape { pods: 1, nodes: 0, own_nodes: false, valkeys: 0, clocks: false };
        let shared = Shape { pods: 2, nodes: 1, own_nodes: false, valkeys: 1, clocks: true };
        for seed in 0..20 {
            let steps = |shape| Plan::draw(seed, shape, secs(60)).steps.into_iter();
            assert!(steps(embedded).all(|step| matches!(step.place, Place::Pod(0) | Place::AllPods)));
            let harmed = |step: Step| matches!((step.place, step.fault), (Place::Node(_), Fault::Kill | Fault::Stop));
            assert!(!steps(shared).any(harmed));
        }
    }

    #[test]
    fn clocks_are_never_wrong_by_more_than_the_claim_allows() {
        for seed in 0..50 {
            for step in Plan::draw(seed, WHOLE, secs(180)).steps {
                if let Fault::ShiftClock { seconds } = step.fault {
                    assert!(seconds.abs() <= 25);
                }
            }
        }
    }
}
