//! Requests: how many, how they end, how long they take, and how many may be in work.

use crate::{Label, Metric, counter, gauge, label, seconds};

/// The operations, as the service's routes name them.
pub const OPERATIONS: &[&str] = &[
    "list_users",
    "create_organization",
    "read_log",
    "read_user",
    "add_user",
    "update_user",
    "request_session_key",
    "list_clients",
    "remove_client",
    "confirm_fetched",
    "list_messages",
    "send_message",
    "read_message",
    "acknowledge_message",
    "unknown_path",
    "unknown_method",
];

/// How a request can end: well, without anybody to answer, in some other way, or with one of the [`PROBLEMS`].
pub const OUTCOMES: &[&str] = &[
    "ok",
    "client-gone",
    "other",
    "malformed-request",
    "signature-missing",
    "signature-invalid",
    "nonce-out-of-window",
    "nonce-reused",
    "session-unknown",
    "forbidden",
    "two-man-rule",
    "client-limit",
    "not-found",
    "unknown-recipient",
    "method-not-allowed",
    "request-timeout",
    "log-moved",
    "exists",
    "statement-expired",
    "last-administrator",
    "id-out-of-window",
    "content-too-large",
    "wrong-id",
    "bad-certificate",
    "rate-limited",
    "internal",
    "unavailable",
    "storage-full",
];

/// The problems that a request can end with, as the protocol names them: the [`OUTCOMES`] after the first three.
pub const PROBLEMS: &[&str] = match OUTCOMES.split_first_chunk::<3>() {
    Some((_, problems)) => problems,
    None => panic!("there are more than three outcomes"),
};

/// The outcomes that are the service's fault: these count against its availability.
pub const FAILURES: &[&str] = &["internal", "unavailable", "storage-full"];

/// The classes of requests that have bounds of their own.
pub const ADMISSION_CLASSES: &[&str] = &["reads", "writes", "waits", "public-key"];

const OPERATION: Label = label("operation", OPERATIONS);

/// Requests.
pub const REQUESTS: Metric = counter(
    "countersign_requests_total",
    "requests",
    &[OPERATION, label("outcome", OUTCOMES)],
    "Requests that were answered, by operation and outcome: ok, a problem's name, or client-gone.",
);

/// How long they take.
pub const REQUEST_DURATION: Metric = seconds(
    "countersign_request_duration_seconds",
    &[OPERATION],
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0],
    "Time from a request's head to its answer. A listing that waits for something new is as long as its wait.",
);

/// How many are in work.
pub const REQUESTS_IN_FLIGHT: Metric =
    gauge("countersign_requests_in_flight", "requests", &[OPERATION], "Requests in work.");

/// Refusals.
pub const REJECTIONS: Metric = counter(
    "countersign_rejections_total",
    "requests",
    &[label("reason", PROBLEMS)],
    "Requests that were refused, by problem; the sum over the operations of countersign_requests_total.",
);

/// How many are in work, by class.
pub const ADMITTED: Metric = gauge(
    "countersign_admitted_requests",
    "requests",
    &[label("class", ADMISSION_CLASSES)],
    "Requests in work, by the class that bounds them: waits are listings that wait for something new.",
);

/// How many may be.
pub const ADMITTED_LIMIT: Metric = gauge(
    "countersign_admitted_requests_limit",
    "requests",
    &[label("class", ADMISSION_CLASSES)],
    "Requests that may be in work, by class; beyond it they are answered 503 at once.",
);
