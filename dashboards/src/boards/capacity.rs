//! What there is room for, and what it costs.

use countersign_metrics::{
    ADMITTED, ADMITTED_LIMIT, MESSAGES_ACCEPTED, PROCESS_CPU, READY, REQUESTS, RUNTIME_WORKERS,
};

use crate::model::{Dashboard, Panel, Row, Unit, Variable};
use crate::query::{FLEET, of, rate, scope};

const MESSAGES: &str = r#"kind="message""#;

pub(super) fn dashboard() -> Dashboard {
    let mut variables = scope();
    variables.push(Variable::Number { name: "target", title: "Share of CPU at the knee", value: "0.7" });
    variables.push(Variable::Number { name: "price", title: "Dollars for a core and hour", value: "0.04" });
    Dashboard {
        uid: "countersign-capacity",
        title: "Countersign / Capacity",
        description: "How many pods are needed and why, how far the knee is, and what a message costs. The knee is the share \
                      of CPU from which latency grows faster than throughput; the load tester's capacity run finds it.",
        variables,
        rows: vec![now(), course(), cost()],
        from: "now-3h",
    }
}

/// Cores in use by all pods.
fn used() -> String {
    format!("sum(rate({}[$__rate_interval]))", of(&PROCESS_CPU, ""))
}

/// Cores that all pods may use.
fn available() -> String {
    format!("sum({})", of(&RUNTIME_WORKERS, ""))
}

fn now() -> Row {
    Row {
        title: "Now",
        panels: vec![
            Panel::stat(Unit::Share, "Headroom to the knee", "How much more work the pods take before their CPU is at the knee. Scale out before it is gone.")
                .ask(format!("1 - {} / ({} * $target)", used(), available()), "headroom")
                .good_above(0.1, 0.25)
                .digits(0)
                .size(6, 5),
            Panel::stat(Unit::PerSecond, "Messages at the knee", "New messages a second that the pods of now would take at the knee, if each costs what it costs now.")
                .ask(format!("{} * ({} * $target) / {}", rate(&MESSAGES_ACCEPTED, MESSAGES, ""), available(), used()), "messages")
                .size(6, 5),
            Panel::stat(Unit::Number, "Pods there are", "Pods that are ready.")
                .ask(format!("sum({})", of(&READY, "")), "pods")
                .size(6, 5),
            Panel::stat(Unit::Number, "Pods that are needed", "The most that any reason asks for.")
                .ask(format!("max(countersign:required_replicas:count{{{FLEET}}})"), "pods")
                .size(6, 5),
            Panel::bars(Unit::Number, "Pods that are needed, by reason", "availability: two, so that one may go. cpu: at 70 % of the cores. admission: at 70 % of the requests that may be in work. latency: one more than there are, while sending misses its objective.")
                .ask(format!("max by (reason) (countersign:required_replicas:count{{{FLEET}}})"), "{{reason}}")
                .digits(0)
                .size(12, 7),
            Panel::lines(Unit::Number, "Pods: needed and there", "Where needed stays above there, the autoscaler is at its maximum, or cannot get nodes.")
                .ask(format!("max by (reason) (countersign:required_replicas:count{{{FLEET}}})"), "needed for {{reason}}")
                .ask(format!("sum({})", of(&READY, "")), "ready")
                .size(12, 7),
        ],
    }
}

fn course() -> Row {
    let throughput = rate(&REQUESTS, "", "");
    Row {
        title: "Throughput and pods",
        panels: vec![
            Panel::lines(Unit::RequestsPerSecond, "Throughput of a pod", "Requests a second, divided by the pods that are ready. It stays level when pods are added, as long as nothing that they share is full.")
                .ask(format!("{throughput} / sum({})", of(&READY, "")), "of each pod, on average")
                .size(8, 8),
            Panel::lines(Unit::RequestsPerSecond, "Throughput", "Requests a second of all pods.")
                .ask(throughput, "all pods")
                .size(8, 8),
            Panel::lines(Unit::Share, "What is used of what there is", "CPU of the cores, and requests in work of those that may be. The line is the usual knee.")
                .ask(format!("{} / {}", used(), available()), "CPU")
                .ask(format!("sum by (class) ({}) / sum by (class) ({})", of(&ADMITTED, ""), of(&ADMITTED_LIMIT, "")), "{{class}} in work")
                .objective(0.7)
                .size(8, 8),
        ],
    }
}

fn cost() -> Row {
    let each = format!("{} / {}", used(), rate(&MESSAGES_ACCEPTED, MESSAGES, ""));
    Row {
        title: "Cost",
        panels: vec![
            Panel::lines(Unit::Seconds, "CPU time of a message", "CPU seconds of all pods for each new message, with all that is done for it: authentication, listing, reading, confirming.")
                .ask(each.clone(), "of each new message"),
            Panel::lines(Unit::Dollars, "Cost of a million messages", "CPU time of a million new messages at the price above. Pods only: the store's nodes are counted where they are bought.")
                .ask(format!("{each} * 1000000 / 3600 * $price"), "pods, for a million messages"),
        ],
    }
}
