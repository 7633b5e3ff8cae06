//! Nodes, and their owner.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;

use super::NodeError;
use super::group::{ControlGroups, Group};
use super::load::{Meter, Usage};
use super::network::{Bridge, Namespace, remove_left_over};
use super::owner::Owner;

/// Joins the groups whose files are named before `--`, and becomes the program after it. The process id stays the same.
const JOIN: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@""#;

/// What a node's network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The machine's.
    Shared,
    /// A namespace of its own with one address. Other nodes and the machine are reached over a bridge; a firewall that
    /// filters what bridges pass on (`bridge-nf-call-iptables`) must let it.
    Own,
}

/// The nodes of this process.
#[derive(Debug)]
pub struct Nodes {
    groups: ControlGroups,
    owner: Owner,
    /// Lives as long as a node that is joined to it.
    bridge: Option<Arc<Bridge>>,
    /// The number of the node that was joined last.
    joined: u8,
}

impl Nodes {
    /// Finds out how this machine has control groups, and removes what killed runs left behind: their processes too.
    ///
    /// # Errors
    /// If there are none or they may not be used; the error says what to do.
    pub fn open() -> Result<Self, NodeError> {
        let groups = ControlGroups::find()?;
        groups.remove_left_over()?;
        remove_left_over()?;
        Ok(Self { groups, owner: Owner::this()?, bridge: None, joined: 1 })
    }

    /// Makes a node with so many cores, such as 0.5. Names are unique among the nodes of this process.
    ///
    /// # Errors
    /// If the name or the number of cores cannot be, or the system refuses.
    pub fn create(&mut self, name: &str, cores: f64, network: Network) -> Result<Node, NodeError> {
        let is_fine = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(is_fine) {
            return Err(NodeError::Name(name.to_owned()));
        }
        let group = self.groups.create(&self.owner.name(name))?;
        let meter = Meter::new(group.clone());
        // From here on it is removed by its drop.
        let mut node = Node { name: name.to_owned(), group, meter, namespace: None };
        node.group.set_quota(cores)?;
        if network == Network::Own {
            let bridge = match &self.bridge {
                Some(bridge) => Arc::clone(bridge),
                None => Arc::clone(self.bridge.insert(Arc::new(Bridge::create(self.owner)?))),
            };
            self.joined = self.joined.saturating_add(1);
            node.namespace = Some((bridge.join(name, self.joined)?, bridge));
        }
        Ok(node)
    }

    /// Returns the address by which nodes with a network of their own reach this machine; none if there are no such
    /// nodes.
    #[must_use]
    pub fn outside(&self) -> Option<IpAddr> {
        self.bridge.as_ref().map(|bridge| bridge.address().into())
    }
}

/// A node. Dropping it ends its processes and removes it.
#[derive(Debug)]
pub struct Node {
    name: String,
    group: Group,
    meter: Meter,
    namespace: Option<(Namespace, Arc<Bridge>)>,
}

impl Node {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address that its programs listen on: 127.0.0.1 if it shares the machine's network.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |(namespace, _)| namespace.address()).into()
    }

    /// Returns a command that runs a program in the node: add its arguments, its environment and its pipes, and spawn it.
    /// The process and its children are in the node from the start; its id is that of the program. It ends with 125
    /// if it cannot join.
    ///
    /// Whether it ends with this process is the caller's matter: `setpriv --pdeathsig KILL -- program` does.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", JOIN, "sh"]).args(self.group.joins()).arg("--");
        if let Some((namespace, _)) = &self.namespace {
            command.args(namespace.enter());
        }
        command.arg(program);
        command
    }

    /// Reads back how many cores it has; none if it has no quota.
    ///
    /// # Errors
    /// If it is no more.
    pub fn cores(&self) -> Result<Option<f64>, NodeError> {
        self.group.quota()
    }

    /// Gives it another number of cores, while its processes run.
    ///
    /// # Errors
    /// If the number cannot be, or the system refuses.
    pub fn set_cores(&self, cores: f64) -> Result<(), NodeError> {
        self.group.set_quota(cores)
    }

    /// Returns the ids of its processes.
    ///
    /// # Errors
    /// If it is no more.
    pub fn processes(&self) -> Result<Vec<u32>, NodeError> {
        self.group.processes()
    }

    /// Returns what it used since it was made.
    ///
    /// # Errors
    /// If it is no more.
    pub fn usage(&mut self) -> Result<Usage, NodeError> {
        self.meter.read()
    }

    /// Returns a meter that reads what it uses, beside the node.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Ends its processes at once (SIGKILL) and removes it. Whoever started them still has to wait for them. A process
    /// that should end in order is to be told before.
    ///
    /// # Errors
    /// If a process does not end.
    pub fn stop(self) -> Result<(), NodeError> {
        self.group.remove()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.group.remove() {
            tracing::warn!(node = self.name, %error, "a node is left behind");
        }
    }
}
