//! Logs: JSON lines, or text for people on a terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::json_lines::JsonLines;
use super::line_buffer::{LineBuffer, LineWriter};
use super::traces::Traces;
use crate::clock::SystemClock;
use crate::config::LogFormat;

/// Writes what waits when it is dropped.
#[must_use = "what waits to be written is lost when this is dropped too early"]
pub struct Logs(#[expect(dead_code, reason = "its drop is what matters")] LineWriter);

/// Why there can be no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter.
    #[error("the log filter is not valid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The thread.
    #[error("there is no thread to write the log")]
    Thread(#[from] std::io::Error),
}

/// Starts to write logs to standard error, by a thread of its own, with the time of the machine; and to send traces.
///
/// # Errors
/// If the filter is not valid, or the system has no thread.
pub fn start(filter: &str, format: LogFormat, traces: Option<&Traces>) -> Result<Logs, LogError> {
    let filter = EnvFilter::try_new(filter)?;
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let (lines, writer) = LineBuffer::start(std::io::stderr())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(lines);
    let layer = if json {
        let lines = JsonLines::new(Arc::new(SystemClock));
        let lines = if traces.is_some() { lines.with_trace_ids() } else { lines };
        layer.fmt_fields(JsonFields::new()).event_format(lines).boxed()
    } else {
        layer.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // Only a second start in one process fails, as in tests: the first one goes on.
    let _ = match traces {
        // One filter for all, which is asked before anything of a line is made.
        None => tracing_subscriber::registry().with(layer).with(filter).try_init(),
        Some(traces) => {
            tracing_subscriber::registry().with(layer.with_filter(filter)).with(traces.layer()).try_init()
        }
    };
    Ok(Logs(writer))
}
