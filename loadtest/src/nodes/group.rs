//! Control groups: quotas, who is in one, and the kernel's accounts of it; version 1 and version 2.
//!
//! Version 1: <https://docs.kernel.org/scheduler/sched-bwc.html>, `cpuacct`. Version 2:
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, "CPU".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::NodeError;
use super::owner::{Owner, is_left_over};

/// The span that quotas are counted in, in microseconds: that of Kubernetes.
const PERIOD: u32 = 100_000;
/// How long processes may take to end once they were killed, and how often it is looked.
const LOOKS: u32 = 1_000;
const LOOK: Duration = Duration::from_millis(10);

/// Where control groups are made on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlGroups {
    /// Version 1 has a hierarchy for each controller.
    V1 {
        /// The folder of the quotas.
        cpu: PathBuf,
        /// The folder of the accounts; the same if both are mounted together.
        cpuacct: PathBuf,
    },
    /// Version 2 has one.
    V2 {
        /// The group that ours are made in.
        parent: PathBuf,
    },
}

impl ControlGroups {
    /// Finds them.
    ///
    /// # Errors
    /// If there are none, or this process may not make any.
    pub fn find() -> Result<Self, NodeError> {
        let read =
            |file: &str| fs::read_to_string(file).map_err(|source| NodeError::File { file: file.into(), source });
        let mounts = Mounts::parse(&read("/proc/self/mounts")?);
        let owner = Owner::this()?;
        if let Some(root) = mounts.v2.as_deref().filter(|root| controls(&root.join("cgroup.controllers"))) {
            return Self::find_v2(root, &read("/proc/self/cgroup")?, owner);
        }
        let (Some(cpu), Some(cpuacct)) = (mounts.cpu, mounts.cpuacct) else { return Err(NodeError::NoControlGroups) };
        probe(&cpu, owner).map_err(|source| NodeError::NotAllowed { folder: cpu.clone(), source })?;
        Ok(Self::V1 { cpu, cpuacct })
    }

    /// Uses the root if that is allowed, and otherwise the group that this process was put in, if it is its own.
    fn find_v2(root: &Path, own: &str, owner: Owner) -> Result<Self, NodeError> {
        let refused = match prepare(root, owner) {
            Ok(()) => return Ok(Self::V2 { parent: root.to_owned() }),
            Err(refused) => refused,
        };
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
        let parent = root.join(own);
        if own.is_empty() {
            return Err(NodeError::NotAllowed { folder: parent, source: refused });
        }
        prepare(&parent, owner).map_err(|source| NodeError::NotAllowed { folder: parent.clone(), source })?;
        Ok(Self::V2 { parent })
    }

    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::V1 { cpu, cpuacct } if cpu != cpuacct => vec![cpu, cpuacct],
            Self::V1 { cpu: folder, .. } | Self::V2 { parent: folder } => vec![folder],
        }
    }

    /// Makes a group.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn create(&self, name: &str) -> Result<Group, NodeError> {
        let group = self.group(name);
        for folder in &group.folders {
            fs::create_dir(folder).map_err(|source| NodeError::NotAllowed { folder: folder.clone(), source })?;
        }
        Ok(group)
    }

    /// Returns the group of a name, which may not be there.
    pub(super) fn group(&self, name: &str) -> Group {
        Group {
            name: name.to_owned(),
            folders: self.folders().into_iter().map(|folder| folder.join(name)).collect(),
            v2: matches!(self, Self::V2 { .. }),
        }
    }

    /// Ends and removes what killed runs left behind.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn remove_left_over(&self) -> Result<(), NodeError> {
        for folder in self.folders() {
            let entries = fs::read_dir(folder).map_err(|source| NodeError::File { file: folder.into(), source })?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_left_over(&name) {
                    tracing::info!(group = name, "an earlier run was killed; its processes are ended");
                    self.group(&name).remove()?;
                }
            }
        }
        Ok(())
    }
}

/// Where hierarchies are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    v2: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
}

impl Mounts {
    /// Reads `/proc/mounts`: device, folder, kind, options.
    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(folder), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let has = |option| options.split(',').any(|each| each == option);
            if kind == "cgroup2" {
                found.v2.get_or_insert_with(|| folder.into());
            } else if kind == "cgroup" {
                if has("cpu") {
                    found.cpu.get_or_insert_with(|| folder.into());
                }
                if has("cpuacct") {
                    found.cpuacct.get_or_insert_with(|| folder.into());
                }
            }
        }
        found
    }
}

/// Says whether a list of controllers has that of processor time.
fn controls(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|controllers| controllers.split_ascii_whitespace().any(|each| each == "cpu"))
}

/// Has a group of version 2 share processor time out among its children, and shows that some can be made.
fn prepare(parent: &Path, owner: Owner) -> io::Result<()> {
    let file = parent.join("cgroup.subtree_control");
    if !controls(&file) {
        let delegate = || fs::write(&file, "+cpu");
        match delegate() {
            // A group with processes of its own cannot share out: this one moves to a child.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                let child = parent.join("countersign-loadtest");
                if let Err(error) = fs::create_dir(&child)
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
                fs::write(child.join("cgroup.procs"), owner.pid().to_string())?;
                delegate()?;
            }
            done => done?,
        }
    }
    probe(parent, owner)
}

/// Shows that groups can be made in a folder.
fn probe(folder: &Path, owner: Owner) -> io::Result<()> {
    use std::sync::atomic::{AtomicU32, Ordering};
    // Two at once in one process must not meet.
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let probe = folder.join(owner.name(&format!("probe.{}", PROBES.fetch_add(1, Ordering::Relaxed))));
    fs::create_dir(&probe)?;
    fs::remove_dir(&probe)
}

/// How a group was held back by its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which it wanted to run.
    pub periods: u64,
    /// Those of them in which it used up its quota and had to wait.
    pub throttled: u64,
    /// How long its processors waited, in all.
    pub time: Duration,
}

/// A control group: its folder, or one of each hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Group {
    name: String,
    folders: Vec<PathBuf>,
    v2: bool,
}

impl Group {
    fn cpu(&self, file: &str) -> PathBuf {
        self.folders.first().map(|folder| folder.join(file)).unwrap_or_default()
    }

    fn accounts(&self, file: &str) -> PathBuf {
        self.folders.last().map(|folder| folder.join(file)).unwrap_or_default()
    }

    /// Returns the files that a process writes its id to in order to join.
    pub(super) fn joins(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }

    /// Gives it so many cores.
    ///
    /// # Errors
    /// If it cannot be that many, or the kernel refuses.
    pub(super) fn set_quota(&self, cores: f64) -> Result<(), NodeError> {
        if !(0.01..=1_024.0).contains(&cores) {
            return Err(NodeError::Quota(cores));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 000 and 10⁹")]
        let quota = (cores * f64::from(PERIOD)).round() as u32;
        if self.v2 {
            return write(&self.cpu("cpu.max"), &format!("{quota} {PERIOD}"));
        }
        write(&self.cpu("cpu.cfs_period_us"), &PERIOD.to_string())?;
        write(&self.cpu("cpu.cfs_quota_us"), &quota.to_string())
    }

    /// Reads back how many cores it has; none if it has no quota.
    ///
    /// # Errors
    /// If the kernel's files are not as they should be.
    pub(super) fn quota(&self) -> Result<Option<f64>, NodeError> {
        let (quota, period) = if self.v2 {
            let file = self.cpu("cpu.max");
            let text = read(&file)?;
            let mut words = text.split_ascii_whitespace();
            let word = |word: Option<&str>| word.unwrap_or("").to_owned();
            (word(words.next()), word(words.next()))
        } else {
            (read(&self.cpu("cpu.cfs_quota_us"))?, read(&self.cpu("cpu.cfs_period_us"))?)
        };
        if ["max", "-1"].contains(&quota.trim()) {
            return Ok(None);
        }
        let number = |text: &str| text.trim().parse::<f64>();
        match (number(&quota), number(&period)) {
            (Ok(quota), Ok(period)) => Ok(Some(quota / period)),
            _ => Err(NodeError::Form { file: self.cpu("cpu.max"), what: "a quota" }),
        }
    }

    /// Returns the ids of its processes.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn processes(&self) -> Result<Vec<u32>, NodeError> {
        let text = read(&self.cpu("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Returns the processor time that all its processes used, those that ended too.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn cpu_time(&self) -> Result<Duration, NodeError> {
        if self.v2 {
            let file = self.cpu("cpu.stat");
            let micros = value(&read(&file)?, "usage_usec").ok_or(NodeError::Form { file, what: "usage_usec" })?;
            return Ok(Duration::from_micros(micros));
        }
        let file = self.accounts("cpuacct.usage");
        let nanos = read(&file)?.trim().parse().map_err(|_| NodeError::Form { file, what: "nanoseconds" })?;
        Ok(Duration::from_nanos(nanos))
    }

    /// Returns how it was held back.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn throttling(&self) -> Result<Throttling, NodeError> {
        let file = self.cpu("cpu.stat");
        let text = read(&file)?;
        let of = |key: &'static str| value(&text, key).ok_or(NodeError::Form { file: file.clone(), what: key });
        let time = if self.v2 {
            Duration::from_micros(of("throttled_usec")?)
        } else {
            Duration::from_nanos(of("throttled_time")?)
        };
        Ok(Throttling { periods: of("nr_periods")?, throttled: of("nr_throttled")?, time })
    }

    /// Ends its processes and removes it. It may be gone already, wholly or in part.
    ///
    /// # Errors
    /// If a process does not end.
    pub(super) fn remove(&self) -> Result<(), NodeError> {
        for _ in 0..LOOKS {
            let mut left = false;
            for folder in self.folders.iter().filter(|folder| folder.is_dir()) {
                // A process that ended is in the list until its parent was told, but does not keep the group.
                if fs::remove_dir(folder).is_ok() {
                    continue;
                }
                left = true;
                let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                for process in processes.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
                    // It may have ended meanwhile.
                    let _ = kill_process(process, Signal::KILL);
                }
            }
            if !left {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        Err(NodeError::DoesNotEnd(self.name.clone()))
    }
}

/// Returns the number after a key, of lines of keys and numbers.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn read(file: &Path) -> Result<String, NodeError> {
    fs::read_to_string(file).map_err(|source| NodeError::File { file: file.into(), source })
}

fn write(file: &Path, text: &str) -> Result<(), NodeError> {
    fs::write(file, text).map_err(|source| NodeError::File { file: file.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let v1 = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                  cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n\
                  cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n";
        let apart = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                     cgroup /sys/fs/cgroup/cpuacct cgroup rw,cpuacct 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0\n";
        let v2 =
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0\n";

        let together = Mounts::parse(v1);
        assert_eq!(together.cpu, together.cpuacct);
        assert_eq!(together.cpu, Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        let apart = Mounts::parse(apart);
        assert_eq!(apart.cpu, Some("/sys/fs/cgroup/cpu".into()));
        assert_eq!(apart.cpuacct, Some("/sys/fs/cgroup/cpuacct".into()));
        assert_eq!(apart.v2, Some("/sys/fs/cgroup/unified".into()));
        let unified = Mounts { v2: Some("/sys/fs/cgroup".into()), ..Mounts::default() };
        assert_eq!(Mounts::parse(v2), unified);
    }

    /// A folder with what a kernel writes to the files of a group of version 2.
    fn v2_group() -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("cgroup.procs", "17\n4711\n"),
            ("cpu.max", "25000 100000\n"),
            (
                "cpu.stat",
                "usage_usec 2345678\nuser_usec 2000000\nsystem_usec 345678\nnice_usec 0\n\
                 core_sched.force_idle_usec 0\nnr_periods 120\nnr_throttled 37\nthrottled_usec 1500000\n\
                 nr_bursts 0\nburst_usec 0\n",
            ),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let group = Group { name: "fixture".to_owned(), folders: vec![folder.path().to_owned()], v2: true };
        (folder, group)
    }

    #[test]
    fn the_accounts_of_version_2_are_read() {
        let (_folder, group) = v2_group();

        assert_eq!(group.processes().unwrap(), [17, 4711]);
        assert_eq!(group.quota().unwrap(), Some(0.25));
        assert_eq!(group.cpu_time().unwrap(), Duration::from_micros(2_345_678));
        let throttling = Throttling { periods: 120, throttled: 37, time: Duration::from_millis(1_500) };
        assert_eq!(group.throttling().unwrap(), throttling);
    }

    #[test]
    fn quotas_of_version_2_are_written_as_the_kernel_reads_them() {
        let (folder, group) = v2_group();

        group.set_quota(1.5).unwrap();

        assert_eq!(fs::read_to_string(folder.path().join("cpu.max")).unwrap(), "150000 100000");
        assert_eq!(group.quota().unwrap(), Some(1.5));
        fs::write(folder.path().join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(group.quota().unwrap(), None);
        for cores in [0.0, -1.0, f64::NAN, 1e9] {
            assert!(matches!(group.set_quota(cores), Err(NodeError::Quota(_))), "{cores}");
        }
    }

    #[test]
    fn a_group_of_version_2_shares_out_once_it_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("cgroup.subtree_control");
        fs::write(&control, "memory pids\n").unwrap();

        prepare(folder.path(), Owner::this().unwrap()).unwrap();

        assert_eq!(fs::read_to_string(&control).unwrap(), "+cpu");
    }

    #[test]
    fn what_is_not_allowed_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");

        let error = ControlGroups::V2 { parent: none.clone() }.create("a").unwrap_err();

        let said = error.to_string();
        assert!(said.contains("run this as root") && said.contains(&none.display().to_string()), "{said}");
    }
}
