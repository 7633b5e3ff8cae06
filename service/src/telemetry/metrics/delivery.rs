//! What delivery tells: accepted, listed, read, confirmed, acknowledged, and how late.

use std::time::Duration;

use countersign_metrics::{
    DELIVERIES_ACCEPTED, DELIVERY_LAG, DERIVATIONS, FULL_MERGES, GAPS_TOLD, HINTS_LOST, ITEMS_CONFIRMED,
    ITEMS_EXPIRING, ITEMS_LISTED, ITEMS_SETTLED, LAST_KNOWN_GOOD_AGE, LISTINGS, LISTINGS_EMPTY, MESSAGES_ACCEPTED,
    MESSAGES_ACKNOWLEDGED, MESSAGES_READ, RECONCILIATIONS, STRAGGLERS,
};
use countersign_protocol::body::ItemKind;
use prometheus::{Histogram, IntCounter};

use super::Metrics;
use super::registered::Registrar;
use crate::delivery::listing::Listed;
use crate::delivery::{DeliveryObserver, Settled};

pub(super) struct DeliveryMetrics {
    messages: Accepted,
    receipts: Accepted,
    listings: IntCounter,
    listings_empty: IntCounter,
    full_merges: IntCounter,
    items_listed: IntCounter,
    items_expiring: IntCounter,
    messages_read: IntCounter,
    items_confirmed: IntCounter,
    messages_acknowledged: IntCounter,
    lag: Histogram,
    last_known_good_age: Histogram,
    derivations: IntCounter,
    reconciliations: IntCounter,
    stragglers: IntCounter,
    settled_fetched: IntCounter,
    settled_unfetched: IntCounter,
    gaps_told: IntCounter,
    hints_lost: IntCounter,
}

struct Accepted {
    messages: IntCounter,
    deliveries: IntCounter,
}

impl DeliveryMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let messages = registrar.counters(&MESSAGES_ACCEPTED);
        let deliveries = registrar.counters(&DELIVERIES_ACCEPTED);
        let settled = registrar.counters(&ITEMS_SETTLED);
        let accepted = |kind: &str| Accepted {
            messages: messages.with_label_values(&[kind]),
            deliveries: deliveries.with_label_values(&[kind]),
        };
        Self {
            messages: accepted("message"),
            receipts: accepted("receipt"),
            listings: registrar.counter(&LISTINGS),
            listings_empty: registrar.counter(&LISTINGS_EMPTY),
            full_merges: registrar.counter(&FULL_MERGES),
            items_listed: registrar.counter(&ITEMS_LISTED),
            items_expiring: registrar.counter(&ITEMS_EXPIRING),
            messages_read: registrar.counter(&MESSAGES_READ),
            items_confirmed: registrar.counter(&ITEMS_CONFIRMED),
            messages_acknowledged: registrar.counter(&MESSAGES_ACKNOWLEDGED),
            lag: registrar.histogram(&DELIVERY_LAG),
            last_known_good_age: registrar.histogram(&LAST_KNOWN_GOOD_AGE),
            derivations: registrar.counter(&DERIVATIONS),
            reconciliations: registrar.counter(&RECONCILIATIONS),
            stragglers: registrar.counter(&STRAGGLERS),
            settled_fetched: settled.with_label_values(&["fetched"]),
            settled_unfetched: settled.with_label_values(&["unfetched"]),
            gaps_told: registrar.counter(&GAPS_TOLD),
            hints_lost: registrar.counter(&HINTS_LOST),
        }
    }
}

impl DeliveryObserver for Metrics {
    fn accepted(&self, kind: ItemKind, recipients: usize) {
        let accepted = match kind {
            ItemKind::Message => &self.delivery.messages,
            ItemKind::Receipt => &self.delivery.receipts,
        };
        accepted.messages.inc();
        accepted.deliveries.inc_by(recipients as u64);
    }

    fn listed(&self, listed: &Listed) {
        let metrics = &self.delivery;
        metrics.listings.inc();
        if listed.items.is_empty() {
            metrics.listings_empty.inc();
        }
        metrics.items_listed.inc_by(listed.items.len() as u64);
        metrics.items_expiring.inc_by(listed.expiring as u64);
        metrics.stragglers.inc_by(listed.stragglers as u64);
        if listed.hints.merged.is_some() {
            metrics.full_merges.inc();
        }
        if let Some(age) = listed.known_good_age {
            metrics.last_known_good_age.observe(age.as_secs_f64());
        }
        if listed.derived {
            metrics.derivations.inc();
        }
        if listed.reconciled {
            metrics.reconciliations.inc();
        }
        if listed.stragglers > 0 {
            tracing::warn!(
                stragglers = listed.stragglers,
                "messages became visible later than the inconsistent window: it is too short for this cluster"
            );
        }
    }

    fn arrived(&self, lag: Duration) {
        self.delivery.lag.observe(lag.as_secs_f64());
    }

    fn read(&self) {
        self.delivery.messages_read.inc();
    }

    fn confirmed(&self, items: usize) {
        self.delivery.items_confirmed.inc_by(items as u64);
    }

    fn acknowledged(&self) {
        self.delivery.messages_acknowledged.inc();
    }

    fn gap_told(&self) {
        self.delivery.gaps_told.inc();
    }

    fn settled(&self, settled: Settled) {
        self.delivery.settled_fetched.inc_by(settled.fetched);
        self.delivery.settled_unfetched.inc_by(settled.unfetched);
    }

    fn hint_lost(&self) {
        self.delivery.hints_lost.inc();
    }
}
