//! Deterministic simulation of delivery, sessions and authority: the real code, over simulated stores.
//!
//! Owns: worlds of pods, clients, replicas and a shared ephemeral store, in which one number decides everything that
//! happens; the invariants that are looked at after each step; the broken variants that show that the harness can fail.
//! Refuses to know: HTTP, real stores, real time. What it covers and what not: `docs/no-loss.md`.
//!
//! A seed makes a history (`history.rs`): operations, one after the other, of which each carries its own choices.
//! Between any two awaits of any request anything else may happen. A history that violates an invariant (`ledger.rs`) is
//! shrunk and printed as code, to be kept in `regressions.rs`.
//!
//! What is not a failure: a request that is refused or not answered, since clients repeat it; a message that is listed
//! again before its confirmation has reached all replicas; a message that arrives later, as long as it arrives.
//!
//! What is left to chance: the bytes of the people's keys, and of what is encrypted to them. Neither decides anything.

pub(crate) mod broken;
mod choices;
mod device;
mod environment;
mod history;
mod ledger;
mod people;
mod pod;
mod registry;
mod regressions;
mod replicas;
mod shrink;
mod steps;
mod valkey;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use broken::Broken;
use history::History;
use shrink::shrink;
use world::happens;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;

/// Seeds within which each broken variant must be found.
const SEEDS_TO_FIND: u64 = 1_000;

/// Reads a number from the environment: `make simulate` sets some.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs one seed; panics with the shortest history that was found, if it violates an invariant.
fn run(seed: u64) {
    let history = History::of_seed(seed);
    if let Some(violation) = happens(&history) {
        let (shortest, seen) = shrink(&history, &violation);
        panic!(
            "seed {seed}: {:?} does not hold: {}\nThe shortest history found, for regressions.rs:\n{shortest}",
            seen.invariant, seen.what
        );
    }
}

#[test]
fn no_seed_violates_an_invariant() {
    let (first, seeds) = (number("SIMULATE_FROM", 0), number("SIMULATE_SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + seeds {
                            return;
                        }
                        run(seed);
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let history = History::of_seed(seed);
        assert_eq!(history, History::of_seed(seed));
        assert_eq!(happens(&history), happens(&history));
    }
    let found = |seed| broken::with(Some(Broken::KnownGoodWithoutWindow), || happens(&History::of_seed(seed)));
    let seeds: Vec<_> = (0..200).map(found).collect();
    assert_eq!(seeds, (0..200).map(found).collect::<Vec<_>>());
    assert!(seeds.iter().any(Option::is_some));
}

/// Finds each broken variant, and prints after how many seeds: the table of `docs/no-loss.md`. With `SIMULATE_SHRINK` set,
/// prints the shortest histories too.
#[test]
fn each_broken_variant_is_found() {
    let missed: Vec<Broken> = Broken::ALL
        .into_iter()
        .filter(|broken| {
            let violation = |seed| broken::with(Some(*broken), || happens(&History::of_seed(seed)));
            let found = (0..SEEDS_TO_FIND).find_map(|seed| Some((seed, violation(seed)?)));
            if let Some((seed, violation)) = &found {
                println!("| `{broken:?}` | {} | `{:?}` |", seed + 1, violation.invariant);
                if std::env::var_os("SIMULATE_SHRINK").is_some() {
                    let (shortest, seen) =
                        broken::with(Some(*broken), || shrink(&History::of_seed(*seed), violation));
                    println!("{seen:?}\n{shortest}");
                }
            }
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not found within {SEEDS_TO_FIND} seeds: {missed:?}");
}
