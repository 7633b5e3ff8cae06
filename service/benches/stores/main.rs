//! What a listing of few new messages takes where few and where many are held, over the store that the service's own settings
//! (`COUNTERSIGN_STORE` and the like) name. `scripts/bench-stores.sh` runs it once for each store.
//!
//! Prints one row of a table in Markdown. The store is one of its own: nobody else uses it meanwhile.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BENCH_NAME` | the store's URL | what the row says of which store it is |
//! | `BENCH_HELD` | 300000 | messages held by the larger of the two mailboxes |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

#[path = "../mailboxes.rs"]
mod mailboxes;

use std::sync::Arc;

use clap::Parser as _;
use countersign_service::app::open_store;
use countersign_service::cli::{Arguments, Command};
use countersign_service::clock::{Clock, Stopwatch, SystemClock};
use countersign_service::config::Settings;
use countersign_service::entropy::{Entropy, SystemEntropy};
use countersign_service::store::Opening;
use countersign_service::telemetry::metrics::Metrics;
use mailboxes::{NEW, hold, listings, number, of};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages held by the smaller mailbox.
const FEW: usize = 1_000;
/// Listings that are timed of each mailbox, in each of the turns.
const LISTINGS: usize = 300;
/// How often each mailbox has its turn.
const TURNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let Command::Serve(configured) = Arguments::parse_from(["countersignd", "serve"]).command else { unreachable!() };
    let settings = Settings::load(configured.settings, None).unwrap();
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let (background, stopping) = (TaskTracker::new(), CancellationToken::new());
    let (store, mut opening) =
        open_store(&settings, &clock, &entropy, &Arc::new(Metrics::new()), &background, &stopping).unwrap();
    opening.wait_for(|opening| *opening == Opening::Open).await.unwrap();

    let held = number("BENCH_HELD", 300_000);
    let few = hold(&store, FEW).await;
    let watch = Stopwatch::start();
    let many = hold(&store, held).await;
    let filled = (held + held - NEW) as f64 / watch.elapsed().as_secs_f64();
    // In turns, so that what else the machine does hits both.
    let mut sides = [(few, None), (many, None)];
    for _ in 0..TURNS {
        for (client, measured) in &mut sides {
            let (latency, derivation) = listings(&store, client, LISTINGS).await;
            match measured {
                None => *measured = Some((latency, derivation)),
                Some((all, _)) => all.add(latency).unwrap(),
            }
        }
    }
    let [(few, _), (many, derivation)] = sides.map(|(_, measured)| measured.unwrap());
    let name = std::env::var("BENCH_NAME").unwrap_or_else(|_| settings.store.to_string());
    let ratio = many.value_at_quantile(0.5) as f64 / few.value_at_quantile(0.5) as f64;
    println!(
        "| {name} | {held} | {} | {} | {ratio:.2} | {:.0} ms | {filled:.0} |",
        of(&few),
        of(&many),
        derivation.as_secs_f64() * 1_000.0
    );
    stopping.cancel();
    background.close();
    background.wait().await;
}
