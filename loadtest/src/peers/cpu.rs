//! What processes cost: the CPU time of trees of them, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// One tick of `/proc/<pid>/stat`, which Linux fixes at a hundredth of a second for user space.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of user and kernel together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuTime(pub Duration);

/// What `/proc/<pid>/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    /// Ticks of its own, and of its children that have ended and were waited for.
    ticks: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The command's name, in brackets, may hold blanks and brackets.
        let (before, after) = stat.rsplit_once(')')?;
        let pid = before.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        // utime, stime, cutime, cstime
        let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(Self { pid, parent, ticks })
    }
}

impl CpuTime {
    /// Reads what these processes and all that descend from them have used. Children that have ended count by their
    /// parents, who waited for them.
    ///
    /// # Errors
    /// If one of them has ended, or there is no `/proc`.
    pub fn of_trees(roots: &[u32]) -> Result<Self> {
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()) {
                // It may have ended since.
                let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                processes.extend(Process::parse(&stat));
            }
        }
        sum(&processes, roots)
    }

    /// Returns what was used since an earlier reading.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

fn sum(processes: &[Process], roots: &[u32]) -> Result<CpuTime> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut ticks = 0;
    let mut counted = BTreeSet::new();
    let mut next: Vec<&Process> = processes.iter().filter(|process| roots.contains(&process.pid)).collect();
    ensure!(next.len() == roots.len(), "a process that is measured has ended");
    while let Some(process) = next.pop() {
        if counted.insert(process.pid) {
            ticks += process.ticks;
            next.extend(children.get(&process.pid).into_iter().flatten());
        }
    }
    Ok(CpuTime(TICK * u32::try_from(ticks).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_command_is_called() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 9 8 7 6 100 20 3 1 20 0 1 0 5 6 7";

        assert_eq!(Process::parse(stat), Some(Process { pid: 42, parent: 7, ticks: 124 }));
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn a_tree_is_counted_once_and_nothing_else() {
        let of = |(pid, parent, ticks)| Process { pid, parent, ticks };
        let processes = [(1, 0, 1_000), (10, 1, 1), (11, 10, 2), (12, 11, 4), (20, 1, 8)].map(of);

        assert_eq!(sum(&processes, &[10, 11]).unwrap(), CpuTime(TICK * 7));
        assert!(sum(&processes, &[30]).is_err());
    }

    #[test]
    fn this_process_has_used_some() {
        let read = || CpuTime::of_trees(&[std::process::id()]).unwrap();
        let before = read();
        let mut random = crate::random::Random::new(1);
        // Until it has used a hundredth of a second, which it does by asking.
        while read().since(before) < CpuTime(TICK) {
            std::hint::black_box(random.bits());
        }

        assert!(read().since(before) >= CpuTime(TICK));
    }
}
