//! The settings of each store, and which of them do not go together.

use std::time::Duration;

use super::{Settings, StoreUrl};
use crate::store::dynamodb::settings::{self as dynamodb, DynamodbSettings};
use crate::store::mariadb::CONTENT_BYTES_MAX as MARIADB_CONTENT_BYTES_MAX;
use crate::store::mariadb::settings::MariadbSettings;
use crate::store::scylla::settings::{ConsistencyLevel, ScyllaSettings};
use crate::store::scylla::{CONTENT_BYTES_MAX, TTL_MAX_SECONDS};
use crate::store::settings::{TlsClientFiles, VALKEY_CONTENT_BYTES_MAX};
#[cfg(feature = "store-valkey")]
use crate::store::valkey::settings::ValkeyStoreSettings;

/// A third of it is the time of one trip.
const VALKEY_STORE_TIMEOUT_MIN: Duration = Duration::from_millis(100);

impl Settings {
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

    pub(super) fn scylla_contradictions(&self) -> [(bool, &'static str); 8] {
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

    pub(super) fn mariadb_contradictions(&self) -> [(bool, &'static str); 4] {
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

    pub(super) fn valkey_store_contradictions(&self) -> [(bool, &'static str); 2] {
        let used = matches!(self.store, StoreUrl::Valkey(_));
        [
            (self.valkey_store_timeout.0 < VALKEY_STORE_TIMEOUT_MIN, "valkey_store_timeout is at least 100ms"),
            (
                used && self.content_bytes > VALKEY_CONTENT_BYTES_MAX,
                "a valkey:// store takes contents of at most 8 MiB: lower content_bytes",
            ),
        ]
    }

    pub(super) fn dynamodb_contradictions(&self) -> [(bool, &'static str); 6] {
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
}
