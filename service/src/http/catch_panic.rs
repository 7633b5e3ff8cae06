//! A handler's panic becomes a 500, and the connection goes on.
//!
//! As tower-http's layer of that name does, but without boxing every response's body.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use countersign_protocol::problem::{Problem, ProblemType};
use futures_util::FutureExt as _;
use futures_util::future::CatchUnwind;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::ResponseBody;
use super::error::problem_response;

/// Catches panics.
#[derive(Clone, Copy, Debug)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic(inner)
    }
}

/// The service that [`CatchPanicLayer`] makes.
#[derive(Clone, Debug)]
pub struct CatchPanic<S>(S);

impl<S, B> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service is dropped or goes on as it was: handlers share nothing that a panic could leave half-changed
        // but locks, which are taken over from a panicked holder knowingly.
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.call(request))) {
            Ok(future) => CatchPanicFuture { inner: Some(AssertUnwindSafe(future).catch_unwind()), panic: None },
            Err(panic) => CatchPanicFuture { inner: None, panic: Some(panic) },
        }
    }
}

pin_project! {
    /// The inner future, or the panic that came before there was one.
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: Option<CatchUnwind<AssertUnwindSafe<F>>>,
        panic: Option<Box<dyn Any + Send>>,
    }
}

impl<F, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let panic = match this.inner.as_pin_mut() {
            Some(inner) => match std::task::ready!(inner.poll(context)) {
                Ok(outcome) => return Poll::Ready(outcome),
                Err(panic) => Some(panic),
            },
            None => this.panic.take(),
        };
        Poll::Ready(Ok(panic_response(panic.as_deref())))
    }
}

fn panic_response(panic: Option<&(dyn Any + Send)>) -> Response<ResponseBody> {
    let message = panic.map_or("no message", |panic| {
        let text = panic.downcast_ref::<&str>().copied();
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
    });
    tracing::error!(panic = message, "a handler panicked");
    problem_response(&Problem::new(ProblemType::Internal, "The service failed; its operator finds why in the log."))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_service_goes_on() {
        let service = CatchPanicLayer.layer(service_fn(|request: Request<bool>| async move {
            assert!(!request.body(), "on purpose");
            Ok::<_, Infallible>(Response::new(ResponseBody::default()))
        }));

        let panicked = service.clone().oneshot(Request::new(true)).await.unwrap();
        let fine = service.oneshot(Request::new(false)).await.unwrap();

        assert_eq!((panicked.status().as_u16(), fine.status().as_u16()), (500, 200));
    }
}
