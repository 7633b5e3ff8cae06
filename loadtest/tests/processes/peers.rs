//! Countersign and the article's server, rebuilt, are measured by the same load and judged by the same ledger.

use std::process::Command;

use serde_json::Value;

use crate::support::{BINARY, countersignd, run, scripts};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_the_articles_are_measured_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["peers", "--only", "countersign-embedded,article", "--clients", "6", "--turns", "1", "--seconds", "2"])
        .args(["--rates", "20", "--loss-seconds", "1", "--report", "report"])
        .arg("--scripts")
        .arg(scripts())
        .env("COUNTERSIGN_LOADTEST_KEYS", folder.path().join("keys"))
        .env("COUNTERSIGND", countersignd())
        .current_dir(folder.path());

    let output = run(command).await;

    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(folder.path().join("report/peers.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let rows: Vec<&Value> = ["rows", "losses"].iter().flat_map(|part| report[part].as_array().unwrap()).collect();
    let of = |side: &str| rows.iter().filter(|row| row["side"] == side).count();
    assert_eq!((of("countersign-embedded"), of("article")), (3, 3), "{text}");
    for row in rows {
        // The article's may lose one, which is what its design does. It delivers nothing twice or altered.
        let ledger = &row["ledger"];
        let promised = ledger["promised"].as_u64().unwrap();
        let (delivered, lost) = (ledger["delivered"].as_u64().unwrap(), ledger["lost"].as_u64().unwrap());
        assert!(promised > 0 && delivered + lost == promised, "{row}");
        assert_eq!((&ledger["duplicated"], &ledger["wrong"], &row["failures"]), (&0.into(), &0.into(), &0.into()));
        assert!(row["send"]["p99"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["service_cpu"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["store_cpu"].is_null(), row["side"] == "countersign-embedded", "{row}");
    }
    let markdown = std::fs::read_to_string(folder.path().join("report/peers.md")).unwrap();
    assert!(text.trim_end() == markdown.trim_end(), "{text}");
}
