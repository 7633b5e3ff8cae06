//! Whose a group or namespace is: written in its name.

use std::fs;

use super::NodeError;

const PREFIX: &str = "countersign-node.";
/// Names of network devices have 15 characters, so theirs are shorter.
const DEVICE_PREFIX: &str = "csn";

/// A process, told apart from a later one with the same id by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    /// In ticks since the machine started.
    started: u64,
}

impl Owner {
    /// Returns this process.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(super) fn this() -> Result<Self, NodeError> {
        let pid = std::process::id();
        let file = || format!("/proc/{pid}/stat").into();
        started(pid)
            .map(|started| Self { pid, started })
            .ok_or_else(|| NodeError::Form { file: file(), what: "when this process started" })
    }

    /// Returns the name of its group or namespace.
    pub(super) fn name(&self, node: &str) -> String {
        format!("{PREFIX}{}.{}.{node}", self.pid, self.started)
    }

    /// Returns the name of its network device; `part` has at most five characters.
    pub(super) fn device(&self, part: &str) -> String {
        format!("{DEVICE_PREFIX}{}{part}", self.pid)
    }

    /// Returns its id.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Says whether a group or namespace was left behind by a process that is no more. What is not ours is not.
pub(super) fn is_left_over(name: &str) -> bool {
    owner(name).is_some_and(|owner| !owner.is_alive())
}

/// Says whether a network device was left behind.
pub(super) fn is_device_left_over(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(DEVICE_PREFIX) else { return false };
    let Some((pid, part)) = rest.split_once(|letter: char| !letter.is_ascii_digit()) else { return false };
    let is_ours = rest.ends_with('b') && part.is_empty();
    is_ours && pid.parse().is_ok_and(|pid: u32| started(pid).is_none())
}

fn owner(name: &str) -> Option<Owner> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '.');
    let owner = Owner { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? };
    parts.next().map(|_| owner)
}

/// Returns when a process started; none if there is no such process.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, with any character in it; the start is the 22nd.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_had_is_left_over() {
        let this = Owner::this().unwrap();
        let Owner { pid, started } = this;

        assert!(!is_left_over(&this.name("a")));
        assert!(is_left_over(&format!("countersign-node.{pid}.{}.a", started + 1)), "a later process has the id");
        // Larger than the kernel's largest.
        assert!(is_left_over("countersign-node.4194305.1.a"));
        for foreign in ["system.slice", "countersign-node.", "countersign-node.4194305", "countersign-node.4194305.1"]
        {
            assert!(!is_left_over(foreign), "{foreign}");
        }
    }

    #[test]
    fn devices_are_told_apart_too() {
        let this = Owner::this().unwrap();

        assert!(!is_device_left_over(&this.device("b")));
        assert!(is_device_left_over("csn4194305b"));
        for foreign in ["eth0", "csnb", "csn4194305", "csn4194305x", "csn4194305bb"] {
            assert!(!is_device_left_over(foreign), "{foreign}");
        }
    }

    #[test]
    fn device_names_are_as_short_as_the_kernel_asks() {
        let owner = Owner { pid: 4_194_304, started: 0 };

        assert!(owner.device("v254").len() <= 15);
    }
}
