//! Where a service that was just started listens, and whether it is ready.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use countersign_client::connection::{HttpClient, ServerUrl, Trust};
use serde_json::Value;
use tokio::process::Child;

use crate::clock::Stopwatch;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a service that was just started is ready, and returns its public address.
///
/// # Errors
/// If it ends, or is not ready within `limit`.
pub async fn until_ready(service: &mut Child, log: &Path, limit: Duration) -> Result<SocketAddr> {
    let watch = Stopwatch::start();
    loop {
        if let Some((public, admin)) = addresses(log)
            && is_ready(admin).await?
        {
            return Ok(public);
        }
        if let Some(status) = service.try_wait()? {
            bail!("it ended with {status}; see {}", log.display());
        }
        ensure!(watch.elapsed() < limit, "it is not ready; see {}", log.display());
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads from a service's log where it listens: its public and its administrative address.
fn addresses(log: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let of = |name: &str| line[name].as_str()?.parse().ok();
        (line["message"] == "listening").then(|| Some((of("public")?, of("admin")?)))?
    })
}

/// Asks a service's administrative address whether it is ready.
async fn is_ready(admin: SocketAddr) -> Result<bool> {
    let url: ServerUrl = format!("http://{admin}").parse()?;
    let http = HttpClient::new(url, &Trust::System)?;
    let request = http::Request::get(format!("http://{admin}/readyz")).body(http_body_util::Full::default())?;
    Ok(http.send(request, PATIENCE).await.is_ok_and(|answer| answer.status.is_success()))
}
