//! The real binary, as a process of its own, with real GnuPG keys.
//!
//! One test program, so that it is linked once. `support` is what the tests stand on; every answer that goes through its
//! client is checked against `docs/openapi.yaml`.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]
#![expect(clippy::string_slice, reason = "what is cut is ASCII")]
#![expect(clippy::print_stderr, reason = "the log of a service whose test failed")]

mod support;

mod cluster;
mod cluster_valkey;
mod conversation;
mod crash;
#[cfg(feature = "store-dynamodb")]
mod dynamodb;
mod gap;
mod hostile;
mod lifecycle;
mod limits;
mod load;
mod mariadb;
mod problems;
mod rates;
mod scylla;
mod sessions;
mod statements;
mod telemetry;
mod tls;
mod traces;
mod trips;
mod valkey_store;
