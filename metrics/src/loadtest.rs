//! The load tester, as a client sees the service.

use crate::{Label, Metric, counter, gauge, label, seconds};

/// What the load tester does.
pub const LOADTEST_OPERATIONS: &[&str] = &[
    "request_session_key",
    "send_message",
    "list_messages",
    "read_message",
    "confirm_fetched",
    "acknowledge_message",
];

/// How a request of the load tester can end.
pub const LOADTEST_OUTCOMES: &[&str] = &["ok", "refused", "failed", "timeout"];

const OPERATION: Label = label("operation", LOADTEST_OPERATIONS);

/// What was due.
pub const LOADTEST_OFFERED: Metric = counter(
    "countersign_loadtest_requests_offered_total",
    "requests",
    &[OPERATION],
    "Requests that were due by the schedule, whether they could be sent or not.",
);

/// What was done.
pub const LOADTEST_REQUESTS: Metric = counter(
    "countersign_loadtest_requests_total",
    "requests",
    &[OPERATION, label("outcome", LOADTEST_OUTCOMES)],
    "Requests that ended, by operation and outcome.",
);

/// How late the generator is.
pub const LOADTEST_SCHEDULE_LAG: Metric = seconds(
    "countersign_loadtest_schedule_lag_seconds",
    &[],
    &[0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0],
    "How much later than intended requests began, by the generator's own fault. Where it grows, the figures are the \
     generator's and not the service's.",
);

/// How long requests take.
pub const LOADTEST_DURATION: Metric = seconds(
    "countersign_loadtest_request_duration_seconds",
    &[OPERATION],
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0],
    "Time from the intended start of a request to its end.",
);

/// What was lost.
pub const LOADTEST_LOST: Metric = gauge(
    "countersign_loadtest_messages_lost",
    "messages",
    &[],
    "Messages that were answered 201 and are not where they should be by the ledger: must be 0.",
);

/// What is late.
pub const LOADTEST_LATE: Metric = gauge(
    "countersign_loadtest_messages_late",
    "messages",
    &[],
    "Messages that were answered 201 and have not arrived, longer than they should need.",
);
