//! Traces: what an OTLP receiver receives of a request, and how logs and answers name its trace.

use http::{HeaderValue, Method};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::support::otlp::{Receiver, text};
use crate::support::process::Setup;
use crate::support::time::{eventually, now_millis};
use crate::support::world::World;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

async fn traced(receiver: &Receiver) -> World {
    let setup = Setup::new().await;
    let setup = setup
        .set_foreign("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url)
        .set_foreign("OTEL_BSP_SCHEDULE_DELAY", "50")
        .set_foreign("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    World::of(setup).await
}

fn named<'a>(spans: &'a [Span], name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_trace_down_to_each_call_of_a_store() {
    let receiver = Receiver::start().await;
    let world = traced(&receiver).await;
    let alice = world.alice().await;
    let content = b"traced";
    let id = alice.message_id(now_millis(), &[world.bob], content);
    let mut request = alice.call(Method::POST, alice.send_target(&id, &[world.bob])).body(content).build();
    let parent = HeaderValue::from_str(&format!("00-{TRACE}-{CALLER}-01")).unwrap();
    request.headers_mut().insert("traceparent", parent);

    let answer = world.service.http.send(request).await.expect(201);

    let spans = eventually("the trace has arrived", async || {
        let mut spans = receiver.spans();
        spans.retain(|span| hex::encode(&span.trace_id) == TRACE);
        let all = ["send_message", "verify signature", "admit", "deliver", "store put", "ephemeral admit"];
        all.iter().all(|name| named(&spans, name).is_some()).then_some(spans)
    })
    .await;
    let root = named(&spans, "send_message").unwrap();
    assert_eq!(hex::encode(&root.parent_span_id), CALLER);
    assert_eq!(root.kind(), SpanKind::Server);
    assert_eq!(text(&root.attributes, "http.response.status_code").unwrap(), "201");
    let request_id = answer.header("request-id").unwrap();
    assert_eq!(text(&root.attributes, "countersign.request.id").unwrap(), request_id);
    for (child, parent) in [
        ("verify signature", "send_message"),
        ("admit", "send_message"),
        ("deliver", "send_message"),
        ("store put", "deliver"),
        ("ephemeral admit", "admit"),
    ] {
        let (child, parent) = (named(&spans, child).unwrap(), named(&spans, parent).unwrap());
        assert_eq!(child.parent_span_id, parent.span_id, "{} is within {}", child.name, parent.name);
        assert!(parent.start_time_unix_nano <= child.start_time_unix_nano);
    }
    let call = named(&spans, "store put").unwrap();
    assert_eq!(call.kind(), SpanKind::Client);
    assert_eq!(text(&call.attributes, "db.operation.name").unwrap(), "put");
    assert_eq!(receiver.resource("service.name").unwrap(), "countersignd");
    assert_eq!(receiver.resource("deployment.environment.name").unwrap(), "test");
    // No identifier of anybody is in a trace.
    let everything = format!("{:?}", receiver.spans());
    for secret in [world.alice.to_string(), world.bob.to_string(), id.to_string(), "traced\"".to_owned()] {
        assert!(!everything.contains(&secret), "{secret}");
    }

    // The answer and the log name the trace.
    let span_id = hex::encode(&root.span_id);
    assert_eq!(answer.header("traceresponse"), Some(&*format!("00-{TRACE}-{span_id}-01")));
    let line = eventually("the request is in the log", async || {
        world.service.process.log().into_iter().find(|line| line["id"] == request_id)
    })
    .await;
    assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(TRACE), Some(&*span_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_is_not_sampled_costs_nothing_and_the_end_loses_no_spans() {
    let receiver = Receiver::start().await;
    let world = traced(&receiver).await;
    let alice = world.alice().await;
    let mut request = alice.call(Method::GET, format!("{}/message", alice.path())).build();
    let unsampled = HeaderValue::from_str(&format!("00-{TRACE}-{CALLER}-00")).unwrap();
    request.headers_mut().insert("traceparent", unsampled);
    world.service.http.send(request).await.expect(200);
    let last = alice.get(format!("{}/message", alice.path())).await.expect(200);
    let (_, rest) = last.header("traceresponse").unwrap().split_once('-').unwrap();
    let (trace, _) = rest.split_once('-').unwrap();

    assert!(world.service.process.terminate().await.success());

    let traces: Vec<String> = receiver.spans().iter().map(|span| hex::encode(&span.trace_id)).collect();
    assert!(traces.iter().any(|sent| sent == trace), "what was not sent yet is sent at the end");
    assert!(!traces.iter().any(|sent| sent == TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_to_send_to_there_are_no_traces() {
    let world = World::new().await;
    let alice = world.alice().await;
    let answer = alice.get(format!("{}/message", alice.path())).await.expect(200);
    let id = answer.header("request-id").unwrap();

    let line = eventually("the request is in the log", async || {
        world.service.process.log().into_iter().find(|line| line["id"] == id)
    })
    .await;

    assert!(line["trace_id"].is_null());
    assert_eq!(answer.header("traceresponse"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_is_not_spoken_is_refused_before_a_port_is_bound() {
    let setup = Setup::new().await;
    let setup = setup
        .set_foreign("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .set_foreign("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

    let output = setup.run(&["serve"]).await;

    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("http/protobuf"));
}
