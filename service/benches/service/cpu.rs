//! CPU time of processes, from `/proc`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Microseconds of one tick of `/proc/<pid>/stat`, which Linux fixes at a hundredth of a second for user space.
const TICK_MICROS: u64 = 10_000;

/// CPU time that a process has used up to a moment, by all of its threads. Threads of different processes have
/// different numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuReading {
    user: Duration,
    system: Duration,
    threads: BTreeMap<u32, u64>,
}

/// Returns the CPU time that all processes together have used up to a moment, and what the hypervisor took away.
pub(crate) fn whole_machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = fields.take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    let ticks: u64 = busy.map(|(_, field)| field.parse().unwrap_or(0)).sum();
    Ok(Duration::from_micros(ticks * TICK_MICROS))
}

/// CPU time between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuUse {
    /// All of it.
    pub(crate) total: Duration,
    /// The share spent in the kernel, from 0 to 1.
    pub(crate) kernel: f64,
}

impl CpuReading {
    /// Reads what some processes have used together.
    pub(crate) fn of_all(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let Self { user, system, threads } = Self::of(*pid)?;
            sum.user += user;
            sum.system += system;
            sum.threads.extend(threads);
        }
        Ok(sum)
    }

    /// Reads what a process has used.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The command's name, in brackets, may hold blanks.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut ticks = fields.split_ascii_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
        let mut next = || Duration::from_micros(ticks.next().unwrap_or(0_u64) * TICK_MICROS);
        let (user, system) = (next(), next());

        let mut threads = BTreeMap::new();
        // Nanoseconds by thread, where the kernel counts them.
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let text = std::fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let nanos = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
            if let (Some(thread), Some(nanos)) = (thread, nanos) {
                threads.insert(thread, nanos);
            }
        }
        Ok(Self { user, system, threads })
    }

    /// Returns what was used since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUse {
        let ticks = (self.user + self.system).saturating_sub(earlier.user + earlier.system);
        let by_threads = self
            .threads
            .iter()
            .map(|(thread, nanos)| nanos.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0)));
        let exact = Duration::from_nanos(by_threads.sum());
        // Nanoseconds miss the threads that have ended since; ticks do not, but are coarse.
        let coarse = ticks.saturating_sub(Duration::from_micros(2 * TICK_MICROS));
        let kernel = self.system.saturating_sub(earlier.system);
        let kernel = if ticks.is_zero() { 0.0 } else { kernel.as_secs_f64() / ticks.as_secs_f64() };
        CpuUse { total: exact.max(coarse), kernel }
    }
}
