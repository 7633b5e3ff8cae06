//! What the operator sees: metrics, logs and traces.

pub mod json_lines;
pub mod line_buffer;
pub mod logs;
mod measured;
pub mod measured_ephemeral;
pub mod measured_store;
pub mod metrics;
mod otlp_client;
pub mod traces;
