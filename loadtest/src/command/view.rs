//! How a load test is shown while it runs: bars on a terminal, lines in a log.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use countersign_loadtest::ledger::Progress;
use countersign_loadtest::load::View;
use countersign_loadtest::measure::Second;
use indicatif::{ProgressBar, ProgressStyle};

/// How many seconds are summed up in one line of a log.
const LINE: u64 = 10;

/// Shows it to whoever reads standard error.
pub(crate) struct Shown {
    terminal: bool,
    duration: Duration,
    bar: Mutex<Option<(&'static str, ProgressBar)>>,
}

impl Shown {
    pub(crate) fn new(duration: Duration) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), duration, bar: Mutex::new(None) }
    }

    /// Shows how much of something there is, and a message beside it.
    fn show(&self, what: &'static str, done: u64, of: u64, message: String) {
        let mut bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if bar.as_ref().is_none_or(|(shown, _)| *shown != what) {
            if let Some((_, old)) = bar.take() {
                old.finish();
            }
            let new = ProgressBar::new(of);
            // The template is a constant; without it there is the default.
            if let Ok(style) = ProgressStyle::with_template("{prefix:>9} {bar:30} {pos}/{len}  {msg}") {
                new.set_style(style);
            }
            new.set_prefix(what);
            *bar = Some((what, new));
        }
        if let Some((_, bar)) = &*bar {
            bar.set_position(done);
            bar.set_message(message);
        }
    }

    /// Leaves the terminal as it is.
    pub(crate) fn end(&self) {
        if let Some((_, bar)) = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

fn in_words(second: &Second, progress: &Progress) -> String {
    let [_, sent, listed, read, ..] = second.done;
    let dropped = if progress.skipped == 0 { String::new() } else { format!(", {} dropped", progress.skipped) };
    let failed = if second.failed == 0 { String::new() } else { format!(", {} failed", second.failed) };
    format!(
        "{sent} sent/s, {listed} checks/s, {read} read/s, p99 {:.1} ms, {} on the way{failed}{dropped}",
        second.send.at(0.99).as_secs_f64() * 1e3,
        progress.outstanding(),
    )
}

impl View for Shown {
    fn set_up(&self, what: &'static str, done: usize, of: usize) {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        if self.terminal {
            self.show(what, number(done), number(of), String::new());
        } else if done == of {
            tracing::info!("{done} {what} are ready");
        }
    }

    fn running(&self, second: &Second, progress: &Progress) {
        let text = in_words(second, progress);
        if self.terminal {
            self.show("seconds", second.second + 1, self.duration.as_secs(), text);
        } else if second.second % LINE == LINE - 1 {
            tracing::info!("{:>5} s  {text}", second.second + 1);
        }
    }

    fn draining(&self, outstanding: u64) {
        self.end();
        if outstanding > 0 {
            tracing::info!("waiting for {outstanding} deliveries");
        }
    }
}
