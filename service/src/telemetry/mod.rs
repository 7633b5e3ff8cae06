//! What the operator sees: metrics and logs.

pub mod logs;
pub mod measured_store;
pub mod metrics;
