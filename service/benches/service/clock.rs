//! The clocks: wall time for ids and nonces, monotonic time for latencies.

use std::sync::LazyLock;

use countersign_protocol::time::UnixMicros;
use countersign_service::clock::{Clock as _, Stopwatch, SystemClock};

static START: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);

/// Returns the wall-clock time.
pub(crate) fn wall() -> UnixMicros {
    SystemClock.now()
}

/// Returns nanoseconds since this program first asked.
pub(crate) fn nanos() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Converts a number for arithmetic where the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a benchmark are far below 2^53")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}
