//! A load test, as its clients see the service.

use countersign_metrics::{
    LOADTEST_DURATION, LOADTEST_LATE, LOADTEST_LOST, LOADTEST_OFFERED, LOADTEST_REQUESTS, LOADTEST_SCHEDULE_LAG,
    Metric,
};

use crate::model::{Dashboard, Panel, Row, Unit};

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

fn rate(metric: &Metric, filter: &str, by: &str) -> String {
    let selector = if filter.is_empty() { String::new() } else { format!("{{{filter}}}") };
    crate::query::sum(&format!("rate({}{selector}[$__rate_interval])", metric.name), by)
}

fn quantile(share: f64, metric: &Metric, filter: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    let selector = if filter.is_empty() { String::new() } else { format!("{{{filter}}}") };
    format!("histogram_quantile({share}, sum by ({by}) (rate({}_bucket{selector}[$__rate_interval])))", metric.name)
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
    let sending = r#"operation="send_message""#;
    Row {
        title: "Duration, from the intended start",
        panels: vec![
            Panel::lines(
                Unit::Seconds,
                "Sending: percentiles",
                "From the intended start to the answer. The line is the objective for p99.",
            )
            .ask(quantile(0.5, &LOADTEST_DURATION, sending, ""), "p50")
            .ask(quantile(0.9, &LOADTEST_DURATION, sending, ""), "p90")
            .ask(quantile(0.99, &LOADTEST_DURATION, sending, ""), "p99")
            .objective(0.05),
            Panel::lines(Unit::Seconds, "p99 by operation", "From the intended start to the answer.")
                .ask(quantile(0.99, &LOADTEST_DURATION, "", "operation"), "{{operation}}"),
        ],
    }
}
