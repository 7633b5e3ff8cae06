//! The seam between errors and responses: below it layers fail with [`ApiError`], above it every answer is a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use countersign_protocol::problem::ProblemType;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::ResponseBody;
use super::error::{ApiError, ProblemContext};
use crate::clock::Clock;
use crate::entropy::{Entropy, fraction};

/// Turns errors into problems.
#[derive(Clone, Debug)]
pub struct RespondLayer {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl RespondLayer {
    /// Makes the layer; the clock is for a problem's `now`, entropy for the jitter of `Retry-After`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    fn respond(&self, error: &ApiError) -> Response<ResponseBody> {
        // Between 1 and 4 s.
        let retry_after = Duration::from_secs(1) + Duration::from_secs(3).mul_f64(fraction(&*self.entropy));
        let response = error.respond(ProblemContext { now: self.clock.now(), retry_after });
        log(error, response.status());
        response
    }
}

/// Writes a failure to the log, once, with its whole chain. What a client did wrong is for debugging only.
fn log(error: &ApiError, status: http::StatusCode) {
    let error: &dyn std::error::Error = error;
    if status.as_u16() == ProblemType::Internal.status() {
        tracing::error!(error, "a request failed, and a person should look why");
    } else if status.is_server_error() {
        tracing::warn!(error, "a request was answered unavailable");
    } else {
        tracing::debug!(error, "a request was refused");
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond { inner, layer: self.clone() }
    }
}

/// The service that [`RespondLayer`] makes.
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    layer: RespondLayer,
}

impl<S, B> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = ApiError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Everything below is always ready: what cannot take a request refuses it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        RespondFuture { inner: self.inner.call(request), layer: self.layer.clone() }
    }
}

pin_project! {
    /// The inner future, whose error becomes a response.
    pub struct RespondFuture<F> {
        #[pin]
        inner: F,
        layer: RespondLayer,
    }
}

impl<F> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, ApiError>>,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(context));
        Poll::Ready(Ok(outcome.unwrap_or_else(|error| this.layer.respond(&error))))
    }
}
