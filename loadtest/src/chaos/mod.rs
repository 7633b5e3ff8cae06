//! Chaos: the ledger on real processes, while a plan of faults that a seed decides is done to them.
//!
//! Owns: processes, the connections between them, what is done to both and when, and the report. Refuses to know: what
//! was promised and what was kept; that is the ledger's, which runs beside it and is told nothing.
//!
//! Invariants: one seed makes one plan. Two faults are never done to one process at a time. Whatever was done is undone
//! before the ledger is judged: the claim is about what arrives once everything is well again.
//!
//! `plan` draws, `stage` has the processes (`pod`, `cql`, `valkey`) behind proxies (`proxy`), `timeline` and `report` tell,
//! `run` puts it together. Why a proxy, and why libfaketime: docs/decisions/0013-faults-by-proxy.md.

mod cql;
mod plan;
mod pod;
mod proxy;
mod report;
mod run;
mod stage;
mod timeline;
mod valkey;

pub use plan::{Fault, Place, Plan, Shape, Step};
pub use proxy::{Proxy, Weather};
pub use report::Report;
pub use run::{ChaosOptions, Outcome, run};
pub use stage::{Settings, Store};
pub use timeline::{Event, Sample, Timeline};
