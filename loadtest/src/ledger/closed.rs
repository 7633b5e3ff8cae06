//! The closed model of the article's experiments: a program that replays a conversation, one thing after the other. It
//! cannot send more than the service takes, so it shows how fast a service is and hides that one waits.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use countersign_protocol::id::UserId;
use tokio::sync::watch;

use super::options::named;
use super::reader::{Phase, Reader};
use super::writer::{Ticket, Writer};
use crate::traffic::Traffic;

/// A program, with the writer and the readers of each of its users.
pub(super) struct Program {
    pub(super) traffic: Traffic,
    pub(super) users: Arc<Vec<UserId>>,
    pub(super) writers: Vec<Writer>,
    pub(super) readers: Vec<Vec<Reader>>,
}

impl Program {
    /// Works until it is done or stopped, then reads until nothing is left. Returns how long it took to be done.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) -> Result<Duration> {
        let watch = crate::clock::Stopwatch::start();
        for due in self.traffic.by_ref() {
            if *stopped.borrow() {
                break;
            }
            let Some(writer) = self.writers.get_mut(due.from) else { continue };
            let ticket =
                Ticket { intended: writer.shared.watch.elapsed(), to: named(&due.to, &self.users), bytes: due.bytes };
            writer.shared.tally.offered(true);
            writer.send_one(&ticket).await?;
            for number in due.to {
                for reader in self.readers.get_mut(number).into_iter().flatten() {
                    reader.check().await?;
                }
            }
        }
        let took = watch.elapsed();
        let (_closing, phase) = watch::channel(Phase::Closing);
        for reader in self.readers.into_iter().flatten() {
            reader.run(phase.clone()).await?;
        }
        Ok(took)
    }
}
