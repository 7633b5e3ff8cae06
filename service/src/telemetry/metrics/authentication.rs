//! Who signed, and the public-key work that it took to know.

use std::collections::HashMap;
use std::time::Duration;

use countersign_metrics::{
    AUTHENTICATION_METHODS, AUTHENTICATION_OUTCOMES, AUTHENTICATIONS, CLOCK_OFFSET, PUBLIC_KEY_JOB_DURATION,
    PUBLIC_KEY_JOBS, PUBLIC_KEY_THREADS, PUBLIC_KEY_WAIT, PUBLIC_KEY_WAITING,
};
use prometheus::{Histogram, IntCounter, IntGauge};

use super::Metrics;
use super::registered::Registrar;
use crate::openpgp::{JobOutcome, PoolObserver};
use crate::session::{Method, SessionError, SessionObserver};

pub(super) struct AuthenticationMetrics {
    outcomes: HashMap<(&'static str, &'static str), IntCounter>,
    clock_offset: Histogram,
    jobs: HashMap<JobOutcome, IntCounter>,
    job_duration: Histogram,
    wait: Histogram,
    waiting: IntGauge,
    threads: IntGauge,
}

impl AuthenticationMetrics {
    pub(super) fn register(registrar: &Registrar<'_>) -> Self {
        let authentications = registrar.counters(&AUTHENTICATIONS);
        let jobs = registrar.counters(&PUBLIC_KEY_JOBS);
        let pairs = AUTHENTICATION_METHODS
            .iter()
            .flat_map(|method| AUTHENTICATION_OUTCOMES.iter().map(move |outcome| (*method, *outcome)));
        Self {
            outcomes: pairs
                .map(|(method, outcome)| ((method, outcome), authentications.with_label_values(&[method, outcome])))
                .collect(),
            clock_offset: registrar.histogram(&CLOCK_OFFSET),
            jobs: JobOutcome::ALL
                .into_iter()
                .map(|outcome| (outcome, jobs.with_label_values(&[job_outcome(outcome)])))
                .collect(),
            job_duration: registrar.histogram(&PUBLIC_KEY_JOB_DURATION),
            wait: registrar.histogram(&PUBLIC_KEY_WAIT),
            waiting: registrar.gauge(&PUBLIC_KEY_WAITING),
            threads: registrar.gauge(&PUBLIC_KEY_THREADS),
        }
    }
}

impl Metrics {
    /// Sets how many public-key jobs wait, and for how many threads.
    pub fn public_key_pool(&self, waiting: usize, threads: usize) {
        self.authentication.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.authentication.threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
    }
}

impl SessionObserver for Metrics {
    fn authenticated(&self, method: Method, refusal: Option<&SessionError>) {
        let method = match method {
            Method::Session => "session",
            Method::OpenPgp => "openpgp",
        };
        if let Some(counter) = self.authentication.outcomes.get(&(method, outcome(refusal))) {
            counter.inc();
        }
    }

    fn clock_offset(&self, seconds: f64) {
        self.authentication.clock_offset.observe(seconds);
    }
}

fn outcome(refusal: Option<&SessionError>) -> &'static str {
    match refusal {
        None => "ok",
        Some(SessionError::SignatureInvalid) => "signature-invalid",
        Some(SessionError::NonceOutOfWindow) => "nonce-out-of-window",
        Some(SessionError::NonceReused) => "nonce-reused",
        Some(SessionError::SessionUnknown) => "session-unknown",
        Some(SessionError::ClientLimit) => "client-limit",
        Some(SessionError::Encryption(_)) => "encryption-failed",
        Some(SessionError::Pool(_)) => "pool-full",
        Some(SessionError::Store(_)) => "store-failed",
        Some(SessionError::Ephemeral(_)) => "ephemeral-failed",
    }
}

impl PoolObserver for Metrics {
    fn ended(&self, outcome: JobOutcome, waited: Duration, worked: Duration) {
        if let Some(counter) = self.authentication.jobs.get(&outcome) {
            counter.inc();
        }
        if outcome == JobOutcome::Refused {
            return;
        }
        self.authentication.wait.observe(waited.as_secs_f64());
        if outcome == JobOutcome::Done {
            self.authentication.job_duration.observe(worked.as_secs_f64());
        }
    }
}

fn job_outcome(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Done => "done",
        JobOutcome::Abandoned => "abandoned",
        JobOutcome::Broken => "broken",
        JobOutcome::Refused => "refused",
    }
}
