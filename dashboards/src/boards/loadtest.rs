//! A load test, as its clients see the service.

use countersign_metrics::{
    LOADTEST_DURATION, LOADTEST_LATE, LOADTEST_LOST, LOADTEST_OFFERED, LOADTEST_REQUESTS, LOADTEST_SCHEDULE_LAG,
    Metric,
};

use super::{SENDING, percentiles_of_sending};
use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{quantile_of, rate_of};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "countersign-loadtest",
        title: "Countersign / Load test",
        description: "What the load tester offered and got. Durations count from the intended start, so a service that \
                      stalls cannot hide it; and where the generator itself lags, no figure here is the service's.",
        variables: Vec::new(),
        rows: vec![verdict(), throughput(), duration()],
        from: "now-15m",
    }
}

/// The series of the load tester, which the choices of other dashboards do not tell apart.
fn series(name: &str, filter: &str) -> String {
    if filter.is_empty() { name.to_owned() } else { format!("{name}{{{filter}}}") }
}

fn rate(metric: &Metric, filter: &str, by: &str) -> String {
    rate_of(&series(metric.name, filter), by)
}

fn quantile(share: f64, metric: &Metric, filter: &str, by: &str) -> String {
    quantile_of(share, &series(&format!("{}_bucket", metric.name), filter), by)
}

fn verdict() -> Row {
    Row {
        title: "Does it count?",
        panels: vec![
            Panel::stat(Unit::Number, "Messages lost", "By the ledger of the load tester: what was answered 201 and did not arrive. It must be 0.")
                .ask(format!("max({})", LOADTEST_LOST.name), "lost")
                .bad_above(0.5, 1.0)
                .digits(0)
                .size(6, 5),
            Panel::stat(Unit::Number, "Messages late", "Answered 201, and not arrived for longer than they should need.")
                .ask(format!("max({})", LOADTEST_LATE.name), "late")
                .bad_above(1.0, 100.0)
                .digits(0)
                .size(6, 5),
            Panel::stat(Unit::Share, "Achieved of offered", "Requests that ended, of those that were due. Below 99 % the service, or the generator, does not keep up.")
                .ask(format!("{} / {}", rate(&LOADTEST_REQUESTS, "", ""), rate(&LOADTEST_OFFERED, "", "")), "achieved")
                .good_above(0.95, 0.99)
                .digits(1)
                .size(6, 5),
            Panel::stat(Unit::Seconds, "Schedule lag, p99", "How much later than intended requests began, by the generator's own fault. Above 10 ms its figures are its own.")
                .ask(quantile(0.99, &LOADTEST_SCHEDULE_LAG, "", ""), "p99")
                .bad_above(0.005, 0.01)
                .size(6, 5),
        ],
    }
}

fn throughput() -> Row {
    Row {
        title: "Offered and achieved",
        panels: vec![
            Panel::lines(
                Unit::RequestsPerSecond,
                "Offered and achieved",
                "Where the lines part, the service is beyond its knee.",
            )
            .ask(rate(&LOADTEST_OFFERED, "", ""), "offered")
            .ask(rate(&LOADTEST_REQUESTS, "", ""), "achieved")
            .ask(rate(&LOADTEST_REQUESTS, r#"outcome="ok""#, ""), "succeeded"),
            Panel::stacked(Unit::RequestsPerSecond, "Achieved by operation", "Requests that ended in a second.")
                .ask(rate(&LOADTEST_REQUESTS, "", "operation"), "{{operation}}"),
            Panel::lines(Unit::RequestsPerSecond, "Not succeeded", "By operation and outcome.").ask(
                rate(&LOADTEST_REQUESTS, r#"outcome!="ok""#, "operation, outcome"),
                "{{operation}}: {{outcome}}",
            ),
            Panel::lines(Unit::Seconds, "Schedule lag", "By the generator's own fault.")
                .ask(quantile(0.5, &LOADTEST_SCHEDULE_LAG, "", ""), "p50")
                .ask(quantile(0.99, &LOADTEST_SCHEDULE_LAG, "", ""), "p99")
                .objective(0.01),
        ],
    }
}

fn duration() -> Row {
    Row {
        title: "Duration, from the intended start",
        panels: vec![
            percentiles_of_sending(
                Panel::lines(
                    Unit::Seconds,
                    "Sending: percentiles",
                    "From the intended start to the answer. The line is the objective for p99.",
                ),
                |share| quantile(share, &LOADTEST_DURATION, SENDING, ""),
            ),
            Panel::lines(Unit::Seconds, "p99 by operation", "From the intended start to the answer.")
                .ask(quantile(0.99, &LOADTEST_DURATION, "", "operation"), "{{operation}}"),
        ],
    }
}
