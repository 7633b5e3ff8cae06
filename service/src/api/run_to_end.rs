//! A future that runs to its end though whoever waits for it goes away.
//!
//! A write that has begun must not stop half-way because its client's connection did. While the connection is there, its
//! task drives the write: a task of the write's own would cost some microseconds for each. When the connection goes, or
//! the request's time is over, what is left becomes a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Drives a future where it is polled, and from the moment that it is dropped unfinished, in a task.
///
/// Invariant: a future that was polled once is dropped only when it is finished, or with the runtime.
pub(super) struct RunToEnd<F: Future<Output: Send + 'static> + Send + 'static> {
    /// None once it is finished.
    rest: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl<F: Future<Output: Send + 'static> + Send + 'static> RunToEnd<F> {
    /// Takes a future, and where to run the rest of it.
    pub(super) fn new(future: F, tasks: TaskTracker, runtime: Handle) -> Self {
        Self { rest: Some(Box::pin(future)), tasks, runtime }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Future for RunToEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.rest else { return Poll::Pending };
        // Taken before a panic unwinds: what has panicked must not be polled again.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context)));
        match outcome {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                self.rest = None;
                Poll::Ready(output)
            }
            Err(panic) => {
                self.rest = None;
                std::panic::resume_unwind(panic)
            }
        }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for RunToEnd<F> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            drop(self.tasks.spawn_on(rest.in_current_span(), &self.runtime));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn run<F: Future<Output: Send + 'static> + Send + 'static>(future: F, tasks: &TaskTracker) -> RunToEnd<F> {
        RunToEnd::new(future, tasks.clone(), Handle::current())
    }

    #[tokio::test]
    async fn what_is_waited_for_runs_where_it_is_polled() {
        let tasks = TaskTracker::new();

        assert_eq!(run(async { 7 }, &tasks).await, 7);

        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_comes_to_its_end() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let future = async move {
            let _ = gone.await;
            let _ = done.send("finished");
        };

        let mut running = Box::pin(run(future, &tasks));
        assert!(futures_util::poll!(&mut running).is_pending());
        drop(running);
        go.send(()).unwrap();

        assert_eq!(finished.await, Ok("finished"));
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_panicked_is_over() {
        let tasks = TaskTracker::new();
        let panicking = run(async { panic!("as a test") }, &tasks);

        let outcome = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(panicking)).await;

        assert!(outcome.is_err() && tasks.is_empty());
    }
}
