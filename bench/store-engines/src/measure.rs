//! What a process used: CPU, device writes, memory, disk; and percentiles.

use std::path::Path;
use std::time::Duration;

/// CPU time of the process, all threads, user and system.
pub fn cpu() -> Duration {
    usage(libc::RUSAGE_SELF)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    usage(libc::RUSAGE_THREAD)
}

fn usage(who: libc::c_int) -> Duration {
    // SAFETY: getrusage fills the struct it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(who, &mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|t| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000))
        .sum()
}

/// Bytes this process made the kernel write to the device.
pub fn write_bytes() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Resident memory in MiB: the process's own, and file pages mapped in.
pub fn resident() -> (f64, f64) {
    let mib = |name| field("/proc/self/status", name) as f64 / 1024.0;
    (mib("RssAnon:"), mib("RssFile:"))
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// MiB the folder takes on the device, with files that are deleted but still open here.
pub fn disk(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    fn walk(dir: &Path) -> u64 {
        std::fs::read_dir(dir).into_iter().flatten().flatten().fold(0, |sum, entry| {
            let Ok(meta) = entry.metadata() else { return sum };
            sum + meta.blocks() * 512 + if meta.is_dir() { walk(&entry.path()) } else { 0 }
        })
    }
    let mut open = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        if let Ok(meta) = std::fs::metadata(entry.path())
            && meta.is_file()
            && meta.nlink() == 0
        {
            open.insert(meta.ino(), meta.blocks() * 512);
        }
    }
    (walk(dir) + open.values().sum::<u64>()) as f64 / 1048576.0
}

/// Makes the kernel forget the cached pages of a folder's files, for a cold start.
pub fn forget_cached(dir: &Path) {
    use std::os::fd::AsRawFd;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget_cached(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            let _ = file.sync_all();
            // SAFETY: advice on an open descriptor.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
    }
}

/// Waits until the engine's background work is done (at most `limit`).
pub fn settle(limit: Duration) {
    let start = std::time::Instant::now();
    let mut quiet = 0;
    while quiet < 4 && start.elapsed() < limit {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(250));
        quiet = if cpu() - before < Duration::from_millis(5) { quiet + 1 } else { 0 };
    }
}

/// The value below which the given share of the samples lies. Sorts them.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    if samples.is_empty() {
        return f64::NAN;
    }
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() as f64 * share) as usize).min(samples.len() - 1)]
}
