//! Peers, side by side: the same messages with the same durability through Countersign, through the article's design
//! rebuilt, and through a server that people use today (docs/peers.md).
//!
//! Owns: what a side must be able to do ([`Client`]), the drivers, the load that is the same for all, the ledger that all
//! are judged by, what the processes of each side cost, and the table. Refuses to know: how servers are installed and
//! started, which is `scripts/peers.sh`'s.
//!
//! Invariants: a driver repeats nothing, and remembers nothing that the ledger is to judge by. Whatever one side is
//! asked, all are asked: the same users, partners, sizes and seeds.

mod article;
mod countersign;
mod cpu;
mod driver;
mod exchange;
mod ledger;
mod load;
mod report;
mod run;
mod servers;
mod synapse;

pub use cpu::CpuTime;
pub use driver::{Client, Failure, Item};
pub use ledger::{ContentId, Ledger, Verdict};
pub use load::{Crowd, Figures, Pace, Role, Terms};
pub use report::{Report, Row};
pub use run::{Options, compare};
pub use servers::{Servers, Settings, Side};
