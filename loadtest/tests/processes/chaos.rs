//! A minute of faults, over the embedded store and over CQL. `make chaos` runs longer, over three nodes and six servers
//! of Valkey.

use std::path::PathBuf;
use std::time::Duration;

use countersign_loadtest::chaos::{ChaosOptions, Outcome, Settings, Store, run};
use countersign_loadtest::keys::KeyFolder;
use countersign_loadtest::ledger::{Exit, Options};

use crate::support::{clock, countersignd, entropy, keyspace, scripts};

/// How long faults are done.
const MINUTE: Duration = Duration::from_mins(1);

async fn chaos(store: Store, pods: usize, rate: f64) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { binary: countersignd(), scripts: scripts(), store, pods, keyspace: keyspace() };
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let options = ChaosOptions {
        seed,
        duration: MINUTE,
        traffic: Options { rate, seed, patience: Duration::from_secs(4), ..Options::default() },
        users: 4,
        drain: Duration::from_mins(3),
        // How fast it is is for benchmarks; that all of it arrives is shown here.
        late: Duration::from_hours(1),
        folder: folder.path().join("chaos"),
        again: format!("SEED={seed} make test"),
    };
    let keys = KeyFolder::open(folder.path().join("keys"), clock()).unwrap();
    let outcome = run(&settings, &options, &keys, clock(), entropy()).await.unwrap();
    let report = std::fs::read_to_string(options.folder.join("report.md")).unwrap();
    assert_eq!(outcome.verdict.exit(), Exit::Kept, "seed {seed}\n{report}");
    assert!(outcome.verdict.messages > 100 && outcome.verdict.receipts > 0, "{report}");
    assert!(report.contains(&format!("seed {seed}: kept")));
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_the_embedded_store_that_is_killed_and_cut_off_loses_nothing() {
    let outcome = chaos(Store::Embedded, 1, 15.0).await;

    let done = outcome.report.faults;
    assert!(done.contains_key("pod: killed"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_over_cql_and_valkey_lose_nothing_whatever_is_done_to_them() {
    // One server that tests share, which is only cut off, or else one of this test's own.
    let shared = std::env::var_os("COUNTERSIGN_TEST_CQL").map(PathBuf::from);
    let store = shared.map_or(Store::OwnCql(1), Store::SharedCql);
    let outcome = chaos(store, 2, 10.0).await;

    let (store, valkey) = outcome.report.proxied;
    assert!(store > 0 && valkey > 0, "the proxies stand beside the way: {store}, {valkey}");
    assert!(outcome.report.faults.len() > 5, "{:?}", outcome.report.faults);
    let stage = outcome.report.stage;
    assert!(
        !stage.contains("clocks were left alone"),
        "{stage}: scripts/install-packages.sh --test installs faketime"
    );
}
