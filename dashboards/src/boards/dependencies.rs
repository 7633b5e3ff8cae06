//! The store and Valkey, as the service sees them; and the clocks of clients.

use countersign_metrics::{
    AUTHENTICATIONS, CLOCK_OFFSET, CQL_STATEMENTS, EPHEMERAL_CALL_DURATION, EPHEMERAL_CLIENTS, PROCESS_MAX_FDS,
    PROCESS_OPEN_FDS, PROCESS_THREADS, PUBLIC_KEY_JOB_DURATION, PUBLIC_KEY_THREADS, PUBLIC_KEY_WAIT,
    PUBLIC_KEY_WAITING, RUNTIME_QUEUE, RUNTIME_TASKS, STORE_CALL_DURATION, VALKEY_COMMAND_DURATION, VALKEY_COMMANDS,
};

use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{observations, of, quantile, rate, scope};

const FAILED: &str = r#"outcome="error""#;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "countersign-dependencies",
        title: "Countersign / Dependencies",
        description: "What the service asks of the store and of Valkey, how long they take to answer, and how often they do not. \
                      Where these are well and the service is not, the fault is in the service.",
        variables: scope(),
        rows: vec![store(), valkey(), authentication(), process()],
        from: "now-1h",
    }
}

fn store() -> Row {
    Row {
        title: "Store: what must last",
        panels: vec![
            Panel::stacked(Unit::PerSecond, "Calls by method", "What the service asks of the store: put writes a message, items and fetched are the two sides of a full merge, log reads an organization's log.")
                .ask(observations(&STORE_CALL_DURATION, "", "call"), "{{call}}")
                .size(8, 9),
            Panel::lines(Unit::Seconds, "p99 by method", "99 of 100 calls of each method are done within this, all their statements and repeats included.")
                .ask(quantile(0.99, &STORE_CALL_DURATION, r#"outcome="ok""#, "call"), "{{call}}")
                .size(8, 9),
            Panel::lines(Unit::PerSecond, "Failed calls by method", "Each makes a request fail with 503: a quorum is missing, or a node does not answer in time.")
                .ask(observations(&STORE_CALL_DURATION, FAILED, "call"), "{{call}}")
                .size(8, 9),
            Panel::stacked(Unit::PerSecond, "CQL statements", "Statements that were sent to the cluster, pages and batches as one each; none with the embedded store. All are prepared, token-aware and paged.")
                .ask(rate(&CQL_STATEMENTS, "", "statement"), "{{statement}}")
                .size(24, 9),
        ],
    }
}

fn valkey() -> Row {
    Row {
        title: "Valkey: what may vanish",
        panels: vec![
            Panel::stacked(Unit::PerSecond, "Calls by method", "What the service asks of the ephemeral store. A session is mostly answered from the pod's memory; the others are trips.")
                .ask(observations(&EPHEMERAL_CALL_DURATION, "", "call"), "{{call}}")
                .size(8, 9),
            Panel::lines(Unit::Seconds, "p99 by method", "99 of 100 calls of each method are done within this.")
                .ask(quantile(0.99, &EPHEMERAL_CALL_DURATION, r#"outcome="ok""#, "call"), "{{call}}")
                .size(8, 9),
            Panel::lines(Unit::PerSecond, "Failed calls by method", "Those of admit make a request fail with 503; those of arrived and remember make a message late.")
                .ask(observations(&EPHEMERAL_CALL_DURATION, FAILED, "call"), "{{call}}")
                .size(8, 9),
            Panel::stacked(Unit::PerSecond, "Commands to Valkey", "What went over the network, by outcome.")
                .ask(rate(&VALKEY_COMMANDS, "", "outcome"), "{{outcome}}")
                .size(8, 8),
            Panel::lines(Unit::Seconds, "Time of a command", "Until Valkey answered, or the command was given up.")
                .ask(quantile(0.5, &VALKEY_COMMAND_DURATION, "", ""), "p50")
                .ask(quantile(0.99, &VALKEY_COMMAND_DURATION, "", ""), "p99")
                .size(8, 8),
            Panel::lines(Unit::Number, "Clients that a pod remembers", "Sessions in the memory of each pod; bounded by cached_sessions.")
                .ask(of(&EPHEMERAL_CLIENTS, ""), "{{instance}}")
                .size(8, 8),
        ],
    }
}

fn authentication() -> Row {
    Row {
        title: "Authentication",
        panels: vec![
            Panel::lines(Unit::RequestsPerSecond, "Refused authentications", "By reason. nonce-reused: a replay, or a client that does not count. nonce-out-of-window: somebody's clock. session-unknown: sessions ended, or Valkey lost its memory; clients fetch new keys.")
                .ask(rate(&AUTHENTICATIONS, r#"outcome!="ok""#, "method, outcome"), "{{method}}: {{outcome}}")
                .size(8, 9),
            Panel::lines(Unit::Seconds, "Clocks of clients, against each pod's", "The median of how much later clients' clocks are. All pods off together: the clients. One pod off: that pod.")
                .ask(quantile(0.5, &CLOCK_OFFSET, "", "instance"), "{{instance}}")
                .signed()
                .size(8, 9),
            Panel::lines(Unit::Seconds, "Public-key work", "How long jobs wait for a thread, and how long they take on it.")
                .ask(quantile(0.99, &PUBLIC_KEY_WAIT, "", ""), "waiting, p99")
                .ask(quantile(0.5, &PUBLIC_KEY_JOB_DURATION, "", ""), "working, p50")
                .ask(quantile(0.99, &PUBLIC_KEY_JOB_DURATION, "", ""), "working, p99")
                .size(8, 9),
        ],
    }
}

fn process() -> Row {
    Row {
        title: "Process",
        panels: vec![
            Panel::lines(Unit::Number, "Public-key jobs that wait", "And how many threads they wait for.")
                .ask(format!("sum({})", of(&PUBLIC_KEY_WAITING, "")), "jobs that wait")
                .ask(format!("sum({})", of(&PUBLIC_KEY_THREADS, "")), "threads")
                .size(8, 8),
            Panel::lines(Unit::Number, "Tasks of each pod", "A few for each connection and waiting listing.")
                .ask(of(&RUNTIME_TASKS, ""), "{{instance}}")
                .size(8, 8),
            Panel::lines(
                Unit::Number,
                "Tasks that wait for a thread",
                "In the shared queue of the runtime; high while the pod has too little CPU.",
            )
            .ask(of(&RUNTIME_QUEUE, ""), "{{instance}}")
            .size(8, 8),
            Panel::lines(Unit::Share, "File descriptors, of what is allowed", "Connections, mostly.")
                .ask(format!("{} / {}", of(&PROCESS_OPEN_FDS, ""), of(&PROCESS_MAX_FDS, "")), "{{instance}}")
                .size(12, 7),
            Panel::lines(Unit::Number, "Threads", "Of the system, for each pod.")
                .ask(of(&PROCESS_THREADS, ""), "{{instance}}")
                .size(12, 7),
        ],
    }
}
