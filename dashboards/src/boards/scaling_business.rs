//! The second scaling experiment: business logic on nodes of its own, and more of them.

use countersign_metrics::{
    CQL_STATEMENTS, MESSAGES_ACCEPTED, PROCESS_CPU, REQUEST_DURATION, REQUESTS, STORE_CALL_DURATION, VALKEY_COMMANDS,
};

use super::{SENDING, percentiles_of_sending};
use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{amount, nodes, observations, of, quantile, rate, scope};

pub(super) fn dashboard() -> Dashboard {
    let mut variables = scope();
    variables.push(nodes("business", "Business-logic nodes"));
    variables.push(nodes("storage", "Storage nodes"));
    Dashboard {
        uid: "countersign-scaling-2",
        title: "Countersign / Scaling (2): many nodes",
        description: "The second experiment: pods on nodes of their own, beside the storage nodes. Choose at the top which \
                      nodes are which. With another pod throughput grows by as much as the last one brought, as long as the \
                      storage nodes are not full.",
        variables,
        rows: vec![load(), throughput(), duration(), balance()],
        from: "now-15m",
    }
}

fn load() -> Row {
    let cpu = |nodes: &str| {
        format!(
            "sum by (instance) (rate(node_cpu_seconds_total{{instance=~\"${nodes}\",mode!~\"idle|iowait\"}}[$__rate_interval]))"
        )
    };
    Row {
        title: "Load of each node",
        panels: vec![
            Panel::stacked(Unit::Number, "Load of all nodes, stacked", "The system's load of one minute, business logic and storage together: the work that the whole experiment makes.")
                .ask(r#"node_load1{instance=~"$business|$storage"}"#, "{{instance}}")
                .size(8, 8),
            Panel::lines(Unit::Cores, "CPU of business-logic nodes", "Cores in use of each node that was chosen as business logic.")
                .ask(cpu("business"), "{{instance}}")
                .size(8, 8),
            Panel::lines(Unit::Cores, "CPU of storage nodes", "Cores in use of each node that was chosen as storage. When these are full, more pods do not help.")
                .ask(cpu("storage"), "{{instance}}")
                .size(8, 8),
            Panel::stacked(Unit::Cores, "CPU of all pods, stacked", "Cores that the service's own processes use; also where there is no node exporter.")
                .ask(format!("sum by (instance) (rate({}[$__rate_interval]))", of(&PROCESS_CPU, "")), "{{instance}}"),
            Panel::lines(Unit::Cores, "CPU of each pod", "The same, not stacked: pods that share the work evenly lie on each other.")
                .ask(format!("sum by (instance) (rate({}[$__rate_interval]))", of(&PROCESS_CPU, "")), "{{instance}}"),
        ],
    }
}

fn throughput() -> Row {
    Row {
        title: "Throughput",
        panels: vec![
            Panel::stacked(Unit::RequestsPerSecond, "Throughput by operation", "Requests that were answered in a second, by all pods.")
                .ask(rate(&REQUESTS, "", "operation"), "{{operation}}")
                .size(9, 9),
            Panel::lines(Unit::PerSecond, "Store beside Valkey", "What the pods ask of the store (calls, and the CQL statements that they take) and of Valkey. Authentication and waiting are Valkey's, contents and mailboxes the store's.")
                .ask(observations(&STORE_CALL_DURATION, "", ""), "store calls")
                .ask(rate(&CQL_STATEMENTS, "", ""), "CQL statements")
                .ask(rate(&VALKEY_COMMANDS, "", ""), "Valkey commands")
                .size(9, 9),
            Panel::stat(Unit::PerSecond, "New messages", "Messages that were durably stored in a second.")
                .ask(rate(&MESSAGES_ACCEPTED, r#"kind="message""#, ""), "messages")
                .size(6, 9),
        ],
    }
}

fn duration() -> Row {
    Row {
        title: "Sending a message",
        panels: vec![
            Panel::lines(
                Unit::Seconds,
                "Seconds spent on sending, in each second",
                "The sum of the durations of all messages that were answered in a second, by pod.",
            )
            .ask(amount(&REQUEST_DURATION, SENDING, "instance"), "{{instance}}"),
            percentiles_of_sending(
                Panel::lines(
                    Unit::Seconds,
                    "Duration: percentiles",
                    "From a message's head to its answer, over all pods. The line is the objective for p99.",
                ),
                |share| quantile(share, &REQUEST_DURATION, SENDING, ""),
            ),
        ],
    }
}

fn balance() -> Row {
    let each = rate(&REQUESTS, "", "instance");
    Row {
        title: "Balance",
        panels: vec![
            Panel::stacked(Unit::RequestsPerSecond, "Requests by pod", "How the load balancer shares the work.")
                .ask(each.clone(), "{{instance}}")
                .size(16, 7),
            Panel::stat(Unit::Number, "Busiest pod, of the mean", "1 is an even share. Long connections of HTTP/2 can make it uneven: balance requests, not connections.")
                .ask(format!("max({each}) / avg({each})"), "busiest of mean")
                .bad_above(1.3, 2.0)
                .digits(2)
                .size(8, 7),
        ],
    }
}
