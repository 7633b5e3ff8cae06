//! How a store opens in the background: it is tried again and again, until all is well, and told how far it is.

use std::error::Error;
use std::time::Duration;

use tokio::sync::watch;

use super::Opening;

/// How long after a failed attempt the next one follows.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Why a store is not open yet.
#[derive(Debug)]
pub(super) struct Refusal {
    why: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// Something is not as it has to be, and `why` says all of it.
    pub(super) fn unfit(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// Something failed. People are told `why`; the operator finds the error in the log.
    pub(super) fn failed(why: impl Into<String>, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { why: why.into(), source: Some(error.into()) }
    }
}

/// Tells how far a store is.
pub(super) struct Progress(watch::Sender<Opening>);

impl Progress {
    /// Returns the progress of a store that is about to connect, and where it can be followed.
    pub(super) fn new() -> (Self, watch::Receiver<Opening>) {
        let (sender, receiver) = watch::channel(Opening::Waiting("connecting to the store".to_owned()));
        (Self(sender), receiver)
    }

    /// Calls `attempt` until it succeeds, and says after each failure what the store waits for.
    pub(super) async fn until_open<Opened, Attempt>(&self, attempt: impl Fn() -> Attempt) -> Opened
    where
        Attempt: Future<Output = Result<Opened, Refusal>>,
    {
        loop {
            match attempt().await {
                Ok(opened) => return opened,
                Err(Refusal { why, source }) => {
                    let error = source.as_deref().map(|error| error as &dyn Error);
                    tracing::warn!(error, why, "the store is not open yet");
                    self.0.send_replace(Opening::Waiting(why));
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Says that the store takes calls.
    pub(super) fn opened(&self) {
        self.0.send_replace(Opening::Open);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_again_and_said_what_is_waited_for_until_it_is_open() {
        let (progress, followed) = Progress::new();
        let attempts = AtomicU32::new(0);

        let opened = progress
            .until_open(async || {
                let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                match attempt {
                    0 => Err(Refusal::failed("no server can be reached", std::io::Error::other("refused"))),
                    1 => {
                        assert_eq!(*followed.borrow(), Opening::Waiting("no server can be reached".to_owned()));
                        Err(Refusal::unfit("there is no schema"))
                    }
                    _ => {
                        assert_eq!(*followed.borrow(), Opening::Waiting("there is no schema".to_owned()));
                        Ok(attempt)
                    }
                }
            })
            .await;
        progress.opened();

        assert_eq!((opened, followed.borrow().clone()), (2, Opening::Open));
    }
}
