//! Traces: the spans of requests leave as OTLP, if the environment says where to, by OpenTelemetry's own variables.
//!
//! Owns: which spans are traces (those of target `countersign::trace`, at level `trace`), sampling, batches, how trace
//! contexts enter and leave by W3C's headers. Refuses to know: what spans are about.
//!
//! Without a place to send to there is no layer that wants such spans: each of them costs one look at a static then.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::otlp_client::{OtlpClient, OtlpClientError};

/// The target of spans that are traces.
const TARGET: &str = "countersign::trace";
/// The header that tells a caller which trace its request is in (W3C Trace Context, level 2).
pub const TRACE_RESPONSE: &str = "traceresponse";
/// How long the last spans may take to be sent when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there can be no traces, though the environment asks for them.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Another protocol.
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL is {0}: only http/protobuf is spoken here. A collector takes it on port 4318"
    )]
    Protocol(String),
    /// Another exporter.
    #[error("OTEL_TRACES_EXPORTER is {0}: only otlp and none are known here")]
    Exporter(String),
    /// The client of the exporter.
    #[error("traces cannot be sent")]
    Client(#[from] OtlpClientError),
    /// The exporter.
    #[error("the OTEL_* variables cannot be used")]
    Build(#[from] ExporterBuildError),
}

/// Traces that are sent.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Reads the `OTEL_*` variables. None if they name no place to send to.
    ///
    /// # Errors
    /// [`TraceError`] if they contradict what is spoken here.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TraceError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || endpoints.into_iter().all(|name| variable(name).is_none()) {
            return Ok(None);
        }
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(TraceError::Exporter(other.to_owned())),
        }
        let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        match protocols.into_iter().find_map(variable) {
            Some(protocol) if protocol != "http/protobuf" => return Err(TraceError::Protocol(protocol)),
            _ => {}
        }
        let authorities = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
        let client = OtlpClient::new(authorities.into_iter().find_map(variable).as_deref())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let named = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
        let resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = if named { resource } else { resource.with_service_name("countersignd") };
        // Sampler, limits and batches are read from their variables by the library.
        let provider =
            SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build();
        Ok(Some(Self(provider)))
    }

    /// Makes the layer that sends the spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("countersignd"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
    }

    /// Sends what waits to be sent.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last traces may not have been sent");
        }
    }
}

/// Begins the span of a request, in the trace that its headers name or in a new one.
#[must_use]
pub fn request_span(operation: &'static str, method: &http::Method, headers: &HeaderMap) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        "request",
        otel.name = operation,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = method.as_str(),
        http.response.status_code = tracing::field::Empty,
        error.r#type = tracing::field::Empty,
        countersign.request.id = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Only a span that has begun already refuses a parent.
        let _ = span.set_parent(context);
    }
    span
}

/// Notes how a request ended in its span, and returns what tells its caller of the trace.
#[must_use]
pub fn end_request(span: &Span, id: &str, status: u16, problem: Option<&str>) -> Option<HeaderValue> {
    if span.is_disabled() {
        return None;
    }
    span.record("countersign.request.id", id);
    span.record("http.response.status_code", status);
    if let Some(problem) = problem {
        span.record("error.type", problem);
    }
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let flags = context.trace_flags().to_u8();
    let text = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    context.is_valid().then(|| HeaderValue::from_str(&text).ok()).flatten()
}

/// The trace and span that this thread is in, if it is in one: as hexadecimal text, for log lines.
pub(super) fn current_ids() -> Option<(String, String)> {
    Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_valid().then(|| (context.trace_id().to_string(), context.span_id().to_string()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<bool, String> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let traces = Traces::from_environment(|name| variables.get(name).map(ToString::to_string));
        traces.map(|traces| traces.is_some()).map_err(|error| error.to_string())
    }

    #[test]
    fn there_are_traces_only_where_there_is_a_place_to_send_them_to() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(from(&[]), Ok(false));
        assert_eq!(from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(from(&[endpoint]), Ok(true));
        assert_eq!(from(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces")]), Ok(true));
        assert_eq!(from(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(false));
        assert_eq!(from(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
    }

    #[test]
    fn what_is_not_spoken_is_refused_in_words() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        assert!(from(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().contains("http/protobuf"));
        assert!(from(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err().contains("zipkin"));
        assert!(from(&[endpoint, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")]).is_err());
    }

    #[test]
    fn without_a_subscriber_a_span_is_nothing() {
        let span = request_span("send_message", &http::Method::POST, &HeaderMap::new());

        assert!(span.is_disabled());
        assert_eq!(end_request(&span, "id", 201, None), None);
        assert_eq!(current_ids(), None);
    }
}
