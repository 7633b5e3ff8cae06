//! Waiting for what is new.

use std::time::Duration;

use super::inbox::SyncReport;
use super::{Account, Event};
use crate::entropy::fraction;
use crate::error::{Error, Result};

/// How long one listing waits: a little less than the server allows, since the way there and back takes time too.
const WAIT_SECONDS: u64 = 50;

/// Longest pause between two attempts to reach a server, or to get from it what it refused before.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What one round of waiting brought.
#[derive(Debug)]
pub enum Waited {
    /// Something was done.
    Synced(Box<SyncReport>),
    /// Nothing was new.
    Nothing,
    /// The server cannot be reached; it is tried again.
    Offline(Error),
}

impl Account {
    /// Waits for something new, at most about a minute, and does everything that is to be done.
    ///
    /// # Errors
    /// [`Error`], but for a server that cannot be reached.
    pub async fn wait(&self) -> Result<Waited> {
        match self.wait_once().await {
            Ok(waited) => {
                self.emit(Event::Online(true));
                Ok(waited)
            }
            Err(Error::Server(error)) if error.is_passing() => {
                self.emit(Event::Online(false));
                Ok(Waited::Offline(Error::Server(error)))
            }
            Err(error) => Err(error),
        }
    }

    async fn wait_once(&self) -> Result<Waited> {
        let listing = self.list(Some(WAIT_SECONDS)).await?;
        if listing.messages.is_empty() {
            // The organization may have changed without anybody writing, and the outbox may have filled.
            let update = self.extend_log().await?;
            let outbox = self.flush().await?;
            if update.entries.is_empty() && outbox.sent.is_empty() && outbox.failed.is_empty() {
                return Ok(Waited::Nothing);
            }
            let report = SyncReport { log: update, outbox, ..SyncReport::default() };
            return Ok(Waited::Synced(Box::new(report)));
        }
        if !self.is_news(&listing)? {
            // Only what was refused before: asking without a pause would be asking without end.
            self.pause(4).await;
        }
        Ok(Waited::Synced(Box::new(self.sync().await?)))
    }

    /// Pauses before attempt `attempt` (from 1): longer each time, and never as long as others do.
    pub async fn pause(&self, attempt: u32) {
        let longest = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(attempt.min(10))).min(PAUSE_MAX);
        let pause = longest.mul_f64(0.5 + fraction(&*self.environment.entropy) / 2.0);
        tokio::time::sleep(pause).await;
    }

    /// Keeps the account up to date until `stop` ends: waits for what is new, and tries again where the server cannot be
    /// reached. What happens is told by [`Account::events`], and each round's report is given to `each`.
    ///
    /// # Errors
    /// [`Error`] that trying again does not mend; a server that must be refused is one.
    pub async fn run(&self, stop: impl Future<Output = ()>, mut each: impl FnMut(&SyncReport)) -> Result<()> {
        let work = async {
            let mut attempt = 0;
            // Before anything is waited for: what is in the outbox, and what arrived meanwhile.
            loop {
                match self.sync().await {
                    Ok(report) => {
                        self.emit(Event::Online(true));
                        each(&report);
                        break;
                    }
                    Err(Error::Server(error)) if error.is_passing() => {
                        self.emit(Event::Online(false));
                        attempt += 1;
                        self.pause(attempt).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            attempt = 0;
            loop {
                match self.wait().await? {
                    Waited::Synced(report) => {
                        attempt = 0;
                        each(&report);
                    }
                    Waited::Nothing => attempt = 0,
                    Waited::Offline(_) => {
                        attempt += 1;
                        self.pause(attempt).await;
                    }
                }
            }
        };
        tokio::select! {
            result = work => result,
            () = stop => Ok(()),
        }
    }
}
