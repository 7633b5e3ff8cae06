//! Which primary has which slot: as the servers tell it, and corrected by their redirections.
//!
//! Refuses to know: connections.

use std::collections::BTreeSet;

use redis::cluster_routing::Slot;
use redis::{RedisError, Value};

use crate::valkey::info::field;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// Host and port of a server.
pub(super) type Address = (String, u16);

/// Which primary has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    primaries: Vec<Address>,
    /// For each slot, a place in `primaries`; none that nobody serves.
    owners: Vec<Option<u16>>,
}

impl Topology {
    /// One server that has everything.
    pub(super) fn single(address: Address) -> Self {
        Self { primaries: vec![address], owners: vec![Some(0); SLOTS.into()] }
    }

    /// Reads the answer of `asked` to `CLUSTER SLOTS`.
    pub(super) fn of_slots(answer: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut topology = Self { primaries: Vec::new(), owners: vec![None; SLOTS.into()] };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &**range else { return None };
            let [host, Value::Int(port), ..] = &**primary else { return None };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
                Value::SimpleString(host) if !host.is_empty() => host.clone(),
                // The one that was asked.
                _ => asked.0.clone(),
            };
            let owner = topology.place_of((host, u16::try_from(*port).ok()?))?;
            let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
            topology.owners.get_mut(slots)?.fill(Some(owner));
        }
        Some(topology)
    }

    /// Returns the primary that has the slot of a key.
    pub(super) fn primary_of(&self, key: &str) -> Option<&Address> {
        let owner = self.owners.get(usize::from(number(key)))?.as_ref()?;
        self.primaries.get(usize::from(*owner))
    }

    /// Learns that a slot is another primary's.
    pub(super) fn moved(&mut self, slot: u16, to: Address) {
        if let Some(place) = self.place_of(to)
            && let Some(owner) = self.owners.get_mut(usize::from(slot))
        {
            *owner = Some(place);
        }
    }

    /// Returns all primaries that have a slot.
    pub(super) fn primaries(&self) -> Vec<&Address> {
        let used: BTreeSet<u16> = self.owners.iter().flatten().copied().collect();
        used.into_iter().filter_map(|place| self.primaries.get(usize::from(place))).collect()
    }

    /// Tells whether every slot has a primary.
    pub(super) fn is_whole(&self) -> bool {
        self.owners.iter().all(Option::is_some)
    }

    fn place_of(&mut self, address: Address) -> Option<u16> {
        let place = self.primaries.iter().position(|known| *known == address);
        let place = place.unwrap_or_else(|| {
            self.primaries.push(address);
            self.primaries.len() - 1
        });
        u16::try_from(place).ok()
    }
}

/// How much a node's word on the cluster counts: first whether it is served at all, then how new what it knows is.
pub(super) fn weight(cluster_info: &str) -> (bool, u64) {
    let served = field(cluster_info, "cluster_state") == Some("ok");
    let epoch = field(cluster_info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    (served, epoch.unwrap_or(0))
}

/// Reads where a redirection points to; with the host of who sent it, where it names none.
pub(super) fn redirected(error: &RedisError, by: &Address) -> Option<(u16, Address)> {
    let (address, slot) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { by.0.clone() } else { host.trim_matches(['[', ']']).to_owned() };
    Some((slot, (host, port.parse().ok()?)))
}

/// Returns the number of the slot of a key. The client library computes it, but tells it by comparison only.
fn number(key: &str) -> u16 {
    let wanted = Slot::for_key(key);
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let number = crc(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS;
    debug_assert_eq!(Slot::new(number), Some(wanted), "both compute the same slot");
    number
}

/// CRC-16/XMODEM, as the specification of clusters has it (appendix A): polynomial 0x1021, from zero.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| (crc << 1) ^ if crc & 0x8000 > 0 { 0x1021 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        ("10.0.0.1".to_owned(), port)
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node = vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString(b"id".to_vec())];
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(node.clone()), Value::Array(node)])
    }

    #[test]
    fn slots_are_those_of_the_specification_and_of_the_client_library() {
        assert_eq!(crc(b"123456789"), 0x31c3);
        for key in ["foo", "cs1:m{abc}20000", "{}x", "a{b", "{user1000}.following"] {
            assert_eq!(Slot::new(number(key)), Some(Slot::for_key(key)), "{key}");
        }
        assert_eq!(number("{user1000}.following"), number("{user1000}.followers"));
    }

    #[test]
    fn each_slot_has_the_primary_that_a_node_names_and_later_the_one_that_a_redirection_names() {
        let answer = Value::Array(vec![range(0, 12_181, "10.0.0.1", 7_001), range(12_182, 16_383, "", 7_002)]);

        let mut topology = Topology::of_slots(&answer, &("asked".to_owned(), 1)).unwrap();

        assert!(topology.is_whole());
        // Slot 12182.
        assert_eq!(topology.primary_of("foo"), Some(&("asked".to_owned(), 7_002)));
        assert_eq!(topology.primary_of("bar"), Some(&at(7_001)));
        topology.moved(12_182, at(7_003));
        assert_eq!(topology.primary_of("foo"), Some(&at(7_003)));
        assert_eq!(topology.primaries().len(), 3);
    }

    #[test]
    fn a_cluster_with_a_hole_is_not_whole_and_a_single_server_is() {
        let answer = Value::Array(vec![range(0, 16_382, "10.0.0.1", 7_001)]);
        let hole = Topology::of_slots(&answer, &at(1)).unwrap();
        assert!(!hole.is_whole());
        assert!(Topology::single(at(1)).is_whole());
        assert_eq!(Topology::of_slots(&Value::Okay, &at(1)), None);
        assert_eq!(Topology::of_slots(&Value::Array(vec![range(0, 16_384, "h", 1)]), &at(1)), None);
    }

    #[test]
    fn who_serves_and_knows_the_newest_epoch_counts_most() {
        let info = |state: &str, epoch: u64| format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n");
        let (old, new, failed) = (info("ok", 3), info("ok", 4), info("fail", 9));
        assert!(weight(&new) > weight(&old) && weight(&old) > weight(&failed));
    }
}
