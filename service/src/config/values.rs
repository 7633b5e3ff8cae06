//! What settings are made of, as people write them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::store::dynamodb::settings::DynamodbAddress;
use crate::store::mariadb::settings::MariadbAddress;
use crate::store::scylla::settings::CqlAddress;
use crate::valkey::ValkeyUrl;

/// A duration as people write it: `300ms`, `30s`, `5m`, `14days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

/// Where what must last is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreUrl {
    /// `embedded:<directory>`: one process, durable before it answers.
    Embedded(PathBuf),
    /// `memory:`: gone when the process ends. For tests.
    Memory,
    /// `scylla://host:9042,host:9042/keyspace`: a cluster that any number of processes share.
    Scylla(CqlAddress),
    /// `mariadb://user@host:3306/database`: one server that any number of processes share; the baseline of experiments.
    Mariadb(MariadbAddress),
    /// `valkey://host:port,…`: everything in a cluster of Valkey that any number of processes share. With the feature
    /// `store-valkey` only.
    Valkey(ValkeyUrl),
    /// `dynamodb://region/prefix`: tables of DynamoDB that any number of processes share. Behind the feature `store-dynamodb`.
    Dynamodb(DynamodbAddress),
}

impl StoreUrl {
    /// Tells whether the store has a schema that somebody has to make.
    #[must_use]
    pub const fn has_schema(&self) -> bool {
        matches!(self, Self::Scylla(_) | Self::Mariadb(_) | Self::Valkey(_) | Self::Dynamodb(_))
    }
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("embedded", directory)) if !directory.is_empty() => Ok(Self::Embedded(directory.into())),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("scylla", rest)) => {
                let form = "a CQL store is scylla://host:9042,host:9042/keyspace, each host with its port";
                rest.strip_prefix("//").ok_or(form)?.parse().map(Self::Scylla)
            }
            Some(("mariadb", rest)) => {
                let form = "a store in MariaDB is mariadb://user@host:3306/database, with ?indices=false for none";
                rest.strip_prefix("//").ok_or(form)?.parse().map(Self::Mariadb)
            }
            Some(("valkey" | "valkeys", _)) if !cfg!(feature = "store-valkey") => {
                Err("this program was built without stores in Valkey: build it with the feature store-valkey")
            }
            Some(("valkey" | "valkeys", _)) => text.parse().map(Self::Valkey),
            Some(("dynamodb", _)) if !cfg!(feature = "store-dynamodb") => {
                Err("this program was built without the store in DynamoDB: cargo build --features store-dynamodb")
            }
            Some(("dynamodb", rest)) => {
                let form =
                    "a store in DynamoDB is dynamodb://region/prefix, such as dynamodb://eu-central-1/countersign";
                rest.strip_prefix("//").ok_or(form)?.parse().map(Self::Dynamodb)
            }
            _ => Err("a store is embedded:<directory>, scylla://host:9042,host:9042/keyspace, \
                      mariadb://user@host:3306/database, valkey://host:port,host:port, dynamodb://region/prefix or memory:"),
        }
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(directory) => write!(formatter, "embedded:{}", directory.display()),
            Self::Memory => formatter.write_str("memory:"),
            Self::Scylla(address) => write!(formatter, "scylla://{address}"),
            Self::Mariadb(address) => write!(formatter, "mariadb://{address}"),
            Self::Valkey(url) => url.fmt(formatter),
            Self::Dynamodb(address) => write!(formatter, "dynamodb://{address}"),
        }
    }
}

/// Where what may vanish is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum EphemeralUrl {
    /// `local`: this process.
    Local,
    /// `valkey://…`: a Valkey that any number of processes share.
    Valkey(ValkeyUrl),
}

impl FromStr for EphemeralUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "local" => Ok(Self::Local),
            _ if text.starts_with("valkey") => Ok(Self::Valkey(text.parse()?)),
            _ => Err("an ephemeral store is local or valkey://host:port[,host:port…]"),
        }
    }
}

impl TryFrom<String> for EphemeralUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for EphemeralUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => formatter.write_str("local"),
            Self::Valkey(url) => url.fmt(formatter),
        }
    }
}

/// Networks, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Networks(pub Vec<IpNet>);

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        networks
            .map(|part| part.parse().map_err(|_| format!("{part} is no network such as 10.0.0.0/8")))
            .collect::<Result<Vec<IpNet>, String>>()
            .map(Self)
    }
}

impl TryFrom<String> for Networks {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Networks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&texts.join(","))
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("a log format is auto, json or pretty"),
        }
    }
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Pretty => "pretty",
        })
    }
}
