//! The tests' clock and randomness, and waiting for conditions.

use std::time::{Duration, Instant, SystemTime};

use countersign_protocol::time::{UnixMicros, UnixMillis};
use uuid::Uuid;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a condition may take that should come true soon, on a machine that has much else to do.
pub(crate) const SOON: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "tests of the real binary live in real time")]
pub(crate) fn now() -> UnixMicros {
    SystemTime::now().into()
}

pub(crate) fn now_millis() -> UnixMillis {
    now().to_millis()
}

#[expect(clippy::disallowed_methods, reason = "tests of the real binary live in real time")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Returns a new random id of any kind.
#[expect(clippy::disallowed_methods, reason = "tests run in parallel and must not meet each other's ids")]
pub(crate) fn random<T: From<Uuid>>() -> T {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid().into()
}

/// Waits until `look` returns something, and returns it.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(SOON, what, look).await
}

/// Waits until `look` returns something, for at most `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = monotonic();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(monotonic().duration_since(start) < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for a future, for at most a minute.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}
