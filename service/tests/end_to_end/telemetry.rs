//! What operators see: metrics, and a log that keeps secrets.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;

use crate::support::http::Content;
use crate::support::time::eventually;
use crate::support::world::World;

/// Every metric of the service's own, with its kind.
const METRICS: [(&str, &str); 19] = [
    ("countersign_build_info", "gauge"),
    ("countersign_cql_statements_total", "counter"),
    ("countersign_ephemeral_call_duration_seconds", "histogram"),
    ("countersign_ephemeral_clients", "gauge"),
    ("countersign_full_merges_total", "counter"),
    ("countersign_hints_lost_total", "counter"),
    ("countersign_items_listed_total", "counter"),
    ("countersign_listings_empty_total", "counter"),
    ("countersign_lkg_derivations_total", "counter"),
    ("countersign_public_key_jobs_waiting", "gauge"),
    ("countersign_reconciliations_total", "counter"),
    ("countersign_rejections_total", "counter"),
    ("countersign_request_duration_seconds", "histogram"),
    ("countersign_requests_in_flight", "gauge"),
    ("countersign_requests_total", "counter"),
    ("countersign_store_call_duration_seconds", "histogram"),
    ("countersign_stragglers_total", "counter"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    for number in 0..3_u8 {
        alice.send(&[world.bob], &[number]).await;
    }
    bob.list().await;
    world.service.http.get("/").await.expect(404);

    let metrics = world.service.metrics().await;

    let kinds: BTreeMap<&str, &str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in METRICS {
        assert_eq!(kinds.get(name), Some(&kind), "{name}");
    }
    let own: BTreeSet<&str> = kinds.keys().copied().filter(|name| name.starts_with("countersign_")).collect();
    let listed: BTreeSet<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    let unlisted: Vec<_> = own.difference(&listed).collect();
    assert!(unlisted.is_empty(), "{unlisted:?} are not listed here");
    for (series, value) in [
        (r#"countersign_requests_total{operation="send_message",outcome="ok"}"#, 3.0),
        (r#"countersign_requests_total{operation="create_organization",outcome="ok"}"#, 1.0),
        (r#"countersign_requests_total{operation="request_session_key",outcome="ok"}"#, 2.0),
        (r#"countersign_requests_total{operation="unknown_path",outcome="not-found"}"#, 1.0),
        (r#"countersign_rejections_total{reason="not-found"}"#, 1.0),
        (r#"countersign_request_duration_seconds_count{operation="send_message"}"#, 3.0),
        (r#"countersign_store_call_duration_seconds_count{call="put",outcome="ok"}"#, 3.0),
        (r#"countersign_requests_in_flight{operation="send_message"}"#, 0.0),
        ("countersign_items_listed_total", 3.0),
        ("countersign_stragglers_total", 0.0),
        (&format!("countersign_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        let found = world.service.metric(series).await;
        assert!((found - value).abs() < f64::EPSILON, "{series} is {found} instead of {value}");
    }
    assert!(world.service.metric("process_resident_memory_bytes").await > 1e6);
    assert!(!metrics.contains(&world.alice.to_string()) && !metrics.contains(&world.organization.id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_one_line_a_request_and_no_secrets() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let content = b"a content that nobody may find in a log";
    let id = alice.send(&[world.bob], content).await;
    bob.read(&id).await;
    bob.list().await;
    let (receipt, signature) = bob.acknowledge(&id, &world.alice, content).await;
    alice.get(bob.path()).await.expect(403);
    let unsigned = Request::get(alice.path()).body(Content::Nothing).unwrap();
    let last = world.service.http.send(unsigned).await.expect(401);
    let last = last.header("request-id").unwrap();

    let lines = eventually("the last request is in the log", async || {
        let lines = world.service.process.log();
        lines.iter().any(|line| line["id"] == last).then_some(lines)
    })
    .await;

    let requests: Vec<_> = lines.iter().filter(|line| line["target"] == "countersign::request").collect();
    let ids: BTreeSet<&str> = requests.iter().map(|line| line["id"].as_str().unwrap()).collect();
    // Two statements, two sessions, and then: send, read, list, acknowledge, two refusals.
    assert_eq!((requests.len(), ids.len()), (10, 10));
    for request in &requests {
        assert_eq!(request["level"], "INFO");
        for field in ["operation", "status", "duration_us", "bytes_in", "bytes_out", "timestamp"] {
            assert!(!request[field].is_null(), "{field} is missing in {request}");
        }
    }
    let sent = requests.iter().find(|line| line["operation"] == "send_message").unwrap();
    assert_eq!((&sent["status"], &sent["bytes_in"]), (&201.into(), &content.len().into()));
    let refused = requests.iter().find(|line| line["status"] == 403).unwrap();
    assert_eq!(refused["problem"], "forbidden");

    let text = world.service.process.text();
    let key = STANDARD.encode(alice.key.expose());
    for secret in [
        "nobody may find",
        &STANDARD.encode(content),
        &key,
        &hex::encode(alice.key.expose()),
        &STANDARD.encode(&signature)[..40],
        "BEGIN PGP",
        &world.organization.id.to_string(),
        &world.alice.to_string(),
        &world.bob.to_string(),
        &alice.address.client.to_string(),
        &id.to_string(),
        &receipt.to_string(),
        "127.0.0.1:",
    ] {
        let leaks = text.lines().filter(|line| line.contains(secret) && !line.contains("\"listening\"")).count();
        assert_eq!(leaks, 0, "{secret} is in the log");
    }
}
