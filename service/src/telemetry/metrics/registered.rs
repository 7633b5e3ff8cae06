//! Metrics of the registry, made from their declarations.

use countersign_metrics::{Kind, Label, Metric, Values};
use prometheus::core::Collector;
use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Registers metrics.
///
/// Every method panics where a declaration is not valid, has another kind than asked for, or is registered twice: a fault
/// of this program that every start of it shows.
pub(super) struct Registrar<'a>(pub(super) &'a Registry);

impl Registrar<'_> {
    pub(super) fn counter(&self, metric: &Metric) -> IntCounter {
        self.counters(metric).with_label_values(&[] as &[&str])
    }

    pub(super) fn counters(&self, metric: &Metric) -> IntCounterVec {
        let options = options(metric, Kind::Counter);
        self.register(IntCounterVec::new(options, &names(metric.labels)))
    }

    /// A counter of what is no whole number, such as seconds.
    pub(super) fn amount(&self, metric: &Metric) -> Counter {
        self.register(Counter::with_opts(options(metric, Kind::Counter)))
    }

    pub(super) fn gauge(&self, metric: &Metric) -> IntGauge {
        self.gauges(metric).with_label_values(&[] as &[&str])
    }

    pub(super) fn gauges(&self, metric: &Metric) -> IntGaugeVec {
        let options = options(metric, Kind::Gauge);
        self.register(IntGaugeVec::new(options, &names(metric.labels)))
    }

    pub(super) fn histogram(&self, metric: &Metric) -> Histogram {
        self.histograms(metric).with_label_values(&[] as &[&str])
    }

    pub(super) fn histograms(&self, metric: &Metric) -> HistogramVec {
        let options = HistogramOpts::from(options(metric, Kind::Histogram)).buckets(metric.buckets.to_vec());
        self.register(HistogramVec::new(options, &names(metric.labels)))
    }

    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("names and labels are valid");
        self.0.register(Box::new(metric.clone())).expect("each metric is registered once");
        metric
    }
}

/// Returns all values of a metric's first label, which has a fixed set of them.
pub(super) fn values(metric: &Metric) -> &'static [&'static str] {
    match metric.labels {
        [Label { values: Values::Of(values), .. }, ..] => values,
        _ => &[],
    }
}

fn options(metric: &Metric, kind: Kind) -> Opts {
    assert_eq!(metric.kind, kind, "{} is declared as something else", metric.name);
    Opts::new(metric.name, metric.help)
}

fn names(labels: &'static [Label]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}
