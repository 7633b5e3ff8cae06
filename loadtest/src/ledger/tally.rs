//! Counts while a ledger runs: for a line of progress, and to know when everything has arrived. The verdict does not
//! come from here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_protocol::message_id::MessageId;

use crate::wire::Why;

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Items that the writers were asked to send.
    pub offered: u64,
    /// Items that they were not asked to send, because too many waited already.
    pub skipped: u64,
    /// Items that the service promised to deliver.
    pub accepted: u64,
    /// Deliveries that follow from the promises: one for each reader of each recipient.
    pub due: u64,
    /// Of those, done.
    pub delivered: u64,
    /// Attempts that had to be repeated, by why.
    pub again: BTreeMap<Why, u64>,
    /// Items that got a later id.
    pub reissued: u64,
    /// When the last promise was made, in microseconds since 1970.
    pub last_accepted: u64,
}

impl Progress {
    /// Returns how many deliveries are still to come.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.due.saturating_sub(self.delivered)
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    progress: Progress,
    /// Of each item, how many readers must still get it; how many have got it before it was promised, as a negative.
    open: HashMap<MessageId, i64>,
}

impl Tally {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counts.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.inner().progress.clone()
    }

    pub(super) fn offered(&self, taken: bool) {
        let progress = &mut self.inner().progress;
        if taken {
            progress.offered += 1;
        } else {
            progress.skipped += 1;
        }
    }

    pub(super) fn again(&self, why: Why) {
        *self.inner().progress.again.entry(why).or_default() += 1;
    }

    pub(super) fn reissued(&self) {
        self.inner().progress.reissued += 1;
    }

    /// An item is promised to so many readers.
    pub(super) fn accepted(&self, id: MessageId, readers: usize, at: u64) {
        let Inner { progress, open } = &mut *self.inner();
        let readers = i64::try_from(readers).unwrap_or(i64::MAX);
        progress.accepted += 1;
        progress.last_accepted = progress.last_accepted.max(at);
        progress.due += readers.unsigned_abs();
        let left = open.entry(id).or_default();
        progress.delivered += left.unsigned_abs();
        *left += readers;
        if *left <= 0 {
            open.remove(&id);
        }
    }

    /// A reader holds an item.
    pub(super) fn held(&self, id: MessageId) {
        let Inner { progress, open } = &mut *self.inner();
        let left = open.entry(id).or_default();
        if *left > 0 {
            progress.delivered += 1;
        }
        *left -= 1;
        if *left == 0 {
            open.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::digest::Sha256Digest;
    use countersign_protocol::id::{OrganizationId, UserId};
    use countersign_protocol::time::UnixMillis;

    use super::*;

    #[test]
    fn what_arrives_before_its_promise_is_counted_when_the_promise_comes() {
        let id = |time| {
            let (organization, user) = (OrganizationId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
            MessageId::of_message(&organization, &user, UnixMillis(time), &[user], &Sha256Digest::of(b"x"))
        };
        let tally = Tally::default();

        tally.held(id(1));
        tally.accepted(id(1), 2, 10);
        tally.accepted(id(2), 1, 11);
        let halfway = tally.progress();
        tally.held(id(1));
        tally.held(id(2));
        // Never promised.
        tally.held(id(3));

        assert_eq!((halfway.due, halfway.delivered, halfway.outstanding()), (3, 1, 2));
        assert_eq!((tally.progress().delivered, tally.progress().outstanding()), (3, 0));
    }
}
