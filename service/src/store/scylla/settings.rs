//! What can be set of the store: types that are read strictly and written as they are read.
//!
//! Refuses to know: the driver's own types, so that settings name no driver.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::store::settings::{SchemaAtStart, TlsClientFiles, words};

/// Where a cluster is and which keyspace is ours: `host:9042,host:9042/keyspace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CqlAddress {
    /// Nodes to begin with, each with its port. The others are learnt from them.
    pub nodes: Vec<String>,
    /// The keyspace.
    pub keyspace: Keyspace,
}

impl FromStr for CqlAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a CQL store is scylla://host:9042,host:9042/keyspace, each host with its port";
        let (nodes, keyspace) = text.split_once('/').ok_or(FORM)?;
        let nodes: Vec<String> = nodes.split(',').map(str::to_owned).collect();
        for node in &nodes {
            let (host, port) = node.rsplit_once(':').ok_or(FORM)?;
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let sound = match bare {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => {
                    !host.is_empty()
                        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
                }
            };
            if !sound || port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(FORM);
            }
        }
        Ok(Self { nodes, keyspace: keyspace.parse()? })
    }
}

impl fmt::Display for CqlAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.nodes.join(","), self.keyspace)
    }
}

/// The name of a keyspace: it needs no quotes and cannot be anything else, wherever it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace(String);

impl Keyspace {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Keyspace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if begins && rest && text.len() <= 48 && !text.starts_with("system") {
            Ok(Self(text.to_owned()))
        } else {
            Err("a keyspace is up to 48 lower-case letters, digits and _, begins with a letter, and is none of the \
                 system's")
        }
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How many replicas each row has: `3` in every data centre, or `east:3,west:3`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Replication {
    /// As many in every data centre.
    Everywhere(u8),
    /// As many in each of these.
    ByDatacenter(Vec<(String, u8)>),
}

impl FromStr for Replication {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "replication is a number of replicas such as 3, or one for each data centre: east:3,west:3";
        let factor = |text: &str| text.parse::<u8>().ok().filter(|factor| (1..=9).contains(factor)).ok_or(FORM);
        if !text.contains(':') {
            return factor(text).map(Self::Everywhere);
        }
        let mut datacenters = Vec::new();
        for part in text.split(',') {
            let (name, count) = part.split_once(':').ok_or(FORM)?;
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte);
            if name.is_empty() || !name.bytes().all(sound) {
                return Err(FORM);
            }
            datacenters.push((name.to_owned(), factor(count)?));
        }
        let names: BTreeSet<&str> = datacenters.iter().map(|(name, _)| name.as_str()).collect();
        if names.len() == datacenters.len() { Ok(Self::ByDatacenter(datacenters)) } else { Err(FORM) }
    }
}

impl TryFrom<String> for Replication {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(factor) => factor.fmt(formatter),
            Self::ByDatacenter(datacenters) => {
                let parts: Vec<String> =
                    datacenters.iter().map(|(name, factor)| format!("{name}:{factor}")).collect();
                formatter.write_str(&parts.join(","))
            }
        }
    }
}

words! {
    /// How many replicas must answer a read or a write of messages. `docs/scylla.md` says what each can lose.
    ConsistencyLevel, "a consistency is one, local_one, quorum, local_quorum, each_quorum or all":
    /// Any one.
    One = "one",
    /// One in the local data centre.
    LocalOne = "local_one",
    /// Most of all.
    Quorum = "quorum",
    /// Most of those in the local data centre.
    LocalQuorum = "local_quorum",
    /// Most of those in each data centre. For writes only.
    EachQuorum = "each_quorum",
    /// All.
    All = "all",
}

words! {
    /// Among which replicas an organization's log and client places are linearizable.
    SerialLevel, "a serial consistency is serial or local_serial":
    /// Among those of all data centres.
    Serial = "serial",
    /// Among those of the local data centre: only for clusters that write organizations in one data centre.
    LocalSerial = "local_serial",
}

words! {
    /// Whether `ScyllaDB` may keep the keyspace in tablets.
    Tablets, "tablets are to be avoided or allowed: avoid or allow":
    /// Not: some versions of `ScyllaDB` refuse conditional writes there.
    Avoid = "avoid",
    /// As the server likes.
    Allow = "allow",
}

/// All that can be set.
#[derive(Clone, Debug)]
pub struct ScyllaSettings {
    /// The cluster and the keyspace.
    pub address: CqlAddress,
    /// Of reads of messages.
    pub read_consistency: ConsistencyLevel,
    /// Of writes of messages.
    pub write_consistency: ConsistencyLevel,
    /// Of the log and client places.
    pub serial_consistency: SerialLevel,
    /// The local data centre; any, if none is named.
    pub datacenter: Option<String>,
    /// The local rack, whose nodes are asked first.
    pub rack: Option<String>,
    /// The user to log in as, and the file with the password.
    pub login: Option<(String, PathBuf)>,
    /// PEM files; without a CA there is no TLS.
    pub tls: Option<TlsClientFiles>,
    /// After how long a read is sent to a second node as well; never, if zero.
    pub speculation_delay: Duration,
    /// How long a statement may take, within its request's time.
    pub statement_timeout: Duration,
    /// For a keyspace that is created.
    pub replication: Replication,
    /// Likewise.
    pub tablets: Tablets,
    /// What to do about the schema at the start.
    pub schema: SchemaAtStart,
    /// How long messages are kept.
    pub retention: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:9042/countersign", "a.example:9042,b.example:19042/k_1", "[::1]:9042/k"] {
            assert_eq!(text.parse::<CqlAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "/",
            "a:9042",
            "a:9042/",
            "a/k",
            ":9042/k",
            "a:0/k",
            "a:65536/k",
            "a:9042,/k",
            "a:9042/k/l",
            "a:9042/K",
            "a:9042/1k",
            "a:9042/k;drop",
            "a:9042/system_auth",
            "a b:9042/k",
            "[::g]:9042/k",
            "u:p@a:9042/k",
            "a:9042/k?x=1",
        ] {
            assert!(text.parse::<CqlAddress>().is_err(), "{text}");
        }
        assert!(format!("a:9042/{}", "k".repeat(48)).parse::<CqlAddress>().is_ok());
        assert!(format!("a:9042/{}", "k".repeat(49)).parse::<CqlAddress>().is_err());
    }

    #[test]
    fn replication_is_read_as_it_is_written() {
        for text in ["1", "3", "east:3", "east-1:3,west_2:5"] {
            assert_eq!(text.parse::<Replication>().unwrap().to_string(), text);
        }
        for text in ["", "0", "10", "three", "east:", ":3", "east:0", "east:3,", "east:3,east:3", "e'ast:3", "3,3"] {
            assert!(text.parse::<Replication>().is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for text in ["one", "local_one", "quorum", "local_quorum", "each_quorum", "all"] {
            assert_eq!(text.parse::<ConsistencyLevel>().unwrap().to_string(), text);
        }
        assert!("serial".parse::<ConsistencyLevel>().is_err());
        assert!("quorum".parse::<SerialLevel>().is_err());
        assert!("ONE".parse::<ConsistencyLevel>().is_err());
    }
}
