//! Whether a client was away for so long that messages expired unseen by it, and what became of what expired.
//!
//! Time is divided into slots. The first complete listing of a client in a slot adds a *mark* to what the client has
//! fetched: an id that stands for no message, but for the slot. Marks live as long as what was sent at their time. The newest
//! one tells up to when everything was listed to the client; older rows can be looked at for a while longer than
//! retention, since stores keep them, so it can be told whether one of them expired unseen.
//!
//! Invariant: what is told is true. A client is told only if a row expired that it has not fetched, or if it is certain that
//! it saw no complete listing while rows could expire.
//!
//! Marks are found by looking for all that can be there: no store has to know them.

use std::time::Duration;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use super::listing::{self, ListingTimes};
use crate::store::{IdRange, KEPT_LONGER, Mailbox, Registry, StoreError};

/// Slots in retention: four hours each of 14 days.
const SLOTS: u32 = 84;
/// Slots beyond retention in which a mark is looked for. A client without one was away for longer than retention, whenever
/// in its last slot it listed.
const SLOTS_BEYOND: usize = 2;
/// How many of the newest slots are looked at first: nearly every client has a mark there, a day or two of rows.
const RECENT: usize = 6;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// A complete listing.
    Present = 1,
    /// A listing that told the client of a gap.
    Told = 2,
}

impl Mark {
    /// Returns the id that stands for a slot. A message has it by chance as likely as two hashes agree in 74 bits.
    fn id(self, slot: UnixMillis) -> MessageId {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&slot.0.to_be_bytes()[2..]);
        // Version and variant of an id; all other bits of the hash are zero but the last.
        bytes[6] = 0x80;
        bytes[8] = 0x80;
        bytes[15] = self as u8;
        MessageId::from_bytes(bytes).expect("version and variant are those of an id")
    }
}

/// The slots, as seen from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    now: UnixMillis,
    /// In milliseconds.
    length: u64,
    retention: Duration,
    inconsistent_window: Duration,
}

impl Slots {
    pub(super) fn of(times: &ListingTimes) -> Self {
        let ListingTimes { now, retention, inconsistent_window, .. } = *times;
        let length = u64::try_from((retention / SLOTS).as_millis()).unwrap_or(u64::MAX).max(1);
        Self { now, length, retention, inconsistent_window }
    }

    /// Returns when the slot of a time begins.
    fn start(&self, time: UnixMillis) -> UnixMillis {
        UnixMillis(time.0 - time.0 % self.length)
    }

    /// Tells whether two times are in different slots.
    pub(super) fn differ(&self, one: UnixMillis, other: UnixMillis) -> bool {
        self.start(one) != self.start(other)
    }

    /// Tells whether a time is more than a slot ago.
    pub(super) fn is_long_ago(&self, time: UnixMillis) -> bool {
        self.now.since(time).as_millis() > u128::from(self.length)
    }

    /// Returns the starts of all slots in which a mark can be of use, the newest first.
    fn backwards(&self) -> Vec<UnixMillis> {
        // A pod whose clock is ahead may be in the next slot.
        let newest = self.start(self.now).0.saturating_add(self.length);
        let count = u64::from(SLOTS) + SLOTS_BEYOND as u64 + 2;
        (0..count).map(|number| UnixMillis(newest.saturating_sub(number * self.length))).collect()
    }

    /// Returns the id of the mark of a complete listing now.
    pub(super) fn present(&self) -> MessageId {
        Mark::Present.id(self.start(self.now))
    }

    /// Returns the id of the mark of a listing now that tells of a gap.
    pub(super) fn told(&self) -> MessageId {
        Mark::Told.id(self.start(self.now))
    }
}

/// What a client's marks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    slots: Slots,
    /// The start of the newest slot in which the client had a complete listing.
    pub(super) present: Option<UnixMillis>,
    /// Whether it was told of a gap in an earlier slot, lately.
    pub(super) told_before: bool,
}

/// Looks for a client's marks: one read of points for nearly every client, two for a new one.
pub(super) async fn look(mailbox: &dyn Mailbox, client: &ClientAddress, slots: Slots) -> Result<Looked, StoreError> {
    let starts = slots.backwards();
    let (recent, older) = starts.split_at(RECENT.min(starts.len()));
    let ids = |mark: Mark, starts: &[UnixMillis]| starts.iter().map(|start| mark.id(*start)).collect::<Vec<_>>();
    let newest =
        |held: &[MessageId]| held.iter().filter(|id| Mark::Present.id(id.time()) == **id).map(MessageId::time).max();
    let asked = [ids(Mark::Present, recent), ids(Mark::Told, recent)].concat();
    let held = mailbox.fetched_among(client, &asked).await?;
    let earlier = |id: &&MessageId| slots.differ(id.time(), slots.now);
    let told_before = held.iter().filter(|id| Mark::Told.id(id.time()) == **id).any(|id| earlier(&id));
    let mut present = newest(&held);
    if present.is_none() {
        present = newest(&mailbox.fetched_among(client, &ids(Mark::Present, older)).await?);
    }
    Ok(Looked { slots, present, told_before })
}

/// Returns the time from which a client may have missed messages, if it may have missed any.
pub(super) async fn gap(
    looked: &Looked,
    mailbox: &dyn Mailbox,
    registry: &dyn Registry,
    client: &ClientAddress,
) -> Result<Option<UnixMillis>, StoreError> {
    let Slots { now, retention, inconsistent_window, .. } = looked.slots;
    let kept_from = now.minus(retention);
    if let Some(present) = looked.present {
        // What was listed then: all but what was not visible yet.
        let listed_until = present.minus(inconsistent_window);
        if listed_until >= kept_from {
            return Ok(None);
        }
        let expired = IdRange::later_than(listed_until, kept_from);
        let count = listing::count(mailbox, client, expired, 1).await?;
        return Ok((count.unfetched > 0).then_some(listed_until));
    }
    // It was never here, or was away for longer than its marks live. The former missed nothing.
    let places = registry.clients(client.organization, client.user).await?;
    let since = places.iter().find(|place| place.client == client.client).map(|place| place.since.to_millis());
    Ok(since.filter(|since| *since < kept_from))
}

/// What became of items that left retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Items that the client had fetched.
    pub fetched: u64,
    /// Items that it had not.
    pub unfetched: u64,
}

/// Counts what left retention between two slots, of one client. Each item is in one count only, since slots are the same
/// for all pods.
pub(super) async fn settle(
    mailbox: &dyn Mailbox,
    client: &ClientAddress,
    slots: Slots,
    since: UnixMillis,
) -> Result<Settled, StoreError> {
    let ends = |time: UnixMillis| slots.start(time).minus(slots.retention);
    // What is older is gone for good.
    let from = ends(since).max(slots.now.minus(slots.retention + KEPT_LONGER));
    let until = ends(slots.now);
    if from >= until {
        return Ok(Settled::default());
    }
    listing::count(mailbox, client, IdRange::later_than(from, until), usize::MAX).await
}
