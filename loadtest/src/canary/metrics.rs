//! The canary's metrics. Each is declared here and nowhere else.

use anyhow::Result;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::wire::Why;

/// Every metric with what it says, for documentation and its test.
pub const METRICS: [(&str, &str); 13] = [
    ("countersign_canary_sent_total", "Messages that the canary sent, by outcome: accepted, unanswered or refused."),
    ("countersign_canary_received_total", "Messages that came back with their content."),
    ("countersign_canary_lost_total", "Messages that were answered 201 and did not come back in time."),
    ("countersign_canary_found_total", "Lost messages that came back after all."),
    ("countersign_canary_missing", "Lost messages that have not come back."),
    ("countersign_canary_pending", "Messages on their way."),
    ("countersign_canary_late_total", "Messages that came back later than they may."),
    ("countersign_canary_corrupted_total", "Messages that came back with another content, or could not be read."),
    ("countersign_canary_duplicated_total", "Messages that were listed again after they were confirmed."),
    ("countersign_canary_unexpected_total", "Messages to the canary that it did not send."),
    ("countersign_canary_send_seconds", "From the first attempt to the 201."),
    ("countersign_canary_delivery_seconds", "From the 201 until the content was read."),
    ("countersign_canary_repeated_total", "Attempts that had to be repeated, by reason."),
];

/// Bounds of the histograms, in seconds: from a local service to the limit of a loss.
const BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// How a message was sent.
pub(super) const OUTCOMES: [&str; 3] = ["accepted", "unanswered", "refused"];

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) sent: IntCounterVec,
    pub(super) received: IntCounter,
    pub(super) lost: IntCounter,
    pub(super) found: IntCounter,
    pub(super) missing: IntGauge,
    pub(super) pending: IntGauge,
    pub(super) late: IntCounter,
    pub(super) corrupted: IntCounter,
    pub(super) duplicated: IntCounter,
    pub(super) unexpected: IntCounter,
    pub(super) send_seconds: Histogram,
    pub(super) delivery_seconds: Histogram,
    pub(super) repeated: IntCounterVec,
}

impl Metrics {
    /// Declares all metrics. Every series is there from the start, so that its rate is known from the first event on.
    ///
    /// # Errors
    /// Never: names are valid and all different.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let help = |name: &str| METRICS.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help);
        let counter = |name: &str| -> Result<IntCounter> {
            let counter = IntCounter::new(name, help(name))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str| -> Result<IntGauge> {
            let gauge = IntGauge::new(name, help(name))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let labelled = |name: &str, label: &str, values: &[&str]| -> Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help(name)), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            for value in values {
                counters.with_label_values(&[value]);
            }
            Ok(counters)
        };
        let histogram = |name: &str| -> Result<Histogram> {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help(name)).buckets(BUCKETS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        Ok(Self {
            sent: labelled("countersign_canary_sent_total", "outcome", &OUTCOMES)?,
            received: counter("countersign_canary_received_total")?,
            lost: counter("countersign_canary_lost_total")?,
            found: counter("countersign_canary_found_total")?,
            missing: gauge("countersign_canary_missing")?,
            pending: gauge("countersign_canary_pending")?,
            late: counter("countersign_canary_late_total")?,
            corrupted: counter("countersign_canary_corrupted_total")?,
            duplicated: counter("countersign_canary_duplicated_total")?,
            unexpected: counter("countersign_canary_unexpected_total")?,
            send_seconds: histogram("countersign_canary_send_seconds")?,
            delivery_seconds: histogram("countersign_canary_delivery_seconds")?,
            repeated: labelled("countersign_canary_repeated_total", "reason", &Why::ALL.map(Why::name))?,
            registry,
        })
    }

    /// Writes all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_is_what_is_declared_and_documented() {
        let text = String::from_utf8(Metrics::new().unwrap().encode().unwrap()).unwrap();
        let mut exported: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let mut declared: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        exported.sort_unstable();
        declared.sort_unstable();

        assert_eq!(exported, declared);
        let guide = include_str!("../../../docs/ledger.md");
        for name in declared {
            assert!(guide.contains(&format!("`{name}`")), "docs/ledger.md does not say what {name} is");
        }
    }
}
