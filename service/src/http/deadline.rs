//! A time limit for each request, by operation. What works for the request can ask how much is left of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::error::ApiError;
use super::route::{Matched, Operation};
use crate::deadline;

/// How long requests may take.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    /// A request that waits for nothing.
    pub request: Duration,
    /// How much longer a listing may wait for something new.
    pub long_poll: Duration,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner, times: *self }
    }
}

/// Fails requests that take too long.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    times: DeadlineLayer,
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Error = ApiError>,
{
    type Response = S::Response;
    type Error = ApiError;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let waits = request.extensions().get::<Matched>().is_some_and(|at| at.operation == Operation::ListMessages);
        let time = if waits { self.times.request + self.times.long_poll } else { self.times.request };
        let over = tokio::time::sleep(time);
        let deadline = deadline::Deadline::at(over.deadline());
        // In the call itself too: it may spawn the work as a task of its own.
        let inner = deadline.scope(deadline.sync_scope(|| self.inner.call(request)));
        DeadlineFuture { inner, over }
    }
}

pin_project! {
    /// The inner future, or its end.
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: TaskLocalFuture<deadline::Deadline, F>,
        #[pin]
        over: Sleep,
    }
}

impl<F, T> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<T, ApiError>>,
{
    type Output = Result<T, ApiError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.inner.poll(context) {
            return Poll::Ready(outcome);
        }
        ready!(this.over.poll(context));
        Poll::Ready(Err(ApiError::DeadlineExceeded))
    }
}
