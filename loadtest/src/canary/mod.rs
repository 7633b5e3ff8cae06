//! The canary: a user who writes to itself through the ingress, for ever, and says what becomes of it.
//!
//! Owns: one user with two clients, what it was promised and has not got yet, its metrics. Refuses to know: the service's
//! inside; it stands where clients stand.
//!
//! Invariants: what it sends is in its file before it is sent, so it knows after a restart what is still to come. A
//! message is received once its content has been read and compared, and not when it was listed.

mod identity;
mod metrics;
mod pending;
mod run;

pub use identity::Identity;
pub use metrics::{METRICS, Metrics};
pub use run::{CanaryOptions, run};
