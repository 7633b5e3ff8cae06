//! Shrinks a history that violates an invariant to a short one that violates it too.

use super::history::History;
use super::ledger::Violation;
use super::world::happens;

/// Takes out operations, in ever smaller pieces, as long as the same invariant is violated without them: delta debugging
/// (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002), of which this is the greedy form.
pub(crate) fn shrink(history: &History, violation: &Violation) -> (History, Violation) {
    let mut shortest = (history.clone(), violation.clone());
    let mut piece = history.ops.len() / 2;
    while piece > 0 {
        let mut at = 0;
        let mut shortened = false;
        while at < shortest.0.ops.len() {
            let mut tried = shortest.0.clone();
            tried.ops.drain(at..(at + piece).min(tried.ops.len()));
            match happens(&tried) {
                Some(seen) if seen.invariant == violation.invariant => {
                    shortest = (tried, seen);
                    shortened = true;
                }
                _ => at += piece,
            }
        }
        if piece > 1 || !shortened {
            piece /= 2;
        }
    }
    shortest
}
