//! Every setting, once: flag, `COUNTERSIGN_*` variable, line of the TOML file, default. The first that is given counts.
//!
//! Settings are read before any port is bound; an unknown key is an error.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use countersign_protocol::limits::Limits;
use ipnet::IpNet;
use serde::Deserialize;

use crate::http::tls::TlsFiles;
use crate::store::dynamodb::settings::{self as dynamodb, DynamodbAddress, DynamodbSettings};
use crate::store::mariadb::CONTENT_BYTES_MAX as MARIADB_CONTENT_BYTES_MAX;
use crate::store::mariadb::settings::{MariadbAddress, MariadbSettings};
use crate::store::scylla::settings::{
    ConsistencyLevel, CqlAddress, Replication, ScyllaSettings, SerialLevel, Tablets,
};
use crate::store::scylla::{CONTENT_BYTES_MAX, TTL_MAX_SECONDS};
use crate::store::settings::{Durability, SchemaAtStart, TlsClientFiles, VALKEY_CONTENT_BYTES_MAX};
#[cfg(feature = "store-valkey")]
use crate::store::valkey::settings::ValkeyStoreSettings;
use crate::valkey::ValkeyUrl;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is not valid")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Two settings do not go together.
    #[error("{0}")]
    Contradiction(&'static str),
}

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

/// A third of it is the time of one trip.
const VALKEY_STORE_TIMEOUT_MIN: Duration = Duration::from_millis(100);

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

macro_rules! settings {
    (
        required { $($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:literal, $variable:literal;)* }
        optional { $($(#[doc = $optional_doc:literal])* $optional:ident: $optional_type:ty, $optional_variable:literal;)* }
    ) => {
        /// Settings as one place gives them: flags and variables, or the file. What is absent is left to the next.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SettingsLayer {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("\n(default: ", $default, ")")]
                #[arg(long, env = $variable, value_name = "VALUE")]
                pub $name: Option<$type>,
            )*
            $(
                $(#[doc = $optional_doc])*
                #[arg(long, env = $optional_variable, value_name = "VALUE")]
                pub $optional: Option<$optional_type>,
            )*
        }

        /// All settings, resolved.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $type,)*
            $($(#[doc = $optional_doc])* pub $optional: Option<$optional_type>,)*
        }

        impl Settings {
            fn resolve(first: SettingsLayer, second: SettingsLayer) -> Self {
                Self {
                    $($name: first.$name.or(second.$name).unwrap_or_else(|| {
                        let default: Result<$type, _> = $default.parse();
                        default.expect("defaults are valid, as a test shows")
                    }),)*
                    $($optional: first.$optional.or(second.$optional),)*
                }
            }

            /// Lists every setting with its name and value, as a configuration file could have them.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, String)> {
                let mut list = vec![$((stringify!($name), self.$name.to_string()),)*];
                $(
                    if let Some(value) = &self.$optional {
                        list.push((stringify!($optional), shown(value)));
                    }
                )*
                list
            }

            /// The names of all settings, with their variables and defaults, for documentation and its test.
            pub const NAMES: &'static [(&'static str, &'static str, &'static str)] = &[
                $((stringify!($name), $variable, $default),)*
                $((stringify!($optional), $optional_variable, ""),)*
            ];
        }
    };
}

fn shown(value: &(impl AsRef<Path> + ?Sized)) -> String {
    value.as_ref().display().to_string()
}

settings! {
    required {
        /// Address of the public listener
        listen: SocketAddr = "127.0.0.1:8080", "COUNTERSIGN_LISTEN";
        /// Address of the administrative listener: /metrics, /livez, /readyz. Keep it away from the ingress
        admin_listen: SocketAddr = "127.0.0.1:9090", "COUNTERSIGN_ADMIN_LISTEN";
        /// Where messages and organizations are kept: `embedded:DIRECTORY`, `scylla://HOST:9042,HOST:9042/KEYSPACE`,
        /// `mariadb://USER@HOST:3306/DATABASE` (with `?indices=false` for none), `valkey://[USER@]HOST:PORT[,HOST:PORT]`
        /// (valkeys:// for TLS), `dynamodb://REGION/PREFIX`, or `memory:` for tests
        store: StoreUrl = "embedded:./data/store", "COUNTERSIGN_STORE";
        /// Where sessions and nonces are kept: `local`, or `valkey://[USER@]HOST:PORT[,HOST:PORT]` for many processes;
        /// valkeys:// for TLS
        ephemeral: EphemeralUrl = "local", "COUNTERSIGN_EPHEMERAL";
        /// How long connecting to Valkey may take
        valkey_connect_timeout: HumanDuration = "2s", "COUNTERSIGN_VALKEY_CONNECT_TIMEOUT";
        /// How long an answer of Valkey may take; beyond it requests are answered 503
        valkey_timeout: HumanDuration = "1s", "COUNTERSIGN_VALKEY_TIMEOUT";

        /// How far a nonce may be from the server's clock
        nonce_window: HumanDuration = "30s", "COUNTERSIGN_NONCE_WINDOW";
        /// How long a session key lives
        session_lifetime: HumanDuration = "24h", "COUNTERSIGN_SESSION_LIFETIME";
        /// How far a message id's time may be behind the server's clock
        message_id_behind: HumanDuration = "60s", "COUNTERSIGN_MESSAGE_ID_BEHIND";
        /// How far a message id's time may be ahead of the server's clock
        message_id_ahead: HumanDuration = "30s", "COUNTERSIGN_MESSAGE_ID_AHEAD";
        /// How long storage nodes and pods may disagree about what is in a mailbox
        inconsistent_window: HumanDuration = "300s", "COUNTERSIGN_INCONSISTENT_WINDOW";
        /// How long messages are kept
        retention: HumanDuration = "14days", "COUNTERSIGN_RETENTION";
        /// Clients of a user for whom no statement says otherwise
        clients_per_user: u32 = "5", "COUNTERSIGN_CLIENTS_PER_USER";
        /// Bytes of a message's content
        content_bytes: usize = "1048576", "COUNTERSIGN_CONTENT_BYTES";
        /// Bytes of a request with a statement
        statement_bytes: usize = "262144", "COUNTERSIGN_STATEMENT_BYTES";
        /// Recipients of one message
        recipients: usize = "100", "COUNTERSIGN_RECIPIENTS";
        /// How long a listing may wait for something new
        long_poll: HumanDuration = "55s", "COUNTERSIGN_LONG_POLL";
        /// Items in a listing that asks for no number, up to 10000
        list_page: usize = "1000", "COUNTERSIGN_LIST_PAGE";

        /// How often each client's listing starts from the beginning of retention, to find what became visible too late
        reconcile_interval: HumanDuration = "6h", "COUNTERSIGN_RECONCILE_INTERVAL";
        /// How often, at most, each client's listing reads the mailbox though the arrivals say what is new
        merge_interval: HumanDuration = "30s", "COUNTERSIGN_MERGE_INTERVAL";
        /// How often a waiting listing looks though nothing woke it
        poll_interval: HumanDuration = "10s", "COUNTERSIGN_POLL_INTERVAL";
        /// How old may be what a process believes of an organization's users that another process changed
        freshness: HumanDuration = "5s", "COUNTERSIGN_FRESHNESS";
        /// Users whose membership is kept in memory; each takes some 200 bytes
        cached_users: u64 = "1000000", "COUNTERSIGN_CACHED_USERS";
        /// Sessions of Valkey that are kept in memory; each takes some 400 bytes
        cached_sessions: u64 = "100000", "COUNTERSIGN_CACHED_SESSIONS";

        /// What a starting process does about the schema of a store that has one: check (wait for `countersignd schema`) or create
        schema: SchemaAtStart = "check", "COUNTERSIGN_SCHEMA";
        /// Replicas that must answer a read of messages: one, `local_one`, quorum, `local_quorum`, all
        scylla_read_consistency: ConsistencyLevel = "local_quorum", "COUNTERSIGN_SCYLLA_READ_CONSISTENCY";
        /// Replicas that must confirm a write of messages: one, `local_one`, quorum, `local_quorum`, `each_quorum`, all
        scylla_write_consistency: ConsistencyLevel = "local_quorum", "COUNTERSIGN_SCYLLA_WRITE_CONSISTENCY";
        /// Among which replicas organizations and client places are linearizable: serial (all) or `local_serial`
        scylla_serial_consistency: SerialLevel = "serial", "COUNTERSIGN_SCYLLA_SERIAL_CONSISTENCY";
        /// Replicas of a keyspace that is created: a number for every data centre, or one for each such as east:3,west:3
        scylla_replication: Replication = "3", "COUNTERSIGN_SCYLLA_REPLICATION";
        /// Whether ScyllaDB may keep a keyspace that is created in tablets: avoid or allow
        scylla_tablets: Tablets = "avoid", "COUNTERSIGN_SCYLLA_TABLETS";
        /// After how long a read is sent to a second node as well; 0s for never
        scylla_speculation_delay: HumanDuration = "100ms", "COUNTERSIGN_SCYLLA_SPECULATION_DELAY";
        /// How long a call of the store may take, within its request's time
        scylla_statement_timeout: HumanDuration = "10s", "COUNTERSIGN_SCYLLA_STATEMENT_TIMEOUT";
        /// Connections of this process to a mariadb:// store, at most
        mariadb_connections: NonZeroUsize = "32", "COUNTERSIGN_MARIADB_CONNECTIONS";
        /// How long a call of the store may take, within its request's time
        mariadb_statement_timeout: HumanDuration = "10s", "COUNTERSIGN_MARIADB_STATEMENT_TIMEOUT";
        /// Where a write to a valkey:// store is before it is answered: replicated (on the disks of the primary and of a replica),
        /// local (on the primary's), or memory (on none: it can be lost)
        valkey_store_durability: Durability = "replicated", "COUNTERSIGN_VALKEY_STORE_DURABILITY";
        /// Connections of this process to each primary of a valkey:// store that carry writes
        valkey_store_connections: NonZeroUsize = "4", "COUNTERSIGN_VALKEY_STORE_CONNECTIONS";
        /// How long connecting to a server of a valkey:// store may take
        valkey_store_connect_timeout: HumanDuration = "2s", "COUNTERSIGN_VALKEY_STORE_CONNECT_TIMEOUT";
        /// How long a call of the store may take, within its request's time
        valkey_store_timeout: HumanDuration = "10s", "COUNTERSIGN_VALKEY_STORE_TIMEOUT";
        /// Whether messages are read strongly consistent from a dynamodb:// store, at twice the price: true or false
        dynamodb_consistent_reads: bool = "true", "COUNTERSIGN_DYNAMODB_CONSISTENT_READS";
        /// How long connecting to DynamoDB may take
        dynamodb_connect_timeout: HumanDuration = "2s", "COUNTERSIGN_DYNAMODB_CONNECT_TIMEOUT";
        /// How long one attempt of a request to DynamoDB may take
        dynamodb_attempt_timeout: HumanDuration = "3s", "COUNTERSIGN_DYNAMODB_ATTEMPT_TIMEOUT";
        /// How often a request to DynamoDB is sent at most, where it is throttled or gets no answer
        dynamodb_attempts: NonZeroU32 = "6", "COUNTERSIGN_DYNAMODB_ATTEMPTS";
        /// How long a call of the store may take, within its request's time
        dynamodb_timeout: HumanDuration = "10s", "COUNTERSIGN_DYNAMODB_TIMEOUT";

        /// Connections at once
        connections: usize = "20000", "COUNTERSIGN_CONNECTIONS";
        /// How long the head of a connection's first request may take to arrive
        header_timeout: HumanDuration = "10s", "COUNTERSIGN_HEADER_TIMEOUT";
        /// How long a connection may wait for its next request: longer than whatever is before the service keeps its own
        idle_timeout: HumanDuration = "650s", "COUNTERSIGN_IDLE_TIMEOUT";
        /// How long a request's body may take to arrive
        body_timeout: HumanDuration = "20s", "COUNTERSIGN_BODY_TIMEOUT";
        /// How long a request may take, besides waiting for something new
        request_timeout: HumanDuration = "30s", "COUNTERSIGN_REQUEST_TIMEOUT";
        /// Requests in work at once that only read
        concurrent_reads: usize = "2048", "COUNTERSIGN_CONCURRENT_READS";
        /// Requests in work at once that change something
        concurrent_writes: usize = "4096", "COUNTERSIGN_CONCURRENT_WRITES";
        /// Listings at once that wait for something new
        concurrent_waits: usize = "20000", "COUNTERSIGN_CONCURRENT_WAITS";
        /// Requests in work at once that need public-key work
        concurrent_public_key: usize = "2048", "COUNTERSIGN_CONCURRENT_PUBLIC_KEY";
        /// Requests a second of one client, with twice as many at once after a pause; 0 for no limit
        rate_per_client: u32 = "5000", "COUNTERSIGN_RATE_PER_CLIENT";
        /// Requests a second of one address (of IPv6, one /64), likewise; 0 for no limit
        rate_per_address: u32 = "50000", "COUNTERSIGN_RATE_PER_ADDRESS";
        /// Networks of proxies whose X-Forwarded-For is believed, separated by commas
        trusted_proxies: Networks = "", "COUNTERSIGN_TRUSTED_PROXIES";

        /// Threads for public-key work
        public_key_threads: NonZeroUsize = "1", "COUNTERSIGN_PUBLIC_KEY_THREADS";
        /// Public-key jobs that may wait for a thread; beyond it requests are answered 503
        public_key_queue: NonZeroUsize = "256", "COUNTERSIGN_PUBLIC_KEY_QUEUE";

        /// How long to go on serving after SIGTERM, until every load balancer knows
        drain_delay: HumanDuration = "5s", "COUNTERSIGN_DRAIN_DELAY";
        /// How long requests may take to finish after that
        drain_timeout: HumanDuration = "30s", "COUNTERSIGN_DRAIN_TIMEOUT";
        /// Which log lines are written, as a tracing filter: info, debug, or debug for one module only
        log: String = "info", "COUNTERSIGN_LOG";
        /// How they are written: auto, json or pretty
        log_format: LogFormat = "auto", "COUNTERSIGN_LOG_FORMAT";
    }
    optional {
        /// File with the password of Valkey's user
        valkey_password_file: PathBuf, "COUNTERSIGN_VALKEY_PASSWORD_FILE";
        /// PEM file with the authority that signed Valkey's certificate; none for those that the system trusts
        valkey_authority: PathBuf, "COUNTERSIGN_VALKEY_AUTHORITY";
        /// File with the armored certificates of the super-administrators, two of whom create an organization
        super_administrators: PathBuf, "COUNTERSIGN_SUPER_ADMINISTRATORS";
        /// PEM file with the certificate chain of the public listener; none for plain HTTP
        tls_certificate: PathBuf, "COUNTERSIGN_TLS_CERTIFICATE";
        /// PEM file with its private key
        tls_key: PathBuf, "COUNTERSIGN_TLS_KEY";
        /// The local data centre of a scylla:// store
        scylla_datacenter: String, "COUNTERSIGN_SCYLLA_DATACENTER";
        /// The local rack, whose nodes are asked first
        scylla_rack: String, "COUNTERSIGN_SCYLLA_RACK";
        /// The user to log in to a scylla:// store as
        scylla_user: String, "COUNTERSIGN_SCYLLA_USER";
        /// File with the user's password
        scylla_password_file: PathBuf, "COUNTERSIGN_SCYLLA_PASSWORD_FILE";
        /// PEM file with the certificates that a scylla:// store's servers are trusted by; none for no TLS
        scylla_ca: PathBuf, "COUNTERSIGN_SCYLLA_CA";
        /// PEM file with the service's own certificate for the store, where its servers ask for one
        scylla_certificate: PathBuf, "COUNTERSIGN_SCYLLA_CERTIFICATE";
        /// PEM file with its private key
        scylla_key: PathBuf, "COUNTERSIGN_SCYLLA_KEY";
        /// File with the password of a mariadb:// store's user
        mariadb_password_file: PathBuf, "COUNTERSIGN_MARIADB_PASSWORD_FILE";
        /// PEM file with the certificates that a mariadb:// store's server is trusted by; none for no TLS
        mariadb_ca: PathBuf, "COUNTERSIGN_MARIADB_CA";
        /// PEM file with the service's own certificate for the store, where its server asks for one
        mariadb_certificate: PathBuf, "COUNTERSIGN_MARIADB_CERTIFICATE";
        /// PEM file with its private key
        mariadb_key: PathBuf, "COUNTERSIGN_MARIADB_KEY";
        /// File with the password of a valkey:// store's user
        valkey_store_password_file: PathBuf, "COUNTERSIGN_VALKEY_STORE_PASSWORD_FILE";
        /// PEM file with the authority that signed the certificates of a valkeys:// store; none for those that the system trusts
        valkey_store_authority: PathBuf, "COUNTERSIGN_VALKEY_STORE_AUTHORITY";
        /// Another endpoint of DynamoDB than the region's own, such as <http://127.0.0.1:8000> of DynamoDB Local
        dynamodb_endpoint: String, "COUNTERSIGN_DYNAMODB_ENDPOINT";
    }
}

impl Settings {
    /// Resolves flags and variables, then the file, then the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong, and in which file.
    pub fn load(flags: SettingsLayer, file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = file.map_or(Ok(SettingsLayer::default()), read_file)?;
        let settings = Self::resolve(flags, file);
        settings.check()?;
        Ok(settings)
    }

    /// Returns the protocol's numbers.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            nonce_window: self.nonce_window.0,
            session_lifetime: self.session_lifetime.0,
            message_id_behind: self.message_id_behind.0,
            message_id_ahead: self.message_id_ahead.0,
            inconsistent_window: self.inconsistent_window.0,
            retention: self.retention.0,
            clients_per_user: self.clients_per_user,
            content_bytes: self.content_bytes,
            statement_bytes: self.statement_bytes,
            recipients: self.recipients,
            long_poll: self.long_poll.0,
            list_page: self.list_page,
        }
    }

    /// Returns the files of the public listener's certificate, if it has one.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.tls_certificate.clone()?, self.tls_key.clone()?);
        Some(TlsFiles { certificate, key })
    }

    /// Returns the settings of a store in CQL, if that is what is used.
    #[must_use]
    pub fn scylla(&self) -> Option<ScyllaSettings> {
        let StoreUrl::Scylla(address) = &self.store else { return None };
        let own = self.scylla_certificate.clone().zip(self.scylla_key.clone());
        Some(ScyllaSettings {
            address: address.clone(),
            read_consistency: self.scylla_read_consistency,
            write_consistency: self.scylla_write_consistency,
            serial_consistency: self.scylla_serial_consistency,
            datacenter: self.scylla_datacenter.clone(),
            rack: self.scylla_rack.clone(),
            login: self.scylla_user.clone().zip(self.scylla_password_file.clone()),
            tls: self.scylla_ca.clone().map(|ca| TlsClientFiles { ca, own }),
            speculation_delay: self.scylla_speculation_delay.0,
            statement_timeout: self.scylla_statement_timeout.0,
            replication: self.scylla_replication.clone(),
            tablets: self.scylla_tablets,
            schema: self.schema,
            retention: self.retention.0,
        })
    }

    /// Returns the settings of a store in MariaDB, if that is what is used.
    #[must_use]
    pub fn mariadb(&self) -> Option<MariadbSettings> {
        let StoreUrl::Mariadb(address) = &self.store else { return None };
        let own = self.mariadb_certificate.clone().zip(self.mariadb_key.clone());
        Some(MariadbSettings {
            address: address.clone(),
            password: self.mariadb_password_file.clone(),
            tls: self.mariadb_ca.clone().map(|ca| TlsClientFiles { ca, own }),
            connections: self.mariadb_connections.get(),
            statement_timeout: self.mariadb_statement_timeout.0,
            schema: self.schema,
            retention: self.retention.0,
            content_bytes: self.content_bytes,
        })
    }

    /// Returns the settings of a store in Valkey, if that is what is used.
    #[cfg(feature = "store-valkey")]
    #[must_use]
    pub fn valkey_store(&self) -> Option<ValkeyStoreSettings> {
        let StoreUrl::Valkey(url) = &self.store else { return None };
        Some(ValkeyStoreSettings {
            url: url.clone(),
            password: self.valkey_store_password_file.clone(),
            authority: self.valkey_store_authority.clone(),
            connect_timeout: self.valkey_store_connect_timeout.0,
            timeout: self.valkey_store_timeout.0,
            durability: self.valkey_store_durability,
            connections: self.valkey_store_connections,
            schema: self.schema,
            retention: self.retention.0,
        })
    }

    /// Returns the settings of a store in DynamoDB, if that is what is used.
    #[must_use]
    pub fn dynamodb(&self) -> Option<DynamodbSettings> {
        let StoreUrl::Dynamodb(address) = &self.store else { return None };
        Some(DynamodbSettings {
            address: address.clone(),
            endpoint: self.dynamodb_endpoint.clone(),
            consistent_reads: self.dynamodb_consistent_reads,
            connect_timeout: self.dynamodb_connect_timeout.0,
            attempt_timeout: self.dynamodb_attempt_timeout.0,
            attempts: self.dynamodb_attempts,
            timeout: self.dynamodb_timeout.0,
            schema: self.schema,
            retention: self.retention.0,
        })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let contradictions = self.contradictions().into_iter();
        let contradictions = contradictions.chain(self.scylla_contradictions()).chain(self.mariadb_contradictions());
        let contradictions =
            contradictions.chain(self.valkey_store_contradictions()).chain(self.dynamodb_contradictions());
        match contradictions.into_iter().find(|(contradicts, _)| *contradicts) {
            Some((_, text)) => Err(ConfigError::Contradiction(text)),
            None => Ok(()),
        }
    }

    fn scylla_contradictions(&self) -> [(bool, &'static str); 8] {
        let used = matches!(self.store, StoreUrl::Scylla(_));
        [
            (
                self.scylla_user.is_some() != self.scylla_password_file.is_some(),
                "scylla_user and scylla_password_file go together: set both or none",
            ),
            (
                self.scylla_certificate.is_some() != self.scylla_key.is_some(),
                "scylla_certificate and scylla_key go together: set both or none",
            ),
            (
                self.scylla_certificate.is_some() && self.scylla_ca.is_none(),
                "scylla_certificate needs scylla_ca: without it there is no TLS",
            ),
            (self.scylla_rack.is_some() && self.scylla_datacenter.is_none(), "scylla_rack needs scylla_datacenter"),
            (
                self.scylla_read_consistency == ConsistencyLevel::EachQuorum,
                "each_quorum is for writes: scylla_read_consistency cannot have it",
            ),
            (self.scylla_statement_timeout.0.is_zero(), "scylla_statement_timeout is more than nothing"),
            (
                used && self.retention.0.as_secs() > TTL_MAX_SECONDS / 2,
                "a scylla:// store keeps messages for at most ten years: shorten retention",
            ),
            (
                used && self.content_bytes > CONTENT_BYTES_MAX,
                "a scylla:// store takes contents of at most 8 MiB: lower content_bytes",
            ),
        ]
    }

    fn mariadb_contradictions(&self) -> [(bool, &'static str); 4] {
        let used = matches!(self.store, StoreUrl::Mariadb(_));
        [
            (
                self.mariadb_certificate.is_some() != self.mariadb_key.is_some(),
                "mariadb_certificate and mariadb_key go together: set both or none",
            ),
            (
                self.mariadb_certificate.is_some() && self.mariadb_ca.is_none(),
                "mariadb_certificate needs mariadb_ca: without it there is no TLS",
            ),
            (self.mariadb_statement_timeout.0.is_zero(), "mariadb_statement_timeout is more than nothing"),
            (
                used && self.content_bytes > MARIADB_CONTENT_BYTES_MAX,
                "a mariadb:// store takes contents of at most 8 MiB: lower content_bytes",
            ),
        ]
    }

    fn valkey_store_contradictions(&self) -> [(bool, &'static str); 2] {
        let used = matches!(self.store, StoreUrl::Valkey(_));
        [
            (self.valkey_store_timeout.0 < VALKEY_STORE_TIMEOUT_MIN, "valkey_store_timeout is at least 100ms"),
            (
                used && self.content_bytes > VALKEY_CONTENT_BYTES_MAX,
                "a valkey:// store takes contents of at most 8 MiB: lower content_bytes",
            ),
        ]
    }

    fn dynamodb_contradictions(&self) -> [(bool, &'static str); 6] {
        let used = matches!(self.store, StoreUrl::Dynamodb(_));
        let web = |endpoint: &String| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        [
            (
                self.dynamodb_connect_timeout.0.is_zero()
                    || self.dynamodb_attempt_timeout.0.is_zero()
                    || self.dynamodb_timeout.0.is_zero(),
                "dynamodb_connect_timeout, dynamodb_attempt_timeout and dynamodb_timeout are more than nothing",
            ),
            (
                self.dynamodb_attempt_timeout.0 > self.dynamodb_timeout.0,
                "dynamodb_attempt_timeout is of one attempt, and must not be longer than dynamodb_timeout",
            ),
            (
                self.dynamodb_endpoint.as_ref().is_some_and(|endpoint| !web(endpoint)),
                "dynamodb_endpoint begins with https://, or with http:// for a server on this machine",
            ),
            (
                used && self.content_bytes > dynamodb::CONTENT_BYTES_MAX,
                "a dynamodb:// store takes contents of at most 8 MiB: lower content_bytes",
            ),
            (
                used && self.recipients > dynamodb::RECIPIENTS_MAX,
                "a dynamodb:// store takes at most 5000 recipients of a message: lower recipients",
            ),
            (
                used && self.statement_bytes > dynamodb::STATEMENT_BYTES_MAX,
                "a dynamodb:// store takes statements of at most 384 KiB: lower statement_bytes",
            ),
        ]
    }

    fn contradictions(&self) -> [(bool, &'static str); 7] {
        [
            (
                self.tls_certificate.is_some() != self.tls_key.is_some(),
                "tls_certificate and tls_key go together: set both or none",
            ),
            (
                self.inconsistent_window.0 <= self.message_id_behind.0 + self.message_id_ahead.0,
                "inconsistent_window must be longer than message_id_behind and message_id_ahead together, or messages \
                 can enter a mailbox behind what clients have seen",
            ),
            (self.retention.0 <= self.inconsistent_window.0, "retention must be longer than inconsistent_window"),
            (self.list_page == 0 || self.list_page > Limits::LIST_PAGE_MAX, "list_page is from 1 to 10000"),
            (
                self.clients_per_user == 0 || self.clients_per_user > crate::authority::CLIENT_LIMIT_MAX,
                "clients_per_user is from 1 to 1000",
            ),
            (self.content_bytes == 0 || self.recipients == 0, "content_bytes and recipients are at least 1"),
            (self.connections == 0, "connections is at least 1"),
        ]
    }
}

fn read_file(path: &Path) -> Result<SettingsLayer, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Invalid { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Settings, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("countersign.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(SettingsLayer::default(), Some(&path))
    }

    #[test]
    fn the_defaults_are_those_of_the_protocol() {
        let settings = Settings::load(SettingsLayer::default(), None).unwrap();

        assert_eq!(settings.limits(), Limits::default());
        assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
        assert!(settings.tls().is_none());
    }

    #[test]
    fn a_flag_counts_before_the_file_and_the_file_before_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("countersign.toml");
        std::fs::write(&path, "retention = \"3days\"\nrecipients = 7\n").unwrap();
        let flags = SettingsLayer { recipients: Some(9), ..SettingsLayer::default() };

        let settings = Settings::load(flags, Some(&path)).unwrap();

        assert_eq!((settings.recipients, settings.retention.0), (9, Duration::from_secs(3 * 86_400)));
        assert_eq!(settings.list_page, 1_000);
    }

    #[test]
    fn an_unknown_key_or_a_bad_value_is_an_error() {
        for text in ["retentoin = \"3days\"", "retention = 3", "retention = \"soon\"", "store = \"mysql://x\"", "="] {
            assert!(matches!(with_file(text), Err(ConfigError::Invalid { .. })), "{text}");
        }
    }

    #[test]
    fn settings_that_could_lose_messages_are_refused() {
        for text in [
            "inconsistent_window = \"90s\"",
            "retention = \"300s\"",
            "tls_key = \"key.pem\"",
            "list_page = 10001",
            "clients_per_user = 0",
            "scylla_user = \"countersign\"",
            "scylla_rack = \"r1\"",
            "scylla_certificate = \"c.pem\"\nscylla_key = \"k.pem\"",
            "scylla_read_consistency = \"each_quorum\"",
            "store = \"scylla://a:9042/k\"\nretention = \"11years\"",
            "store = \"scylla://a:9042/k\"\ncontent_bytes = 9000000",
            "store = \"mariadb://u@a/k\"\ncontent_bytes = 9000000",
            "mariadb_key = \"k.pem\"",
            "mariadb_certificate = \"c.pem\"\nmariadb_key = \"k.pem\"",
            "valkey_store_timeout = \"99ms\"",
            "dynamodb_timeout = \"0s\"",
            "dynamodb_attempt_timeout = \"11s\"",
            "dynamodb_endpoint = \"127.0.0.1:8000\"",
        ] {
            assert!(matches!(with_file(text), Err(ConfigError::Contradiction(_))), "{text}");
        }
    }

    #[test]
    fn a_store_is_read_strictly_and_written_as_it_is_read() {
        for text in
            ["embedded:./data", "memory:", "scylla://a:9042,b:9042/countersign", "mariadb://u@a:3306/k?indices=false"]
        {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "embedded:",
            "memory",
            "memory:x",
            "scylla:a:9042/k",
            "scylla://a/k",
            "scylla://a:9042",
            "cql://a:9042/k",
            "mariadb:u@a/k",
            "mysql://u@a/k",
        ] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[cfg(feature = "store-valkey")]
    #[test]
    fn a_store_in_valkey_is_read_where_it_is_built_in_and_bounds_contents() {
        for text in ["valkey://u@a:7000,b:7001", "valkeys://a:6379"] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
        }
        for text in ["valkey:a:6379", "valkey://a:6379/0", "valkey://u:secret@a"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
        let large = with_file("store = \"valkey://a:1\"\ncontent_bytes = 9000000");
        assert!(matches!(large, Err(ConfigError::Contradiction(_))));
        assert!(with_file("store = \"valkey://a:1\"").unwrap().valkey_store().is_some());
    }

    #[cfg(not(feature = "store-valkey"))]
    #[test]
    fn a_store_in_valkey_is_refused_by_the_name_of_the_feature_where_it_is_not_built_in() {
        assert!("valkey://a:7000".parse::<StoreUrl>().unwrap_err().contains("feature store-valkey"));
    }

    #[cfg(feature = "store-dynamodb")]
    #[test]
    fn a_store_in_dynamodb_is_read_strictly_and_takes_no_more_than_its_items_hold() {
        let text = "dynamodb://eu-central-1/countersign";
        assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
        for text in ["dynamodb:", "dynamodb:a/b", "dynamodb://a", "dynamodb://a:8000/b"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
        for limit in ["content_bytes = 9000000", "recipients = 5001", "statement_bytes = 400000"] {
            assert!(with_file(limit).is_ok(), "{limit}");
            let refused = with_file(&format!("store = \"{text}\"\n{limit}"));
            assert!(matches!(refused, Err(ConfigError::Contradiction(_))), "{limit}");
        }
    }

    #[cfg(not(feature = "store-dynamodb"))]
    #[test]
    fn without_its_feature_a_store_in_dynamodb_is_refused_in_words_and_its_settings_are_there() {
        let refused = "dynamodb://eu-central-1/countersign".parse::<StoreUrl>().unwrap_err();
        assert!(refused.contains("--features store-dynamodb"), "{refused}");
        assert!(!with_file("dynamodb_consistent_reads = false").unwrap().dynamodb_consistent_reads);
    }

    #[test]
    fn every_setting_is_in_the_guide() {
        let guide = include_str!("../../docs/configuration.md");
        for (name, variable, default) in Settings::NAMES {
            let row = guide.lines().find(|line| line.contains(&format!("`{variable}`")));
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {variable} ({name})"));
            assert!(default.is_empty() || row.contains(&format!("`{default}`")), "{variable} has another default");
        }
    }
}
