//! What counting costs a request: everything that the metrics do for a message that is sent, and for a check with nothing
//! new; and what the places of spans cost while there are no traces.
//!
//! `cargo bench -p countersign-service --bench metrics` prints nanoseconds. Each figure is the least of several rounds, on one
//! thread, with counters that nobody else writes to.

use std::hint::black_box;
use std::time::Duration;

use countersign_protocol::body::ItemKind;
use countersign_service::clock::Stopwatch;
use countersign_service::delivery::DeliveryObserver as _;
use countersign_service::delivery::listing::Listed;
use countersign_service::ephemeral::valkey::CommandObserver;
use countersign_service::http::route::Operation;
use countersign_service::session::{Method, SessionObserver as _};
use countersign_service::store::scylla::{StatementName, StatementObserver as _};
use countersign_service::telemetry::metrics::Metrics;
use countersign_service::telemetry::traces::request_span;
use http::HeaderMap;

const ROUNDS: usize = 20;
const REQUESTS: u32 = 20_000;

/// A time as of a call: what it is does not matter, but that it is not always the same bucket.
fn time(number: u32) -> Duration {
    Duration::from_micros(u64::from(number % 4_096))
}

/// All that is counted for a message to one recipient, over a store in CQL and Valkey.
fn send(metrics: &Metrics, number: u32) {
    metrics.request_began(Operation::SendMessage);
    metrics.clock_offset(0.01);
    metrics.ephemeral_call("session", true, time(number));
    CommandObserver::ended(metrics, true, time(number));
    metrics.ephemeral_call("admit", true, time(number));
    metrics.authenticated(Method::Session, None);
    metrics.executing(StatementName::InsertMessage);
    metrics.executing(StatementName::InsertItem);
    metrics.store_call("put", true, time(number));
    metrics.accepted(ItemKind::Message, 1);
    CommandObserver::ended(metrics, true, time(number));
    metrics.ephemeral_call("arrived", true, time(number));
    metrics.request_ended(Operation::SendMessage, 201, None, time(number));
}

/// All that is counted for a check that finds nothing new.
fn check(metrics: &Metrics, number: u32) {
    metrics.request_began(Operation::ListMessages);
    metrics.clock_offset(0.01);
    metrics.ephemeral_call("session", true, time(number));
    CommandObserver::ended(metrics, true, time(number));
    metrics.ephemeral_call("admit", true, time(number));
    metrics.authenticated(Method::Session, None);
    metrics.listed(&Listed::default());
    metrics.request_ended(Operation::ListMessages, 200, None, time(number));
}

/// The places of spans of a request, while nobody wants them: the request's, and those of eight steps and calls.
fn spans(number: u32) {
    let request = request_span("send_message", &http::Method::POST, &HeaderMap::new());
    let _entered = request.enter();
    for _ in 0..8 {
        let span = tracing::trace_span!(target: "countersign::trace", "step", number);
        let _entered = black_box(&span).enter();
    }
}

fn nanoseconds(work: impl Fn(u32)) -> f64 {
    let round = || {
        let stopwatch = Stopwatch::start();
        (0..REQUESTS).for_each(|number| work(black_box(number)));
        stopwatch.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn main() {
    // Among all targets, `cargo test` would run it too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let metrics = Metrics::new();
    println!("| for each request | ns |\n|---|--:|");
    println!("| counting a message that is sent | {:.0} |", nanoseconds(|number| send(&metrics, number)));
    println!("| counting a check with nothing new | {:.0} |", nanoseconds(|number| check(&metrics, number)));
    println!("| the places of nine spans, without traces | {:.0} |", nanoseconds(spans));
    let scrape = || metrics.encode().map_or(0, |text| text.len());
    let stopwatch = Stopwatch::start();
    let bytes = black_box(scrape());
    println!("\nA scrape is {bytes} bytes, written in {:.2} ms.", stopwatch.elapsed().as_secs_f64() * 1e3);
}
