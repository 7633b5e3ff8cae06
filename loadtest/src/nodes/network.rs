//! Networks of nodes: a namespace each, joined by a pair of devices to a bridge of ours. All by `ip` of iproute2.
//!
//! Addresses are of 198.18.0.0/15, which is set aside for tests of networks (RFC 2544), so nobody else's are hidden.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::NodeError;
use super::owner::{Owner, is_device_left_over, is_left_over};

/// Networks of 256 addresses that there are.
const NETWORKS: u32 = 512;
/// The last node's number: the bridge is 1, and 255 means all.
const LAST: u8 = 254;

/// The bridge of one owner, removed when dropped.
#[derive(Debug)]
pub(super) struct Bridge {
    owner: Owner,
    name: String,
    /// Which of the networks it is.
    network: u32,
}

impl Bridge {
    /// Makes it.
    ///
    /// # Errors
    /// If `ip` fails.
    pub(super) fn create(owner: Owner) -> Result<Self, NodeError> {
        let taken = ip(&["-oneline", "-4", "address", "show"])?;
        let first = owner.pid() % NETWORKS;
        let network = (0..NETWORKS)
            .map(|further| (first + further) % NETWORKS)
            .find(|network| !taken.contains(&format!(" {}/", address(*network, 1))))
            .ok_or(NodeError::Full)?;
        let bridge = Self { owner, name: owner.device("b"), network };
        ip(&["link", "add", &bridge.name, "type", "bridge"])?;
        // From here on it is removed by its drop.
        ip(&["address", "add", &format!("{}/24", bridge.address()), "dev", &bridge.name])?;
        ip(&["link", "set", &bridge.name, "up"])?;
        Ok(bridge)
    }

    /// Returns the address by which nodes find what is outside of them.
    pub(super) fn address(&self) -> Ipv4Addr {
        address(self.network, 1)
    }

    /// Makes a namespace with an address on the bridge; `number` is 2 to 254.
    ///
    /// # Errors
    /// If `ip` fails.
    pub(super) fn join(&self, node: &str, number: u8) -> Result<Namespace, NodeError> {
        if !(2..=LAST).contains(&number) {
            return Err(NodeError::Full);
        }
        let namespace = Namespace { name: self.owner.name(node), address: address(self.network, number) };
        let inside = namespace.name.as_str();
        let device = self.owner.device(&format!("v{number}"));
        ip(&["netns", "add", inside])?;
        ip(&["link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", inside])?;
        ip(&["link", "set", &device, "master", &self.name, "up"])?;
        ip(&["-netns", inside, "address", "add", &format!("{}/24", namespace.address), "dev", "eth0"])?;
        ip(&["-netns", inside, "link", "set", "eth0", "up"])?;
        ip(&["-netns", inside, "link", "set", "lo", "up"])?;
        ip(&["-netns", inside, "route", "add", "default", "via", &self.address().to_string()])?;
        Ok(namespace)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = ip(&["link", "delete", &self.name]);
    }
}

/// A network namespace with one address, removed when dropped; its device goes with it.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    address: Ipv4Addr,
}

impl Namespace {
    pub(super) const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the words before a program that is to run in it.
    pub(super) fn enter(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name), "--".to_owned()]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// Removes what killed runs left behind.
///
/// # Errors
/// If `ip` fails.
pub(super) fn remove_left_over() -> Result<(), NodeError> {
    for name in names("/run/netns").filter(|name| is_left_over(name)) {
        ip(&["netns", "delete", &name])?;
    }
    for name in names("/sys/class/net").filter(|name| is_device_left_over(name)) {
        ip(&["link", "delete", &name])?;
    }
    Ok(())
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn address(network: u32, number: u8) -> Ipv4Addr {
    let [_, _, high, low] = network.to_be_bytes();
    Ipv4Addr::new(198, 18 + high, low, number)
}

fn ip(arguments: &[&str]) -> Result<String, NodeError> {
    let failed = |output: &[u8], source| NodeError::Network {
        command: arguments.join(" "),
        output: String::from_utf8_lossy(output).into_owned(),
        source,
    };
    let run = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = run.map_err(|source| failed(&[], Some(source)))?;
    if !output.status.success() {
        return Err(failed(&output.stderr, None));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_set_aside_for_tests() {
        assert_eq!(address(0, 1), Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(address(511, 254), Ipv4Addr::new(198, 19, 255, 254));
    }
}
