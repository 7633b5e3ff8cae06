//! Whether every message arrives, and when.

use countersign_metrics::{
    ADMITTED, DELIVERIES_ACCEPTED, DELIVERY_LAG, DERIVATIONS, FULL_MERGES, GAPS_TOLD, HINTS_LOST, ITEMS_CONFIRMED,
    ITEMS_EXPIRING, ITEMS_LISTED, ITEMS_SETTLED, LAST_KNOWN_GOOD_AGE, LISTINGS, LISTINGS_EMPTY, MESSAGES_ACCEPTED,
    MESSAGES_ACKNOWLEDGED, MESSAGES_READ, RECONCILIATIONS, STRAGGLERS,
};

use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{of, quantile, quantile_of, rate, rate_of, scope, share_within};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "countersign-delivery",
        title: "Countersign / Delivery",
        description: "What was accepted, listed, fetched and acknowledged; how late it was; and whether the algorithm that loses \
                      nothing has as little to do as it should.",
        variables: scope(),
        rows: vec![well(), flow(), lag(), canary(), algorithm()],
        from: "now-1h",
    }
}

fn well() -> Row {
    let grown = |metric| format!("sum(increase({}[$__range]))", of(metric, ""));
    Row {
        title: "Is everything delivered?",
        panels: vec![
            Panel::stat(Unit::Share, "Delivered within 1 s", "Of what arrived while its recipient was waiting. The objective is 99 %.")
                .ask(share_within("1", &DELIVERY_LAG, ""), "within 1 s")
                .good_above(0.98, 0.99)
                .digits(2),
            Panel::stat(Unit::Seconds, "Delivery lag, p99", "From sending to listing, for clients that wait.")
                .ask(quantile(0.99, &DELIVERY_LAG, "", ""), "p99")
                .bad_above(0.8, 1.0),
            Panel::stat(Unit::Number, "Stragglers", "Messages that became visible later than the inconsistent window, in the time shown. They were delivered; the window is too short.")
                .ask(grown(&STRAGGLERS), "stragglers")
                .bad_above(0.5, 1.0)
                .digits(0),
            Panel::stat(Unit::Number, "About to expire unfetched", "Items listed in the last tenth of their retention, in the time shown.")
                .ask(grown(&ITEMS_EXPIRING), "items")
                .bad_above(0.5, 1.0)
                .digits(0),
            Panel::stat(Unit::Number, "Hints lost", "Hints that did not reach Valkey, in the time shown. Each may make one message late, by at most merge_interval.")
                .ask(grown(&HINTS_LOST), "hints")
                .bad_above(1.0, 1000.0)
                .digits(0),
            Panel::stat(Unit::Number, "Clients that wait", "Listings that wait for something new, on all pods.")
                .ask(format!("sum({})", of(&ADMITTED, r#"class="waits""#)), "waiting"),
        ],
    }
}

fn flow() -> Row {
    Row {
        title: "The way of a message",
        panels: vec![
            Panel::lines(Unit::PerSecond, "Accepted and fetched", "Deliveries: rows of mailboxes, one for each recipient, messages and receipts. Fetched: items that clients confirmed. A recipient with several clients fetches each item with each. Accepted = fetched + pending + expired, for each client.")
                .ask(rate(&DELIVERIES_ACCEPTED, "", ""), "accepted deliveries")
                .ask(rate(&ITEMS_CONFIRMED, "", ""), "fetched"),
            Panel::lines(Unit::PerSecond, "Messages: accepted, read, acknowledged", "Each message once, however many its recipients; then how often contents were read, and messages acknowledged.")
                .ask(rate(&MESSAGES_ACCEPTED, r#"kind="message""#, ""), "accepted")
                .ask(rate(&MESSAGES_READ, "", ""), "read")
                .ask(rate(&MESSAGES_ACKNOWLEDGED, "", ""), "acknowledged"),
            Panel::lines(Unit::PerSecond, "Items listed, of those fetched", "An item is listed until the client confirms it. Many more listed than fetched: clients do not confirm.")
                .ask(rate(&ITEMS_LISTED, "", ""), "listed")
                .ask(rate(&ITEMS_CONFIRMED, "", ""), "fetched"),
            Panel::stacked(Unit::PerSecond, "Accepted, by kind", "Messages, and the receipts that acknowledge them.")
                .ask(rate(&MESSAGES_ACCEPTED, "", "kind"), "{{kind}}"),
        ],
    }
}

fn lag() -> Row {
    Row {
        title: "How late",
        panels: vec![
            Panel::lines(Unit::Seconds, "Delivery lag to waiting clients", "From the time in an item's id, which is its sender's clock, to its listing. The line is the objective for p99.")
                .ask(quantile(0.5, &DELIVERY_LAG, "", ""), "p50")
                .ask(quantile(0.95, &DELIVERY_LAG, "", ""), "p95")
                .ask(quantile(0.99, &DELIVERY_LAG, "", ""), "p99")
                .objective(1.0),
            Panel::lines(Unit::PerSecond, "Items that found a waiting client", "What the lag is measured of.")
                .ask(crate::query::observations(&DELIVERY_LAG, "", ""), "items"),
        ],
    }
}

/// The canary's metrics are declared where it is, and described in docs/ledger.md.
fn canary() -> Row {
    // It is one client, whatever pods are chosen.
    let rate = |name: &str| rate_of(&format!("countersign_canary_{name}"), "");
    let quantile =
        |share: f64, name: &str| quantile_of(share, &format!("countersign_canary_{name}_seconds_bucket"), "");
    Row {
        title: "The canary: a client that writes to itself all the time",
        panels: vec![
            Panel::lines(Unit::PerSecond, "Sent and received", "What the canary sent and got back. Where the lines part, messages are on their way for long, or lost.")
                .ask(rate("sent_total"), "sent")
                .ask(rate("received_total"), "received")
                .size(8, 8),
            Panel::lines(Unit::Seconds, "There and back, p99", "Sending: from the first attempt to the answer. Delivery: from the answer until the content was read.")
                .ask(quantile(0.99, "send"), "sending")
                .ask(quantile(0.99, "delivery"), "delivery")
                .size(8, 8),
            Panel::lines(Unit::Number, "On their way, late, lost", "Messages on their way are normal. Late and lost ones are counted since the canary began: lost must stay at nothing.")
                .ask("sum(countersign_canary_pending)", "on their way")
                .ask("sum(countersign_canary_late_total)", "late")
                .ask("sum(countersign_canary_lost_total)", "lost")
                .size(8, 8),
        ],
    }
}

fn algorithm() -> Row {
    Row {
        title: "How the algorithm is doing",
        panels: vec![
            Panel::lines(Unit::PerSecond, "Looks for something new", "All; those that found nothing; and those that read the mailbox, which each client does every merge_interval. The others cost one trip to Valkey.")
                .ask(rate(&LISTINGS, "", ""), "all")
                .ask(rate(&LISTINGS_EMPTY, "", ""), "nothing new")
                .ask(rate(&FULL_MERGES, "", ""), "full merges")
                .size(8, 8),
            Panel::lines(Unit::PerSecond, "Derivations and reconciliations", "Derived: Valkey did not know last known good, so the listing read all of retention. A peak means that Valkey lost its memory. Reconciled: it was time to.")
                .ask(rate(&DERIVATIONS, "", ""), "derived")
                .ask(rate(&RECONCILIATIONS, "", ""), "reconciled")
                .size(8, 8),
            Panel::lines(Unit::Seconds, "Age of last known good", "How much of the mailbox a full merge has to read. At least the inconsistent window of 5 minutes; much older, a client leaves something unfetched.")
                .ask(quantile(0.5, &LAST_KNOWN_GOOD_AGE, "", ""), "p50")
                .ask(quantile(0.99, &LAST_KNOWN_GOOD_AGE, "", ""), "p99")
                .size(8, 8),
            Panel::lines(Unit::PerSecond, "Stragglers and items that expire", "Both should be nothing, always.")
                .ask(rate(&STRAGGLERS, "", ""), "stragglers")
                .ask(rate(&ITEMS_EXPIRING, "", ""), "about to expire unfetched"),
            Panel::lines(Unit::PerSecond, "Left retention", "Items that left retention, for each client of their recipient. Unfetched: the client is registered and did not come for them. In the long run what is accepted, times the clients of a user, is what is fetched and unfetched here.")
                .ask(rate(&ITEMS_SETTLED, r#"fate="fetched""#, ""), "fetched")
                .ask(rate(&ITEMS_SETTLED, r#"fate="unfetched""#, ""), "unfetched")
                .ask(rate(&GAPS_TOLD, "", ""), "told of a gap"),
            Panel::lines(Unit::PerSecond, "Hints lost", "Arrivals and hints that did not reach Valkey. Messages are then late, never lost.")
                .ask(rate(&HINTS_LOST, "", ""), "hints"),
        ],
    }
}
