//! What the figures of runs look like to a person: the article's graphs, and tables, as pages of [`crate::report`].
//!
//! Owns: which graph shows what. Refuses to know: how figures came about, how graphs are drawn.

mod comparison;
mod run;

pub use comparison::{Compared, Side, compared};
pub use run::{
    NodeSeries, delivered, node_loads, operations, post_duration, post_percentiles, run, throughput, verdict,
};
