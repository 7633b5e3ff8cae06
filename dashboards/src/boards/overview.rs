//! Whether Countersign is well: the first dashboard that anybody opens.

use countersign_metrics::{
    ADMITTED, ADMITTED_LIMIT, BUILD_INFO, HINTS_LOST, PROCESS_CPU, PROCESS_RESIDENT, PROCESS_START, PUBLIC_KEY_JOBS,
    READY, REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT, RUNTIME_BUSY, RUNTIME_WORKERS, STRAGGLERS,
};

use super::SENDING;
use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{FLEET, of, quantile, rate, scope};

/// What counts against availability.
const FAILED: &str = r#"outcome=~"internal|unavailable|storage-full""#;
/// What clients got wrong, or were told to try later.
const REFUSED: &str = r#"outcome!~"ok|internal|unavailable|storage-full|client-gone""#;
/// Listings may wait for half a minute by intention.
const NOT_WAITING: &str = r#"operation!="list_messages""#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "countersign-overview",
        title: "Countersign / Overview",
        description: "Whether the service is well: rate, errors and duration by operation, how much is left of every limit, \
                      and what is running.",
        variables: scope(),
        rows: vec![well(), requests(), saturation(), rollout()],
        from: "now-1h",
    }
}

fn well() -> Row {
    let failed = rate(&REQUESTS, FAILED, "");
    let all = rate(&REQUESTS, "", "");
    Row {
        title: "Is it well?",
        panels: vec![
            Panel::stat(Unit::Share, "Availability, now", "Requests that did not fail by the service's fault, now. The objective is 99.95 % over 30 days.")
                .ask(format!("1 - {failed} / {all}"), "availability")
                .good_above(0.999, 0.9995)
                .digits(3),
            Panel::stat(Unit::Share, "Error budget left, of 30 days", "Of the failures that 99.95 % over 30 days allow. At nothing, the policy of docs/slo.md applies; less than -100 % is shown as that.")
                .ask(format!("clamp_min(1 - avg(countersign:availability_errors:ratio_rate30d{{{FLEET}}}) / 0.0005, -1)"), "left")
                .good_above(0.0, 0.25)
                .digits(1),
            Panel::stat(Unit::Seconds, "Sending, p99", "99 of 100 messages are stored and answered within this. The objective is 50 ms.")
                .ask(quantile(0.99, &REQUEST_DURATION, SENDING, ""), "p99")
                .bad_above(0.04, 0.05),
            Panel::stat(Unit::Seconds, "Delivery, p99", "99 of 100 messages are listed to a waiting client within this after they were sent. The objective is 1 s.")
                .ask(quantile(0.99, &countersign_metrics::DELIVERY_LAG, "", ""), "p99")
                .bad_above(0.8, 1.0),
            Panel::stat(Unit::RequestsPerSecond, "Requests", "All requests, of all operations.")
                .ask(all, "requests"),
            Panel::stat(Unit::Number, "Pods ready", "Pods that are ready for requests.")
                .ask(format!("sum({})", of(&READY, "")), "ready")
                .good_above(1.0, 2.0),
        ],
    }
}

fn requests() -> Row {
    Row {
        title: "Rate, errors, duration",
        panels: vec![
            Panel::stacked(Unit::RequestsPerSecond, "Requests by operation", "How many requests of each operation are answered in a second.")
                .ask(rate(&REQUESTS, "", "operation"), "{{operation}}")
                .size(12, 9),
            Panel::lines(Unit::RequestsPerSecond, "Failures by operation", "Requests that the service failed (internal) or could not do now (unavailable). These count against availability: nothing should be here.")
                .ask(rate(&REQUESTS, FAILED, "operation, outcome"), "{{operation}}: {{outcome}}")
                .size(12, 9),
            Panel::lines(Unit::RequestsPerSecond, "Refusals by problem", "Requests that were refused for a reason on the client's side, by problem. A new rise means a broken client, a wrong clock, or somebody who tries things.")
                .ask(rate(&REQUESTS, REFUSED, "outcome"), "{{outcome}}")
                .size(12, 8),
            Panel::lines(Unit::Seconds, "Sending: p50, p95, p99", "From a message's head to its answer, when it is durably stored. The line is the objective for p99.")
                .ask(quantile(0.5, &REQUEST_DURATION, SENDING, ""), "p50")
                .ask(quantile(0.95, &REQUEST_DURATION, SENDING, ""), "p95")
                .ask(quantile(0.99, &REQUEST_DURATION, SENDING, ""), "p99")
                .objective(0.05)
                .size(12, 8),
            Panel::lines(Unit::Seconds, "p50 by operation", "Half of the requests are answered within this. Listings are left out: they may wait for something new.")
                .ask(quantile(0.5, &REQUEST_DURATION, NOT_WAITING, "operation"), "{{operation}}"),
            Panel::lines(Unit::Seconds, "p99 by operation", "99 of 100 requests are answered within this. Listings are left out: they may wait for something new.")
                .ask(quantile(0.99, &REQUEST_DURATION, NOT_WAITING, "operation"), "{{operation}}"),
        ],
    }
}

fn saturation() -> Row {
    Row {
        title: "How much is left",
        panels: vec![
            Panel::lines(Unit::Share, "CPU of each pod", "CPU time of each pod, as a share of the cores that it may use. Above 70 % latency grows: scale out.")
                .ask(format!("rate({}[$__rate_interval]) / {}", of(&PROCESS_CPU, ""), of(&RUNTIME_WORKERS, "")), "{{instance}}")
                .objective(0.7)
                .size(8, 8),
            Panel::lines(Unit::Share, "Busy threads of each pod", "How busy the runtime's threads are; those that wait for a core count as busy. Well above the CPU's share, the pod does not get the cores that it believes to have.")
                .ask(format!("rate({}[$__rate_interval]) / {}", of(&RUNTIME_BUSY, ""), of(&RUNTIME_WORKERS, "")), "{{instance}}")
                .size(8, 8),
            Panel::lines(Unit::Share, "Requests in work, of what is allowed", "The fullest pod, by class. At 100 % further requests of that class are answered 503.")
                .ask(format!("max by (class) ({} / {})", of(&ADMITTED, ""), of(&ADMITTED_LIMIT, "")), "{{class}}")
                .size(8, 8),
            Panel::stacked(Unit::Number, "Requests in work", "By operation; listings that wait are among them.")
                .ask(format!("sum by (operation) ({})", of(&REQUESTS_IN_FLIGHT, "")), "{{operation}}")
                .size(8, 8),
            Panel::lines(Unit::Bytes, "Memory of each pod", "Resident memory. It is bounded by the caches' sizes; a steady climb is a fault.")
                .ask(of(&PROCESS_RESIDENT, ""), "{{instance}}")
                .size(8, 8),
            Panel::lines(Unit::PerSecond, "Public-key jobs", "Jobs of the public-key pool by how they ended. Refused ones were answered 503: add public_key_threads or pods.")
                .ask(rate(&PUBLIC_KEY_JOBS, "", "outcome"), "{{outcome}}")
                .size(8, 8),
        ],
    }
}

fn rollout() -> Row {
    Row {
        title: "What is running",
        panels: vec![
            Panel::stacked(Unit::Number, "Pods by version", "During a rollout two versions are here, and then one.")
                .ask(format!("count by (version, revision) ({})", of(&BUILD_INFO, "")), "{{version}} ({{revision}})")
                .size(8, 7),
            Panel::lines(Unit::Seconds, "Time since the start of each pod", "A pod that begins again and again is restarted by somebody: see its log.")
                .ask(format!("time() - {}", of(&PROCESS_START, "")), "{{instance}}")
                .size(8, 7),
            Panel::lines(Unit::PerSecond, "What must stay at nothing", "Stragglers: messages that became visible later than the inconsistent window. Lost hints: messages that are late. Each has an alert.")
                .ask(rate(&STRAGGLERS, "", ""), "stragglers")
                .ask(rate(&HINTS_LOST, "", ""), "lost hints")
                .size(8, 7),
        ],
    }
}
