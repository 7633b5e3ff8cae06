//! What the service depends on: the store, the ephemeral store, and what goes to their servers.

use crate::{Label, Metric, counter, gauge, label, seconds};

/// The calls of the store, by the names of their methods.
pub const STORE_CALLS: &[&str] = &[
    "append",
    "log",
    "put_user",
    "user",
    "users",
    "claim_place",
    "clients",
    "free_place",
    "put",
    "message",
    "items",
    "add_fetched",
    "fetched",
    "fetched_among",
];

/// The calls of the ephemeral store, by the names of their methods.
pub const EPHEMERAL_CALLS: &[&str] = &[
    "begin_session",
    "session",
    "admit",
    "admit_password",
    "end_session",
    "end_sessions",
    "listing_state",
    "remember",
    "arrived",
    "wake_up",
];

/// The statements of the store in CQL.
pub const STATEMENTS: &[&str] = &[
    "insert_message",
    "select_message",
    "insert_item",
    "select_items",
    "insert_fetched",
    "select_fetched",
    "select_fetched_among",
    "append_entry",
    "select_log",
    "select_entry_writer",
    "put_user",
    "select_user",
    "select_users",
    "claim_place",
    "select_places",
    "free_place",
    "look_at_places",
];

/// How a call can end.
pub const CALL_OUTCOMES: &[&str] = &["ok", "error"];

const CALL_BUCKETS: &[f64] =
    &[0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

const OUTCOME: Label = label("outcome", CALL_OUTCOMES);

/// Calls of the store.
pub const STORE_CALL_DURATION: Metric = seconds(
    "countersign_store_call_duration_seconds",
    &[label("call", STORE_CALLS), OUTCOME],
    CALL_BUCKETS,
    "Time of calls of the store, by call and outcome.",
);

/// Calls of the ephemeral store.
pub const EPHEMERAL_CALL_DURATION: Metric = seconds(
    "countersign_ephemeral_call_duration_seconds",
    &[label("call", EPHEMERAL_CALLS), OUTCOME],
    CALL_BUCKETS,
    "Time of calls of the ephemeral store, with those that this process's memory answers.",
);

/// Statements.
pub const CQL_STATEMENTS: Metric = counter(
    "countersign_cql_statements_total",
    "statements",
    &[label("statement", STATEMENTS)],
    "Statements sent to a store in CQL; each page of a read and each batch counts as one.",
);

/// Commands to Valkey.
pub const VALKEY_COMMANDS: Metric = counter(
    "countersign_valkey_commands_total",
    "commands",
    &[OUTCOME],
    "Commands sent to Valkey, subscriptions among them; what the client library repeats by itself counts once.",
);

/// How long they take.
pub const VALKEY_COMMAND_DURATION: Metric = seconds(
    "countersign_valkey_command_duration_seconds",
    &[],
    CALL_BUCKETS,
    "Time until Valkey answered a command, or until it was given up.",
);

/// Clients that are remembered.
pub const EPHEMERAL_CLIENTS: Metric = gauge(
    "countersign_ephemeral_clients",
    "clients",
    &[],
    "Clients with a session or a nonce to remember, in this process.",
);
