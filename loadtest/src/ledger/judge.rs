//! The judge: what was promised, against what is held. Pure: facts in, verdict out.

use std::collections::HashMap;
use std::time::Duration;

use countersign_protocol::body::ItemKind;
use countersign_protocol::id::{ClientAddress, UserId};
use hdrhistogram::Histogram;

use super::facts::{Facts, Promise, Reading};
use super::records::{Held, RunRecord};
use super::verdict::{Latency, Verdict};

/// What counts as late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a delivery may take.
    pub late: Duration,
}

/// The problem that a writer answers with a later id.
pub(super) const TOO_OLD: &str = "id-out-of-window";

/// The longest time that is told apart, in microseconds: a day.
const LONGEST: u64 = 24 * 3_600_000_000;

/// Compares what was promised with what is held.
///
/// # Panics
/// Never: the histogram's bounds are in order.
#[must_use]
pub fn judge(run: &RunRecord, facts: &Facts, terms: Terms) -> Verdict {
    let mut verdict = Verdict { torn: facts.torn, ..Verdict::default() };
    let mut latency = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
    let mut to: HashMap<UserId, Vec<&Promise>> = HashMap::new();
    for promise in facts.promises.values() {
        count(promise, &mut verdict);
        for user in &promise.begun.to {
            to.entry(*user).or_default().push(promise);
        }
    }
    for (address, is_auditor) in
        run.readers.iter().map(|reader| (reader, false)).chain(run.auditors.iter().map(|auditor| (auditor, true)))
    {
        let nothing = Reading::default();
        let reading = facts.readings.get(address).unwrap_or(&nothing);
        for promise in to.get(&address.user).into_iter().flatten() {
            let Some(accepted) = promise.accepted else { continue };
            verdict.due += 1;
            let Some(held) = reading.held.get(&promise.begun.id) else {
                verdict.lost.add(promise.begun.id, address, || lost_in_words(promise, accepted, reading, is_auditor));
                continue;
            };
            verdict.delivered += 1;
            if is_auditor {
                continue;
            }
            let took = Duration::from_micros(held.at.saturating_sub(accepted));
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            if took > terms.late {
                verdict.late.add(promise.begun.id, address, || {
                    format!(
                        "took {} ms, {} ms of them until it was listed",
                        took.as_millis(),
                        since(accepted, held.listed)
                    )
                });
            }
        }
        look_at(reading, address, facts, &mut verdict);
    }
    if facts.strange > 0 {
        verdict.refused.insert("ledger-out-of-order".to_owned(), u64::try_from(facts.strange).unwrap_or(u64::MAX));
    }
    let at = |quantile| latency.value_at_quantile(quantile) / 1_000;
    verdict.latency = Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: latency.max() / 1_000 };
    verdict.took = Some(latency);
    verdict
}

fn count(promise: &Promise, verdict: &mut Verdict) {
    match (promise.accepted, promise.begun.kind) {
        (Some(_), ItemKind::Message) => verdict.messages += 1,
        (Some(_), ItemKind::Receipt) => verdict.receipts += 1,
        (None, _) => verdict.unanswered += 1,
    }
    match promise.refused.as_deref() {
        Some(TOO_OLD) => verdict.reissued += 1,
        Some(problem) => *verdict.refused.entry(problem.to_owned()).or_default() += 1,
        None => {}
    }
}

/// Looks at what a reader holds, whether it was promised or not.
fn look_at(reading: &Reading, address: &ClientAddress, facts: &Facts, verdict: &mut Verdict) {
    for held in reading.held.values() {
        verdict.copies += u64::from(held.copy_of.is_some());
        let Some(promise) = facts.promises.get(&held.id) else {
            verdict.forged.add(held.id, address, || format!("nobody sent this {:?} of {}", held.kind, held.from));
            continue;
        };
        verdict.unpromised += u64::from(promise.accepted.is_none());
        if !promise.begun.to.contains(&address.user) {
            verdict.forged.add(held.id, address, || "it was sent to others".to_owned());
        } else if let Some(what) = altered(held, promise) {
            verdict.corrupted.add(held.id, address, || what);
        }
    }
    for again in &reading.again {
        if again.seen_confirmed {
            verdict.duplicated.add(again.id, address, || {
                let confirmed = reading.confirmed.get(&again.id).copied().unwrap_or(again.at);
                format!("listed again {} ms after it was confirmed", since(confirmed, again.at))
            });
        } else {
            verdict.relisted += 1;
        }
    }
    for id in reading.unreadable.keys() {
        verdict.unreadable.add(*id, address, || "listed, and its content was not there".to_owned());
    }
    for (problem, _) in &reading.refused {
        *verdict.refused.entry(problem.clone()).or_default() += 1;
    }
}

fn altered(held: &Held, promise: &Promise) -> Option<String> {
    let begun = &promise.begun;
    if held.digest != begun.digest {
        Some(format!("its content is {} and was {}", held.digest, begun.digest))
    } else if held.from != begun.from {
        Some(format!("it is said to be from {} and was from {}", held.from, begun.from))
    } else if held.kind != begun.kind {
        Some(format!("it is said to be a {:?} and was a {:?}", held.kind, begun.kind))
    } else {
        None
    }
}

fn lost_in_words(promise: &Promise, accepted: u64, reading: &Reading, is_auditor: bool) -> String {
    let copy = reading.held.values().find(|held| held.digest == promise.begun.digest);
    let elsewhere = match copy {
        Some(held) => format!("; the same content is held as {}", held.id),
        None => String::new(),
    };
    format!(
        "{} from {} was begun at {} and promised at {accepted}, {} ms after its id's time; {} never got it{elsewhere}",
        if promise.begun.kind == ItemKind::Message { "a message" } else { "a receipt" },
        promise.begun.from,
        promise.begun.at,
        accepted.saturating_sub(promise.begun.id.time().0.saturating_mul(1_000)) / 1_000,
        if is_auditor { "the user's new client" } else { "this client" },
    )
}

const fn since(earlier: u64, later: u64) -> u64 {
    later.saturating_sub(earlier) / 1_000
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
