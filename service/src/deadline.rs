//! The time that a request has left, as something that all work for it can ask for.
//!
//! Owns: one task-local instant. Refuses to know: what takes the time, and what happens when it is over.
//!
//! The HTTP stack sets it ([`Deadline::scope`], [`Deadline::sync_scope`]); a remote store bounds its calls by it
//! ([`Deadline::bound`]). What is between them need not know of it, but for one thing: a task does not inherit it, so
//! whoever spawns one for a request hands it over with [`Deadline::current`].

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Deadline;
}

/// When a request is over; or never, for work that is for no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

/// The time was over before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time was over before the work was done")]
pub struct Elapsed;

impl Deadline {
    /// Makes the deadline that is at an instant.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// Returns the deadline of the work that this is called in.
    #[must_use]
    pub fn current() -> Self {
        DEADLINE.try_with(|deadline| *deadline).unwrap_or_default()
    }

    /// Runs work under this deadline. It does not end the work; it tells the work when it will be ended.
    pub fn scope<F: Future>(self, work: F) -> tokio::task::futures::TaskLocalFuture<Self, F> {
        DEADLINE.scope(self, work)
    }

    /// Does the same for what is not asynchronous.
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        DEADLINE.sync_scope(self, work)
    }

    /// Ends a piece of work when its own time is over or the deadline is there, whichever is first.
    ///
    /// # Errors
    /// [`Elapsed`]; the work is dropped.
    pub async fn bound<T>(self, time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let within = tokio::time::timeout(time, work);
        let outcome = match self.0 {
            Some(instant) => tokio::time::timeout_at(instant, within).await.map_err(|_| Elapsed)?,
            None => within.await,
        };
        outcome.map_err(|_| Elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instant that is `after` from now, by the runtime's clock.
    fn from_now(after: Duration) -> Deadline {
        Deadline::at(tokio::time::sleep(after).deadline())
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_at_its_own_time_or_at_the_deadline() {
        let hour = Duration::from_secs(3_600);
        let never = std::future::pending::<()>;

        for (deadline, time) in [
            (Deadline::default(), hour),
            (from_now(2 * hour), hour),
            (from_now(hour), 2 * hour),
            (from_now(hour), hour),
        ] {
            let end = tokio::time::sleep(hour + Duration::from_secs(1));
            tokio::select! {
                outcome = deadline.bound(time, never()) => assert_eq!(outcome, Err(Elapsed)),
                () = end => panic!("{deadline:?} and {time:?} did not end the work"),
            }
        }
        assert_eq!(Deadline::default().bound(hour, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_task_has_a_deadline_only_if_it_is_handed_over() {
        let deadline = from_now(Duration::from_secs(1));

        let (here, spawned, handed_over) = deadline
            .scope(async {
                let spawned = tokio::spawn(async { Deadline::current() }).await.unwrap();
                let handed_over = Deadline::current().scope(async { Deadline::current() });
                (Deadline::current(), spawned, tokio::spawn(handed_over).await.unwrap())
            })
            .await;

        assert_eq!((here, spawned, handed_over), (deadline, Deadline::default(), deadline));
        assert_eq!(deadline.sync_scope(Deadline::current), deadline);
        assert_eq!(Deadline::current(), Deadline::default());
    }
}
