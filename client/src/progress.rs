//! Progress of what takes longer than a second, on a terminal only.

use std::time::Duration;

use countersign_client::account::{Event, Progress};
use countersign_client::{Account, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::broadcast::error::RecvError;

use crate::output::Output;

const PATIENCE: Duration = Duration::from_secs(1);

/// Does work, and shows how far it is once it has taken a second.
pub(crate) async fn shown<T>(account: &Account, output: Output, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut events = account.events();
    let bar = ProgressBar::hidden();
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    let visible = !output.is_json();
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(work, patience);
    let mut waiting = true;
    loop {
        tokio::select! {
            result = &mut work => {
                bar.finish_and_clear();
                return result;
            }
            () = &mut patience, if waiting => {
                waiting = false;
                if visible {
                    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                }
            }
            event = events.recv() => match event {
                Ok(Event::Progress { what, done, total }) => {
                    bar.set_message(name(what));
                    bar.set_length(total);
                    bar.set_position(done);
                }
                Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => {}
            },
        }
    }
}

const fn name(what: Progress) -> &'static str {
    match what {
        Progress::Preparing => "signing and encrypting",
        Progress::Sending => "sending",
        Progress::Receiving => "receiving",
        Progress::Acknowledging => "sending receipts",
    }
}
