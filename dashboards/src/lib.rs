//! Grafana dashboards of Countersign, as a typed description; and what checks them.
//!
//! - [`model`]: what a dashboard is made of. [`query`]: how `PromQL` is put together, from declared metrics.
//! - [`boards`]: the dashboards.
//! - [`grafana`]: writes them in Grafana's classic JSON model, which provisioning, `ConfigMap`s and people import alike.
//! - [`rules`]: reads `prometheus/rules`. [`contract`]: which metrics a query asks for, and whether they exist.
//! - [`page`]: writes `docs/metrics.md`. [`check`]: asks a real Prometheus every query.
//!
//! Owns: what is shown and asked for. Refuses to know: how anything is counted.
//!
//! Invariant: what is committed under `grafana/dashboards` and `docs/metrics.md` is what this crate writes.

pub mod boards;
pub mod check;
pub mod contract;
pub mod generated;
pub mod grafana;
pub mod model;
pub mod page;
pub mod prometheus;
pub mod query;
pub mod rules;
