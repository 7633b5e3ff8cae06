//! The first scaling experiment: one node, and clients until it is full.

use countersign_metrics::{MESSAGES_ACCEPTED, PROCESS_CPU, REQUEST_DURATION, REQUESTS, RUNTIME_WORKERS};

use super::{SENDING, percentiles_of_sending};
use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{amount, mean, nodes, of, quantile, rate, scope};

pub(super) fn dashboard() -> Dashboard {
    let mut variables = scope();
    variables.push(nodes("node", "Node"));
    Dashboard {
        uid: "countersign-scaling-1",
        title: "Countersign / Scaling (1): one node",
        description: "The first experiment: everything on one node, and more and more clients. Throughput grows with the load \
                      until the node is full; from then on only the duration grows.",
        variables,
        rows: vec![throughput(), duration(), node()],
        from: "now-15m",
    }
}

fn throughput() -> Row {
    Row {
        title: "Throughput",
        panels: vec![
            Panel::stacked(
                Unit::RequestsPerSecond,
                "Throughput by operation",
                "Requests that were answered in a second.",
            )
            .ask(rate(&REQUESTS, "", "operation"), "{{operation}}")
            .size(18, 9),
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
            Panel::lines(Unit::Seconds, "Seconds spent on sending, in each second", "The sum of the durations of all messages that were answered in a second: how many requests were in work at once, on average. It bends upwards where the node is full.")
                .ask(amount(&REQUEST_DURATION, SENDING, ""), "seconds a second"),
            percentiles_of_sending(
                Panel::lines(Unit::Seconds, "Duration: mean and percentiles", "From a message's head to its answer. The line is the objective for p99.")
                    .ask(mean(&REQUEST_DURATION, SENDING, ""), "mean"),
                |share| quantile(share, &REQUEST_DURATION, SENDING, ""),
            ),
        ],
    }
}

fn node() -> Row {
    Row {
        title: "The node",
        panels: vec![
            Panel::lines(Unit::Number, "Load of the node", "The system's load of one minute: tasks that run or want to. The line of cores is where the node is full.")
                .ask(r#"node_load1{instance=~"$node"}"#, "load of {{instance}}")
                .ask(r#"count by (instance) (node_cpu_seconds_total{instance=~"$node",mode="idle"})"#, "cores of {{instance}}")
                .size(8, 8),
            Panel::stacked(Unit::Cores, "CPU of the node by use", "Cores in use, by what for. Steal is what another machine took.")
                .ask(r#"sum by (mode) (rate(node_cpu_seconds_total{instance=~"$node",mode!="idle"}[$__rate_interval]))"#, "{{mode}}")
                .size(8, 8),
            Panel::lines(Unit::Share, "CPU of the service, of its cores", "The service alone, as a share of the cores that it may use.")
                .ask(format!("rate({}[$__rate_interval]) / {}", of(&PROCESS_CPU, ""), of(&RUNTIME_WORKERS, "")), "{{instance}}")
                .size(8, 8),
        ],
    }
}
