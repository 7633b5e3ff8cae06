//! One client of one user, over one server or many: sessions, nonces, and one attempt at a time.
//!
//! Owns: how a request is signed and sent, and what sort of answer came. Refuses to know: when to try again, and what a
//! lost answer means; that is for whoever has to account for it.
//!
//! Invariants: requests of one client follow each other, so its nonces arrive in their order. Nothing is repeated here:
//! an attempt that got no answer may have been done. Every attempt is told to the observer, however it ended.

mod attempt;
mod device;
mod targets;

pub use attempt::{Ending, Observer, Operation, Unobserved};
pub use device::{Device, Reply, Why};
use targets::Target;
pub use targets::Targets;
