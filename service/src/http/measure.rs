//! Counts, times and logs every request, also those that are refused or whose client goes away.
//!
//! One line a request, with its route, outcome, duration, bytes and id; never ids of users, contents or addresses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use countersign_protocol::problem::ProblemType;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;

use super::error::ProblemKind;
use super::route::{Matched, Operation};
use super::{RequestBody, ResponseBody};
use crate::clock::Stopwatch;
use crate::entropy::Entropy;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{TRACE_RESPONSE, end_request, request_span};

/// The header that carries a request's id in its response.
pub const REQUEST_ID: &str = "request-id";

/// Gives requests their ids: unique by a random part for each process and a number.
#[derive(Debug)]
struct RequestIds {
    process: u64,
    next: AtomicU64,
}

/// Measures requests.
#[derive(Clone)]
pub struct MeasureLayer {
    metrics: Arc<Metrics>,
    ids: Arc<RequestIds>,
}

impl MeasureLayer {
    /// Makes the layer.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, entropy: &dyn Entropy) -> Self {
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Self { metrics, ids: Arc::new(RequestIds { process: u64::from_be_bytes(process), next: AtomicU64::new(0) }) }
    }
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Measure { inner, layer: self.clone() }
    }
}

/// The service that [`MeasureLayer`] makes.
#[derive(Clone)]
pub struct Measure<S> {
    inner: S,
    layer: MeasureLayer,
}

impl<S> Service<Request<RequestBody>> for Measure<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MeasureFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let operation = request.extensions().get::<Matched>().map_or(Operation::UnknownPath, |at| at.operation);
        let number = self.layer.ids.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.layer.ids.process);
        // Only what is logged inside a request needs the span; at the default level that is next to nothing.
        let span = tracing::debug_span!("request", operation = operation.name(), id);
        let trace = request_span(operation.name(), request.method(), request.headers());
        let bytes_in = request.body().size_hint().lower();
        self.layer.metrics.request_began(operation);
        let inner = {
            let (_traced, _entered) = (trace.enter(), span.enter());
            self.inner.call(request)
        };
        let measured = Measured {
            metrics: Arc::clone(&self.layer.metrics),
            stopwatch: Stopwatch::start(),
            operation,
            id,
            bytes_in,
            trace,
            answered: false,
        };
        MeasureFuture { inner, span, measured }
    }
}

/// One request's measures. Dropped without an answer, the client has gone away.
struct Measured {
    metrics: Arc<Metrics>,
    stopwatch: Stopwatch,
    operation: Operation,
    id: String,
    bytes_in: u64,
    /// The request's span in its trace; nothing where there are no traces.
    trace: Span,
    answered: bool,
}

impl Measured {
    fn answer(&mut self, response: &mut Response<ResponseBody>) {
        self.answered = true;
        let problem = response.extensions().get::<ProblemKind>().map(|ProblemKind(kind)| *kind);
        let duration = self.stopwatch.elapsed();
        let status = response.status().as_u16();
        let problem_name = problem.map(ProblemType::name);
        self.metrics.request_ended(self.operation, status, problem, duration);
        tracing::info!(
            target: "countersign::request",
            operation = self.operation.name(),
            status,
            problem = problem_name,
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            bytes_in = self.bytes_in,
            bytes_out = response.body().size_hint().lower(),
            id = self.id,
        );
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if let Some(trace) = end_request(&self.trace, &self.id, status, problem_name) {
            response.headers_mut().insert(TRACE_RESPONSE, trace);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.answered {
            let _traced = self.trace.enter();
            let duration = self.stopwatch.elapsed();
            self.metrics.request_abandoned(self.operation, duration);
            tracing::info!(
                target: "countersign::request",
                operation = self.operation.name(),
                problem = "client-gone",
                duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                bytes_in = self.bytes_in,
                id = self.id,
            );
        }
    }
}

pin_project! {
    /// The inner future inside its span, and its measures.
    pub struct MeasureFuture<F> {
        #[pin]
        inner: F,
        span: Span,
        measured: Measured,
    }
}

impl<F, E> Future for MeasureFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    type Output = Result<Response<ResponseBody>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Out of the way of what is measured.
        let trace = this.measured.trace.clone();
        let (_traced, _entered) = (trace.enter(), this.span.enter());
        let mut response = ready!(this.inner.poll(context))?;
        this.measured.answer(&mut response);
        Poll::Ready(Ok(response))
    }
}
