//! Logs: JSON lines, or text for people on a terminal.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Lines that may wait to be written. Beyond it lines are dropped: a reader of the log that has stopped reading must not
/// stop the service.
const WAITING_LINES: usize = 64 * 1024;

/// Writes what waits when it is dropped.
#[must_use = "what waits to be written is lost when this is dropped too early"]
pub struct Logs(#[expect(dead_code, reason = "its drop is what matters")] WorkerGuard);

/// Starts to write logs to standard error, by a thread of its own.
///
/// # Errors
/// If the filter is not valid.
pub fn start(filter: &str, format: LogFormat) -> Result<Logs, ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // Only a second start in one process fails, as in tests: the first one goes on.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    Ok(Logs(guard))
}
