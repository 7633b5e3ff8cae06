//! Who signed: outcomes, clocks, and the public-key pool.

use crate::{Metric, counter, gauge, label, seconds};

/// By what a request is authenticated: a session key, or an OpenPGP signature that asks for one.
pub const AUTHENTICATION_METHODS: &[&str] = &["session", "openpgp"];

/// How an authentication can end.
pub const AUTHENTICATION_OUTCOMES: &[&str] = &[
    "ok",
    "signature-invalid",
    "nonce-out-of-window",
    "nonce-reused",
    "session-unknown",
    "client-limit",
    "encryption-failed",
    "pool-full",
    "store-failed",
    "ephemeral-failed",
];

/// How a job of the public-key pool can end.
pub const PUBLIC_KEY_OUTCOMES: &[&str] = &["done", "abandoned", "broken", "refused"];

/// Authentications.
pub const AUTHENTICATIONS: Metric = counter(
    "countersign_authentications_total",
    "requests",
    &[label("method", AUTHENTICATION_METHODS), label("outcome", AUTHENTICATION_OUTCOMES)],
    "Requests that were authenticated or refused. Those without any signature are only in \
     countersign_requests_total, as signature-missing.",
);

/// How far clocks are apart.
pub const CLOCK_OFFSET: Metric = seconds(
    "countersign_client_clock_offset_seconds",
    &[],
    &[
        -30.0, -10.0, -5.0, -2.0, -1.0, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
        1.0, 2.0, 5.0, 10.0, 30.0,
    ],
    "How much later than this process's clock the time in a request's nonce is, for signatures that are good or whose \
     nonce is outside the window. One process whose median differs from the others' has a wrong clock. Its sum is of no use.",
);

/// Jobs of the pool.
pub const PUBLIC_KEY_JOBS: Metric = counter(
    "countersign_public_key_jobs_total",
    "jobs",
    &[label("outcome", PUBLIC_KEY_OUTCOMES)],
    "Public-key jobs: done; abandoned, since nobody waited any more; broken by a panic; refused, since the queue was full.",
);

const JOB_BUCKETS: &[f64] = &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How long a job takes.
pub const PUBLIC_KEY_JOB_DURATION: Metric = seconds(
    "countersign_public_key_job_duration_seconds",
    &[],
    JOB_BUCKETS,
    "Time of public-key jobs on their thread.",
);

/// How long it waits.
pub const PUBLIC_KEY_WAIT: Metric = seconds(
    "countersign_public_key_wait_seconds",
    &[],
    JOB_BUCKETS,
    "Time that public-key jobs waited for a thread.",
);

/// Jobs that wait.
pub const PUBLIC_KEY_WAITING: Metric =
    gauge("countersign_public_key_jobs_waiting", "jobs", &[], "Public-key jobs that wait for a thread.");

/// Threads of the pool.
pub const PUBLIC_KEY_THREADS: Metric =
    gauge("countersign_public_key_threads", "threads", &[], "Threads for public-key work.");
