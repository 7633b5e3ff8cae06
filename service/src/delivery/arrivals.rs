//! The fast path of listings: what arrived for the user lately, in order of arrival (`docs/delivery.md`).
//!
//! Arrivals are a hint like last known good; the full merge stays the truth behind them.
//!
//! Invariant I-15: a client's arrival mark is at a place only if, as of its last full merge, every message that was new
//! for it arrives after that place; and it passes an arrival only when the client has fetched it. So listings by arrivals
//! miss at most what a lost append or a late row hides, and that only until the next full merge.

use std::collections::HashSet;
use std::time::Duration;

use countersign_protocol::body::Item;
use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use futures_util::future::try_join_all;

use super::listing::Listed;
use crate::ephemeral::{Arrival, ArrivalMark, Arrivals, MarkMove};
use crate::store::{FETCHED_AMONG_MAX, Mailbox, StoreError};

/// How old a message may be, by its id, whose row is there and whose arrival is not, for its arrival to be waited for.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// Lists what arrived after a mark and is not fetched. Reads nothing if nothing arrived.
pub(super) async fn list(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    mark: ArrivalMark,
    after: &[Arrival],
    limit: usize,
) -> Result<Listed, StoreError> {
    let mut ids: Vec<MessageId> = after.iter().map(|arrival| arrival.item.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let reads = ids.chunks(FETCHED_AMONG_MAX).map(|ids| mailbox.fetched_among(client, ids));
    let fetched: HashSet<MessageId> = try_join_all(reads).await?.into_iter().flatten().collect();

    let arrived = after.iter().map(|arrival| arrival.item);
    let mut items: Vec<Item> = arrived.filter(|item| !fetched.contains(&item.id)).collect();
    items.sort_unstable_by_key(|item| item.id);
    items.dedup_by_key(|item| item.id);
    let more = items.len() > limit;
    items.truncate(limit);
    let to = past_fetched(mark, after, &fetched);
    let moved = MarkMove { from: Some(mark), to: Some(to) };
    Ok(Listed { items, more, mark: (to != mark).then_some(moved), ..Listed::default() })
}

/// What a full merge means for the client's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterMerge {
    /// It moves like this, or stays.
    Mark(Option<MarkMove>),
    /// The merge saw a message whose row is there and whose arrival is not: most likely it is on its way. So the arrivals
    /// are to be looked at again.
    LookAgain,
}

/// Tells what a full merge means for the client's mark. `fetched` holds those of the arrivals that the merge saw fetched.
///
/// The arrivals were looked at before the merge read anything, so what is durable later arrives after their end.
pub(super) fn after_merge(
    arrivals: &Arrivals,
    listed: &Listed,
    fetched: &HashSet<MessageId>,
    now: UnixMillis,
) -> AfterMerge {
    let arrived: HashSet<MessageId> = arrivals.after.iter().map(|arrival| arrival.item.id).collect();
    let mut missing = listed.items.iter().filter(|item| !arrived.contains(&item.id)).peekable();
    let only_on_their_way = missing.peek().is_some() && missing.all(|item| item.id.time() >= now.minus(ON_ITS_WAY));
    if only_on_their_way && !listed.more {
        return AfterMerge::LookAgain;
    }
    AfterMerge::Mark(mark_after_merge(arrivals, &listed.items, listed.more, fetched))
}

/// Tells where the mark goes after a full merge that listed `items`, by arrivals that were looked at before or after it.
pub(super) fn mark_after_merge(
    arrivals: &Arrivals,
    items: &[Item],
    more: bool,
    fetched: &HashSet<MessageId>,
) -> Option<MarkMove> {
    let arrived: HashSet<MessageId> = arrivals.after.iter().map(|arrival| arrival.item.id).collect();
    let to = (!more && items.iter().all(|item| arrived.contains(&item.id))).then(|| {
        let beginning = match (arrivals.mark, arrivals.after.first()) {
            (Some(mark), _) => mark,
            (None, Some(first)) => arrivals.end.at(first.place.saturating_sub(1)),
            (None, None) => arrivals.end,
        };
        past_fetched(beginning, &arrivals.after, fetched)
    });
    (to != arrivals.mark).then_some(MarkMove { from: arrivals.mark, to })
}

/// Moves a mark past the arrivals after it, up to the first that is not fetched.
fn past_fetched(mark: ArrivalMark, after: &[Arrival], fetched: &HashSet<MessageId>) -> ArrivalMark {
    let passed = after.iter().take_while(|arrival| fetched.contains(&arrival.item.id)).last();
    passed.map_or(mark, |arrival| mark.at(arrival.place))
}
