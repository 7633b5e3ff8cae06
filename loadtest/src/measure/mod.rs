//! What a run found, in figures: recorded while it runs, summed up, judged by thresholds, exported as metrics.
//!
//! Owns: histograms of how long things took, counts by operation and second, the form of `summary.json`. Refuses to know:
//! what is sent and why; it is told by way of [`crate::wire::Observer`].
//!
//! Invariants: summaries of several workers add up exactly, percentiles too, since histograms are kept and not their
//! percentiles. Nothing from before the start or within the warm-up is in a total.

mod exporter;
mod latencies;
mod recorder;
mod summary;
mod thresholds;

pub use exporter::Exporter;
pub use latencies::Latencies;
pub use recorder::{Recorded, Recorder, Window};
pub use summary::{Circumstances, Delivered, GeneratorUse, OperationSummary, ProgramRun, Second, Summary, float};
pub use thresholds::{InvalidThreshold, Threshold};
