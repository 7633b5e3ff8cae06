//! What is new for a client: the set difference of its user's mailbox and what it has fetched (`docs/delivery.md`).
//!
//! [`list`] decides between the two ways to find out: by arrivals, where they can be relied on, and else by the full
//! merge, [`list_new`].
//!
//! Invariant I-6: a listing is `mailbox − fetched` over a range of time. Hints only narrow the range, and only where
//! an earlier listing saw everything in between fetched.
//!
//! Invariant I-7: last known good never passes an unfetched message that the computing listing saw, and never enters
//! the inconsistent window.

use std::collections::HashSet;
use std::time::Duration;

use countersign_protocol::body::Item;
use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use super::arrivals::{self, AfterMerge};
use super::presence::Settled;
use crate::ephemeral::{ListingHints, ListingState, MarkMove};
#[cfg(test)]
use crate::simulation::broken::Broken;
use crate::store::{IdRange, Mailbox, StoreError};

/// Rows that one read of the store asks for, at least: a listing of ten new messages reads a few more, and a long
/// merge still reads in constant memory.
const PAGE_MIN: usize = 64;
/// Rows that one read of the store asks for, at most.
const PAGE_MAX: usize = 1_000;
/// Unfetched items that are counted, at most: a client that leaves more behind is not there at all.
const COUNTED_MAX: usize = 1_000_000;

/// The times that a listing is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingTimes {
    /// The clock.
    pub now: UnixMillis,
    /// How long storage nodes and pods may disagree.
    pub inconsistent_window: Duration,
    /// How long messages are kept.
    pub retention: Duration,
    /// How far ids may be ahead of the clock of the pod that accepted them.
    pub ahead: Duration,
    /// How often a listing starts from the beginning of retention, of this client: with its jitter.
    pub reconcile_interval: Duration,
    /// How often a listing is a full merge though arrivals could be relied on, of this client: with its jitter.
    pub merge_interval: Duration,
}

impl ListingTimes {
    /// Tells whether it is time for a full merge.
    fn merge_is_due(&self, hints: &ListingHints) -> bool {
        #[cfg(test)]
        if Broken::ArrivalsAlone.is_on() {
            return false;
        }
        // A pod whose clock is ahead may have written a time that is yet to come: as far away, it is as good as none.
        let is_recent = |merged: UnixMillis| {
            merged.since(self.now) < self.merge_interval && self.now.since(merged) < self.merge_interval
        };
        !hints.merged.is_some_and(is_recent) || self.reconciliation_is_due(hints)
    }

    fn reconciliation_is_due(&self, hints: &ListingHints) -> bool {
        #[cfg(test)]
        if Broken::NoReconciliation.is_on() {
            return false;
        }
        hints.reconciled.is_none_or(|reconciled| self.now.since(reconciled) >= self.reconcile_interval)
    }
}

/// What a listing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The oldest unfetched items, in order, as many as asked for.
    pub items: Vec<Item>,
    /// Whether there are more.
    pub more: bool,
    /// Hints to remember.
    pub hints: ListingHints,
    /// How many of the items were at or before last known good, where none should be.
    pub stragglers: usize,
    /// Whether last known good was unknown and had to be derived.
    pub derived: bool,
    /// Whether it read from the beginning of retention because it was time to.
    pub reconciled: bool,
    /// How old last known good was, if this was a full merge and it was known.
    pub known_good_age: Option<Duration>,
    /// How many of the items are in the last tenth of their retention.
    pub expiring: usize,
    /// Where the client's arrival mark goes, if it moves.
    pub mark: Option<MarkMove>,
    /// Set where that is to be found out by another look at the arrivals: those of them that the merge saw fetched.
    pub look_again: Option<HashSet<MessageId>>,
}

/// Computes what is new for a client, by arrivals if they can be relied on and the last full merge is recent enough.
///
/// # Errors
/// [`StoreError`] of a read; nothing is changed then.
pub async fn list(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    state: &ListingState,
    limit: usize,
    times: &ListingTimes,
) -> Result<Listed, StoreError> {
    let Some(arrivals) = &state.arrivals else {
        return list_new(mailbox, client, state.hints, limit, times).await;
    };
    if let Some(mark) = arrivals.mark
        && !times.merge_is_due(&state.hints)
    {
        return arrivals::list(mailbox, client, mark, &arrivals.after, limit).await;
    }
    let sought = arrivals.after.iter().map(|arrival| arrival.item.id).collect();
    let (mut listed, fetched) = full_merge(mailbox, client, state.hints, limit, times, &sought).await?;
    match arrivals::after_merge(arrivals, &listed, &fetched, times.now) {
        AfterMerge::Mark(moved) => listed.mark = moved,
        AfterMerge::LookAgain => listed.look_again = Some(fetched),
    }
    Ok(listed)
}

/// Computes what is new for a client by a full merge.
///
/// Starts after last known good; or at the beginning of retention, where that is unknown or it is time to reconcile.
///
/// # Errors
/// [`StoreError`] of a read; nothing is changed then.
pub async fn list_new(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    hints: ListingHints,
    limit: usize,
    times: &ListingTimes,
) -> Result<Listed, StoreError> {
    Ok(full_merge(mailbox, client, hints, limit, times, &HashSet::new()).await?.0)
}

/// The full merge. Tells too which of the ids that are `sought` it saw fetched.
async fn full_merge(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    hints: ListingHints,
    limit: usize,
    times: &ListingTimes,
    sought: &HashSet<MessageId>,
) -> Result<(Listed, HashSet<MessageId>), StoreError> {
    let retention_start = times.now.minus(times.retention);
    let reconcile_due = times.reconciliation_is_due(&hints);
    let start = match hints.last_known_good {
        Some(good) if !reconcile_due => good.max(retention_start),
        _ => retention_start,
    };
    let window_start = times.now.minus(times.inconsistent_window);
    #[cfg(test)]
    let window_start = if Broken::KnownGoodWithoutWindow.is_on() { times.now } else { window_start };
    // A pod whose clock is ahead may have accepted ids that are ahead of this one's by twice as much.
    let until = times.now.plus(times.ahead * 2 + times.inconsistent_window);

    let merge = merge(mailbox, client, IdRange::later_than(start, until), limit, sought).await?;

    let known_good = hints.last_known_good;
    let stragglers =
        known_good.map_or(0, |good| merge.items.iter().take_while(|item| item.id.time() <= good).count());
    let last_known_good = merge.last_known_good(window_start, start == retention_start);
    // A reconciliation counts only if nothing was behind last known good: what was found there is found again by the
    // next listing, until the client has confirmed it.
    let passed_known_good =
        merge.oldest_unfetched().is_none_or(|oldest| known_good.is_some_and(|good| oldest.time() > good));
    let reconciled = start == retention_start && (known_good.is_none() || passed_known_good);
    let expiring_until = retention_start.plus(times.retention / 10);
    let expiring = merge.items.iter().take_while(|item| item.id.time() < expiring_until).count();
    let listed = Listed {
        more: merge.more,
        items: merge.items,
        hints: ListingHints { last_known_good, reconciled: reconciled.then_some(times.now), merged: Some(times.now) },
        stragglers,
        derived: known_good.is_none(),
        reconciled: known_good.is_some() && reconcile_due,
        known_good_age: known_good.map(|good| times.now.since(good)),
        expiring,
        mark: None,
        look_again: None,
    };
    Ok((listed, merge.sought_and_fetched))
}

/// Counts what a client has fetched of a range, and what it has not. Ends when `enough` unfetched items are found.
///
/// # Errors
/// [`StoreError`] of a read.
pub(super) async fn count(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    range: IdRange,
    enough: usize,
) -> Result<Settled, StoreError> {
    let merge = merge(mailbox, client, range, enough.min(COUNTED_MAX), &HashSet::new()).await?;
    Ok(Settled { fetched: merge.fetched, unfetched: merge.items.len() as u64 })
}

struct Merge {
    items: Vec<Item>,
    /// How many items the client has fetched, of those that were read.
    fetched: u64,
    more: bool,
    last_fetched_before: Option<MessageId>,
    #[cfg(test)]
    newest_fetched: Option<MessageId>,
    sought_and_fetched: HashSet<MessageId>,
}

impl Merge {
    fn oldest_unfetched(&self) -> Option<&MessageId> {
        self.items.first().map(|item| &item.id)
    }

    /// Returns how far last known good may move: to the last fetched message before the oldest unfetched one, and
    /// never into the window. None if the merge tells nothing new.
    fn last_known_good(&self, window_start: UnixMillis, from_retention_start: bool) -> Option<UnixMillis> {
        #[cfg(test)]
        if Broken::AfterNewestFetched.is_on() {
            return self.newest_fetched.map(|id| id.time());
        } else if Broken::KnownGoodPastUnfetched.is_on() && self.newest_fetched.is_some() {
            return self.newest_fetched.map(|id| id.time().min(window_start));
        }
        let Some(oldest) = self.oldest_unfetched() else {
            return Some(window_start);
        };
        // Two messages may share a millisecond, and the fetched one of them may be the earlier.
        let before_oldest = oldest.time().minus(Duration::from_millis(1)).min(window_start);
        match self.last_fetched_before {
            Some(fetched) => Some(fetched.time().min(before_oldest)),
            // Nothing at all is before the oldest one: remembering that saves the next listing the empty days.
            None if from_retention_start => Some(before_oldest),
            None => None,
        }
    }
}

/// Merges the two ordered streams and takes the oldest items that are in the mailbox and not among the fetched.
async fn merge(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    range: IdRange,
    limit: usize,
    sought: &HashSet<MessageId>,
) -> Result<Merge, StoreError> {
    let page = (limit + 1).clamp(PAGE_MIN, PAGE_MAX);
    let mut fetched = FetchedStream { client, range, page, ids: Vec::new().into_iter(), next: None, done: false };
    let mut merge = Merge {
        items: Vec::new(),
        fetched: 0,
        more: false,
        last_fetched_before: None,
        #[cfg(test)]
        newest_fetched: None,
        sought_and_fetched: HashSet::new(),
    };
    let mut rest = range;
    // Both streams begin at once: on a remote store that is one trip's time instead of two.
    let (first, begun) = futures_util::future::join(
        mailbox.items(client.organization, client.user, rest, page),
        fetched.advance(mailbox),
    )
    .await;
    begun?;
    let mut items = first?;
    loop {
        let last_page = items.len() < page;
        if let Some(last) = items.last() {
            rest = rest.after(&last.id);
        }
        for item in items {
            if fetched.contains(mailbox, &item.id).await? {
                merge.fetched += 1;
                #[cfg(test)]
                merge.newest_fetched.replace(item.id);
                if merge.items.is_empty() {
                    merge.last_fetched_before = Some(item.id);
                }
                if sought.contains(&item.id) {
                    merge.sought_and_fetched.insert(item.id);
                }
            } else if merge.items.len() == limit {
                merge.more = true;
                return Ok(merge);
            } else {
                merge.items.push(item);
            }
        }
        if last_page {
            return Ok(merge);
        }
        items = mailbox.items(client.organization, client.user, rest, page).await?;
    }
}

/// The fetched ids of a range, read a page at a time.
struct FetchedStream<'a> {
    client: &'a ClientAddress,
    range: IdRange,
    page: usize,
    ids: std::vec::IntoIter<MessageId>,
    next: Option<MessageId>,
    done: bool,
}

impl FetchedStream<'_> {
    /// Tells whether an id is in the stream. Ids must be asked for in ascending order.
    async fn contains(&mut self, mailbox: &dyn Mailbox, id: &MessageId) -> Result<bool, StoreError> {
        while self.next.is_some_and(|next| next < *id) {
            self.advance(mailbox).await?;
        }
        Ok(self.next == Some(*id))
    }

    async fn advance(&mut self, mailbox: &dyn Mailbox) -> Result<(), StoreError> {
        self.next = self.ids.next();
        if self.next.is_none() && !self.done {
            let page = mailbox.fetched(self.client, self.range, self.page).await?;
            self.done = page.len() < self.page;
            if let Some(last) = page.last() {
                self.range = self.range.after(last);
            }
            self.ids = page.into_iter();
            self.next = self.ids.next();
        }
        Ok(())
    }
}
