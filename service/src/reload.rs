//! Files that are read again when they change: certificates are rotated while requests run.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs `reload` whenever one of the files has changed, until `stop`. What it fails with is logged, and changes nothing.
pub async fn on_change<E: std::error::Error + 'static>(
    files: Vec<PathBuf>,
    what: &'static str,
    mut reload: impl FnMut() -> Result<(), E> + Send,
    stop: CancellationToken,
) {
    let mut seen = modified(&files).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        let now = modified(&files).await;
        if now == seen {
            continue;
        }
        seen = now;
        match reload() {
            Ok(()) => tracing::info!(what, "read again after a change"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(what, error, "cannot be used after a change; what was read before stays in force");
            }
        }
    }
}

async fn modified(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let mut times = Vec::with_capacity(files.len());
    for file in files {
        times.push(tokio::fs::metadata(file).await.and_then(|metadata| metadata.modified()).ok());
    }
    times
}
