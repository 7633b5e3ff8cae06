//! The open model: hands each message to its sender when it is due, whatever became of those before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_protocol::id::UserId;
use tokio::sync::mpsc;

use super::options::named;
use super::tally::Tally;
use super::writer::Ticket;
use crate::clock::Stopwatch;
use crate::traffic::{Due, Traffic};

/// The longest that a stop is not noticed.
const LOOK: Duration = Duration::from_millis(20);
/// The shortest sleep: what is due within it is handed over together.
const SHORTEST: Duration = Duration::from_micros(100);

/// Hands out messages on a thread of its own, since a runtime's timer tells milliseconds apart and no less.
pub(super) struct Offer {
    pub(super) traffic: Traffic,
    pub(super) watch: Stopwatch,
    pub(super) users: Arc<Vec<UserId>>,
    /// The tickets of each user.
    pub(super) tickets: Vec<mpsc::Sender<Ticket>>,
    pub(super) tally: Arc<Tally>,
    pub(super) stopped: Arc<AtomicBool>,
}

impl Offer {
    /// Returns when it is stopped, or when there is no more to be sent.
    pub(super) fn run(mut self) {
        let mut next = self.traffic.next();
        while !self.stopped.load(Ordering::Relaxed) {
            let now = self.watch.elapsed();
            while let Some(due) = next.take_if(|due| due.after <= now) {
                self.hand_out(&due);
                next = self.traffic.next();
            }
            let Some(due) = &next else { return };
            let wait = due.after.saturating_sub(self.watch.elapsed());
            std::thread::sleep(wait.clamp(SHORTEST, LOOK));
        }
    }

    fn hand_out(&self, due: &Due) {
        let ticket = Ticket { intended: due.after, to: named(&due.to, &self.users), bytes: due.bytes };
        // A user whose writers are behind by this much skips what is more, and that is counted: a service that was away
        // is not to be hit by all that it missed at once.
        let taken = self.tickets.get(due.from).is_some_and(|tickets| tickets.try_send(ticket).is_ok());
        self.tally.offered(taken);
    }
}
