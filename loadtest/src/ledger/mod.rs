//! The ledger: independent writers that write down every 201, independent readers that write down what they hold, and a
//! judge who compares.
//!
//! Owns: what was promised and what was kept, on disk. Refuses to know: what was done to the service meanwhile, and how
//! the service works; it sees what any client sees.
//!
//! Invariants:
//! - A writer's intention is in its file before its request is sent, so whatever is delivered and is not there was
//!   forged.
//! - A 201 is synced to disk before the writer goes on, so a ledger that is killed still knows what it was promised.
//! - A reader's hold is in its file before it confirms, as the protocol asks of every client.
//! - The judge reads the files and nothing else.
//!
//! `records` is the form of the files, `book` writes them, `facts` reads them, `judge` compares, `verdict` says it;
//! `options` says how much of what, `offer` (open) and `closed` have it sent, `writer` and `reader` are what runs, `run`
//! puts it together, and `tally` counts while it does.

mod book;
mod closed;
mod facts;
mod judge;
mod offer;
mod options;
mod reader;
mod records;
mod run;
mod tally;
mod verdict;
mod writer;

pub use book::{Book, Keeping};
pub use facts::{Facts, Promise};
pub use judge::{Terms, judge};
pub use options::{Options, Work};
pub use records::{Again, Begun, Held, ReadRecord, RunRecord, WriteRecord};
pub use run::{Ledger, RunningLedger};
pub use tally::{Progress, Tally};
pub use verdict::{Exit, Finding, Latency, Verdict};
