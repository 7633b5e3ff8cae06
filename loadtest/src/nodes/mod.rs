//! Nodes on one machine: control groups with a quota of processor time each and, where asked, a network namespace, so
//! that scaling is real though the machine is small.
//!
//! Owns: control groups, namespaces, one bridge, and every process that is started in a node. Refuses to know: what
//! these processes are.
//!
//! Invariants:
//! - A process is in its node before it runs an instruction of its own, and so are its children.
//! - Whatever is made here has a name with its owner's process id and start. What a killed owner left behind, the next
//!   one removes; what a living one has is never touched.
//! - Only processes within groups of ours are ended, each by its id.
//! - A node's load is read from the kernel's own accounts, the same way under both versions of control groups.
//!
//! Making and removing a node blocks for some milliseconds.

mod group;
mod load;
mod network;
mod node;
mod owner;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use group::{ControlGroups, Throttling};
pub use load::{Damped, Intervals, Meter, NodeLoad, Sampler, Usage, sample_for_ever};
pub use node::{Network, Node, Nodes};

/// Why there is no node.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The kernel has no control groups for processor time, or they are not mounted.
    #[error(
        "no control groups for processor time are mounted: nodes need Linux with cgroup v2, or v1 with the controllers \
         cpu and cpuacct, under /sys/fs/cgroup"
    )]
    NoControlGroups,
    /// They may not be used.
    #[error(
        "control groups cannot be made in {}: run this as root, or in a unit that systemd delegates the cpu controller \
         to (systemd-run --scope --property=Delegate=yes), or in a container that is privileged", folder.display()
    )]
    NotAllowed {
        /// Where.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel's.
    #[error("{} cannot be read or written", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else is there than the kernel writes.
    #[error("{} does not say {what}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What it should say.
        what: &'static str,
    },
    /// A name that cannot be that of a folder and a namespace.
    #[error("a node's name has 1 to 32 characters of a-z, 0-9 and -, and this one is {0:?}")]
    Name(String),
    /// A quota that the kernel does not take.
    #[error("a node has 0.01 to 1024 cores, not {0}")]
    Quota(f64),
    /// Networks.
    #[error("`ip {command}` failed{}: a network of their own needs root, and the package iproute2", said(output))]
    Network {
        /// What was asked of `ip`.
        command: String,
        /// What it said.
        output: String,
        /// Why it could not be run, if it could not.
        #[source]
        source: Option<io::Error>,
    },
    /// All addresses are taken.
    #[error("there is no room for another network: 198.18.0.0/15 is in use, or there are 253 nodes")]
    Full,
    /// A node whose processes do not end.
    #[error("processes of node {0} do not end")]
    DoesNotEnd(String),
}

/// Returns what a program said, to follow "failed".
fn said(output: &str) -> String {
    let output = output.trim();
    if output.is_empty() { String::new() } else { format!(" ({output})") }
}
