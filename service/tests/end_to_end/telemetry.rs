//! What operators see: metrics, and a log that keeps secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_metrics::SERVICE;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use http::{Method, Request};

use crate::support::http::Content;
use crate::support::time::eventually;
use crate::support::world::World;

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
    let declared: BTreeMap<&str, &str> = SERVICE.iter().map(|metric| (metric.name, metric.kind.name())).collect();
    assert_eq!(kinds, declared, "what is exported is what is declared");
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    let most: usize = SERVICE.iter().map(|metric| metric.series()).sum();
    assert!(series <= most, "{series} series, and {most} are declared at most");
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
        ("countersign_ready", 1.0),
        (r#"countersign_messages_accepted_total{kind="message"}"#, 3.0),
        (r#"countersign_deliveries_accepted_total{kind="message"}"#, 3.0),
        (r#"countersign_authentications_total{method="openpgp",outcome="ok"}"#, 2.0),
        (r#"countersign_authentications_total{method="session",outcome="ok"}"#, 4.0),
        ("countersign_client_clock_offset_seconds_count", 6.0),
    ] {
        let found = world.service.metric(series).await;
        assert!((found - value).abs() < f64::EPSILON, "{series} is {found} instead of {value}");
    }
    let build = format!("countersign_build_info{{revision=\"unknown\",version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(metrics.contains(&build), "{build}");
    assert!(world.service.metric(r#"countersign_public_key_jobs_total{outcome="done"}"#).await >= 4.0);
    assert!(world.service.metric("countersign_runtime_workers").await >= 1.0);
    assert!(world.service.metric("countersign_runtime_busy_seconds_total").await > 0.0);
    assert!(world.service.metric("process_resident_memory_bytes").await > 1e6);
    assert!(!metrics.contains(&world.alice.to_string()) && !metrics.contains(&world.organization.id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_message_is_counted() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let bob = Arc::new(bob);
    let first = bob.list().await;
    assert!(first.messages.is_empty());

    // It arrives while Bob waits.
    let waiting = tokio::spawn({
        let bob = Arc::clone(&bob);
        async move { bob.wait(20).await }
    });
    let in_work = r#"countersign_admitted_requests{class="waits"}"#;
    eventually("Bob waits", async || (world.service.metric(in_work).await > 0.5).then_some(())).await;
    let content = b"counted";
    let id = alice.send(&[world.bob, world.alice], content).await;
    waiting.await.unwrap().expect(200);
    bob.read(&id).await;
    bob.acknowledge(&id, &world.alice, content).await;
    bob.confirm(&[id]).await.expect(204);

    for (series, value) in [
        (r#"countersign_messages_accepted_total{kind="message"}"#, 1.0),
        (r#"countersign_deliveries_accepted_total{kind="message"}"#, 2.0),
        (r#"countersign_messages_accepted_total{kind="receipt"}"#, 1.0),
        ("countersign_messages_read_total", 1.0),
        ("countersign_messages_acknowledged_total", 1.0),
        ("countersign_items_confirmed_total", 2.0),
        ("countersign_items_expiring_total", 0.0),
        ("countersign_delivery_lag_seconds_count", 1.0),
        (r#"countersign_delivery_lag_seconds_bucket{le="60"}"#, 1.0),
        (r#"countersign_admitted_requests_limit{class="waits"}"#, 20_000.0),
        (in_work, 0.0),
    ] {
        let found = world.service.metric(series).await;
        assert!((found - value).abs() < f64::EPSILON, "{series} is {found} instead of {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_authentications_are_counted_by_their_reason() {
    let world = World::new().await;
    let alice = world.alice().await;
    let nonce = alice.nonce();
    let list = format!("{}/message", alice.path());
    alice.call(Method::GET, &list).nonce(nonce).send().await.expect(200);
    alice.call(Method::GET, &list).nonce(nonce).send().await.expect(401);
    alice.call(Method::GET, &list).with_key(SessionKey::from_bytes([7; 32])).send().await.expect(401);
    alice.call(Method::GET, &list).nonce(Nonce::at(UnixMicros(1))).send().await.expect(401);

    for outcome in ["ok", "nonce-reused", "signature-invalid", "nonce-out-of-window"] {
        let series = format!("countersign_authentications_total{{method=\"session\",outcome=\"{outcome}\"}}");
        let found = world.service.metric(&series).await;
        assert!((found - 1.0).abs() < f64::EPSILON, "{series} is {found}");
    }
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
