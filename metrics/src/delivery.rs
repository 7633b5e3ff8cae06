//! Delivery: what was accepted, listed, read, confirmed, acknowledged, and how late.

use crate::{Metric, counter, label, seconds};

/// What can be in a mailbox.
pub const ITEM_KINDS: &[&str] = &["message", "receipt"];

/// Messages and receipts.
pub const MESSAGES_ACCEPTED: Metric = counter(
    "countersign_messages_accepted_total",
    "messages",
    &[label("kind", ITEM_KINDS)],
    "Messages and receipts that are durably stored for all their recipients. A repeat counts again.",
);

/// The same, for each recipient.
pub const DELIVERIES_ACCEPTED: Metric = counter(
    "countersign_deliveries_accepted_total",
    "mailbox rows",
    &[label("kind", ITEM_KINDS)],
    "The same, counted for each recipient: rows of mailboxes.",
);

/// Looks for something new.
pub const LISTINGS: Metric = counter(
    "countersign_listings_total",
    "listings",
    &[],
    "Looks for something new; a waiting listing looks repeatedly.",
);

/// Those that found nothing.
pub const LISTINGS_EMPTY: Metric =
    counter("countersign_listings_empty_total", "listings", &[], "Looks for something new that found nothing.");

/// Those that read the mailbox.
pub const FULL_MERGES: Metric = counter(
    "countersign_full_merges_total",
    "listings",
    &[],
    "Listings that read the mailbox; the others knew from the arrivals what is new.",
);

/// Items in listings.
pub const ITEMS_LISTED: Metric = counter(
    "countersign_items_listed_total",
    "items",
    &[],
    "Items in listings. An item is listed to each client, again and again until that client confirms it.",
);

/// Contents that were read.
pub const MESSAGES_READ: Metric =
    counter("countersign_messages_read_total", "messages", &[], "Contents that were read by those they are for.");

/// Confirmations.
pub const ITEMS_CONFIRMED: Metric = counter(
    "countersign_items_confirmed_total",
    "items",
    &[],
    "Items that a client confirmed to hold: fetched. Acknowledged messages are among them. A repeat counts again.",
);

/// Acknowledgements.
pub const MESSAGES_ACKNOWLEDGED: Metric = counter(
    "countersign_messages_acknowledged_total",
    "messages",
    &[],
    "Messages that a recipient acknowledged with a receipt. A repeat counts again.",
);

/// Messages that are about to expire.
pub const ITEMS_EXPIRING: Metric = counter(
    "countersign_items_expiring_total",
    "items",
    &[],
    "Items that were listed in the last tenth of their retention: this client has not fetched them, and they are about to \
     expire. Only clients that still ask for listings show here.",
);

/// How late messages are listed to those who wait for them.
pub const DELIVERY_LAG: Metric = seconds(
    "countersign_delivery_lag_seconds",
    &[],
    &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0],
    "Time from an item's sending, by the time in its id, to its listing, for items that arrived while the client was waiting.",
);

/// How old last known good is.
pub const LAST_KNOWN_GOOD_AGE: Metric = seconds(
    "countersign_lkg_age_seconds",
    &[],
    &[300.0, 330.0, 360.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 1_209_600.0],
    "Age of a client's last known good when a full merge began: how much of the mailbox it had to read. At least the \
     inconsistent window; where last known good was unknown, it is in countersign_lkg_derivations_total instead.",
);

/// Derivations.
pub const DERIVATIONS: Metric = counter(
    "countersign_lkg_derivations_total",
    "listings",
    &[],
    "Listings that had to derive last known good from the beginning of retention.",
);

/// Reconciliations.
pub const RECONCILIATIONS: Metric = counter(
    "countersign_reconciliations_total",
    "listings",
    &[],
    "Listings that read from the beginning of retention because it was time to.",
);

/// Stragglers.
pub const STRAGGLERS: Metric = counter(
    "countersign_stragglers_total",
    "items",
    &[],
    "Messages found behind last known good: the inconsistent window is too short for this cluster.",
);

/// Items that left retention.
pub const ITEMS_SETTLED: Metric = counter(
    "countersign_items_settled_total",
    "items",
    &[label("fate", &["fetched", "unfetched"])],
    "Items that left retention, once for each client of their recipient: fetched by it, or unfetched. Counted at the \
     client's first complete listing in each slot of four hours, so a client that never comes back counts nothing.",
);

/// Gaps.
pub const GAPS_TOLD: Metric = counter(
    "countersign_gaps_told_total",
    "listings",
    &[],
    "Listings that told a client that it was away for longer than retention and may have missed messages.",
);

/// Lost hints.
pub const HINTS_LOST: Metric = counter(
    "countersign_hints_lost_total",
    "hints",
    &[],
    "Arrivals and hints that did not reach the ephemeral store; a message is then late, not lost.",
);
