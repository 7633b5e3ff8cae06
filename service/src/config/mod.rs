//! Every setting, once: flag, `COUNTERSIGN_*` variable, line of the TOML file, default. The first that is given counts.
//!
//! Settings are read before any port is bound; an unknown key is an error.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use countersign_protocol::limits::Limits;
use serde::Deserialize;

use crate::http::tls::TlsFiles;
use crate::store::scylla::settings::{ConsistencyLevel, Replication, SerialLevel, Tablets};
use crate::store::settings::{Durability, SchemaAtStart};
pub use values::{EphemeralUrl, HumanDuration, LogFormat, Networks, StoreUrl};

mod stores;
mod values;

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
mod tests;
