//! The load of a node: how many of its threads ran or waited for a processor, in the mean.
//!
//! `node_load1` of a machine is that number, damped over a minute. For a group the kernel keeps no such number, but it
//! counts for each thread how long it ran and how long it waited in a run queue (`/proc/…/schedstat`). Over an interval,
//! both together divided by its length are the mean number of threads that ran or waited. A thread that is held back by
//! the node's quota waits in this sense, as it would for the processor of a machine that small. Threads that wait for a
//! disk, which `node_load1` counts too, are left out.
//!
//! How long threads ran is taken from the group, which counts those too that ended meanwhile. How long a thread waited
//! between the last look at it and its end is not seen.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::group::{Group, Throttling};
use super::{Node, NodeError};
use crate::clock::Stopwatch;

/// What a node used since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Duration,
    /// How long its threads waited for a processor, in all.
    pub waited: Duration,
    /// How its quota held it back.
    pub throttling: Throttling,
}

/// Reads what a node uses.
#[derive(Clone, Debug)]
pub struct Meter {
    group: Group,
    /// How long each thread waited when it was last seen, in nanoseconds.
    seen: BTreeMap<u32, u64>,
    waited: u64,
}

impl Meter {
    pub(super) const fn new(group: Group) -> Self {
        Self { group, seen: BTreeMap::new(), waited: 0 }
    }

    /// Reads what the node used until now.
    ///
    /// # Errors
    /// If the node is no more.
    pub fn read(&mut self) -> Result<Usage, NodeError> {
        let threads: Vec<(u32, u64)> = self
            .group
            .processes()?
            .into_iter()
            .flat_map(threads)
            .filter_map(|(thread, stat)| waited(&stat).map(|waited| (thread, waited)))
            .collect();
        self.see(threads);
        Ok(Usage {
            cpu: self.group.cpu_time()?,
            waited: Duration::from_nanos(self.waited),
            throttling: self.group.throttling()?,
        })
    }

    /// Adds up what each thread waited since it was last seen. One that waited less than before is another one.
    fn see(&mut self, threads: Vec<(u32, u64)>) {
        let now: BTreeMap<u32, u64> = threads.into_iter().collect();
        for (thread, waited) in &now {
            let before = self.seen.get(thread).copied().filter(|before| before <= waited).unwrap_or(0);
            self.waited += waited - before;
        }
        self.seen = now;
    }
}

/// Returns the threads of a process, each with what the kernel says of its time. It may have ended.
fn threads(process: u32) -> Vec<(u32, String)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| {
            let thread = task.file_name().to_str()?.parse().ok()?;
            fs::read_to_string(task.path().join("schedstat")).ok().map(|stat| (thread, stat))
        })
        .collect()
}

/// Returns the second of the three numbers of `schedstat`: how long it waited, in nanoseconds.
fn waited(stat: &str) -> Option<u64> {
    stat.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A node during one interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct NodeLoad {
    /// The end of the interval, in seconds from the start.
    pub at: f64,
    /// The mean number of threads that ran or waited for a processor.
    pub load: f64,
    /// The same damped over a minute, as `node_load1` is.
    pub load1: f64,
    /// Processors in use, in the mean.
    pub cores: f64,
    /// The share of periods in which its quota held it back, 0 to 1.
    pub throttled: f64,
}

/// A number damped over a minute as the kernel damps its load: a minute after it jumped from 0 to 1 it is 1 − 1/e.
#[derive(Clone, Copy, Debug, Default)]
pub struct Damped(f64);

impl Damped {
    /// Takes the mean of an interval, and returns the damped number.
    pub fn add(&mut self, mean: f64, interval: Duration) -> f64 {
        let kept = (-interval.as_secs_f64() / 60.0).exp();
        self.0 = self.0 * kept + mean * (1.0 - kept);
        self.0
    }
}

/// Turns what was used so far into loads, interval by interval.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    at: Duration,
    before: Usage,
    damped: Damped,
}

impl Intervals {
    /// Begins at a time, by which so much was used.
    #[must_use]
    pub fn new(at: Duration, used: Usage) -> Self {
        Self { at, before: used, damped: Damped::default() }
    }

    /// Returns the load from the last time until `at`, by which so much was used.
    pub fn until(&mut self, at: Duration, now: Usage) -> NodeLoad {
        let before = self.before;
        let interval = at.saturating_sub(self.at).max(Duration::from_millis(1));
        let share = |time: Duration| time.as_secs_f64() / interval.as_secs_f64();
        let cores = share(now.cpu.saturating_sub(before.cpu));
        let load = cores + share(now.waited.saturating_sub(before.waited));
        let count = |now: u64, before: u64| f64::from(u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX));
        let periods = count(now.throttling.periods, before.throttling.periods);
        let throttled = count(now.throttling.throttled, before.throttling.throttled);
        (self.at, self.before) = (at, now);
        NodeLoad {
            at: at.as_secs_f64(),
            load,
            load1: self.damped.add(load, interval),
            cores,
            throttled: if periods > 0.0 { throttled / periods } else { 0.0 },
        }
    }
}

/// Samples the load of a node.
#[derive(Clone, Debug)]
pub struct Sampler {
    name: String,
    meter: Meter,
    intervals: Intervals,
}

impl Sampler {
    /// Begins with a node at a time.
    ///
    /// # Errors
    /// If the node is no more.
    pub fn new(node: &Node, at: Duration) -> Result<Self, NodeError> {
        let mut meter = node.meter();
        let intervals = Intervals::new(at, meter.read()?);
        Ok(Self { name: node.name().to_owned(), meter, intervals })
    }

    /// Returns the node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the load from the last time until `at`.
    ///
    /// # Errors
    /// If the node is no more.
    pub fn sample(&mut self, at: Duration) -> Result<NodeLoad, NodeError> {
        Ok(self.intervals.until(at, self.meter.read()?))
    }
}

/// Samples nodes at each `every`, until it is dropped, and hands over each node's name and load. A node that is no more
/// is passed over.
pub async fn sample_for_ever(
    samplers: &mut [Sampler],
    every: Duration,
    watch: Stopwatch,
    mut each: impl FnMut(&str, NodeLoad),
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        for sampler in &mut *samplers {
            if let Ok(load) = sampler.sample(watch.elapsed()) {
                each(&sampler.name, load);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        super::super::ControlGroups::V2 { parent: "/nowhere".into() }.group("fixture")
    }

    #[test]
    fn load_is_how_many_ran_or_waited() {
        let now = Usage {
            cpu: Duration::from_millis(1_000),
            waited: Duration::from_millis(3_000),
            throttling: Throttling { periods: 20, throttled: 5, time: Duration::from_millis(700) },
        };

        let load = Intervals::new(Duration::ZERO, Usage::default()).until(Duration::from_secs(2), now);

        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(near(load.load, 2.0) && near(load.cores, 0.5) && near(load.throttled, 0.25), "{load:?}");
    }

    #[test]
    fn a_minute_after_a_jump_it_is_damped_to_two_thirds() {
        let mut damped = Damped::default();

        let last = (0..60).map(|_| damped.add(1.0, Duration::from_secs(1))).last().unwrap();

        assert!((last - (1.0 - (-1.0_f64).exp())).abs() < 1e-9);
    }

    #[test]
    fn waits_are_added_up_for_each_thread() {
        let mut meter = Meter::new(group());

        meter.see(vec![(1, 100), (2, 50)]);
        meter.see(vec![(1, 130), (3, 7)]);
        // Another thread has the id of one that ended.
        meter.see(vec![(1, 10)]);

        assert_eq!(meter.waited, 150 + 30 + 7 + 10);
    }

    #[test]
    fn schedstat_is_read() {
        assert_eq!(waited("210415 4902427 2\n"), Some(4_902_427));
        assert_eq!(waited(""), None);
        let this = threads(std::process::id());
        assert!(this.iter().any(|(_, stat)| waited(stat).is_some()), "this kernel keeps no schedstat");
    }
}
