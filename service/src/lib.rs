//! The Countersign service: a store-and-forward server for end-to-end encrypted messages that need not be trusted.
//!
//! Arrows go downwards: `main → app → http → api → (session, authority, delivery) → store, ephemeral → protocol`.
//! Siblings do not import each other, but for `session`, which asks `authority` who is active. The domain folders name
//! no HTTP, no metrics and no storage engine. `tests/architecture.rs` holds this.

pub mod api;
pub mod app;
pub mod authority;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod coalesce;
pub mod config;
pub mod deadline;
pub mod delivery;
pub mod doctor;
pub mod entropy;
pub mod ephemeral;
pub mod healthcheck;
pub mod http;
pub mod lifecycle;
pub mod openpgp;
pub mod rate_limit;
pub mod reload;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod telemetry;
pub mod valkey;
