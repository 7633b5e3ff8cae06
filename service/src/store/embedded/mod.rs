//! stub
use super::Store;
use crate::clock::Clock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
/// x
pub struct EmbeddedSettings {
    /// x
    pub retention: Duration,
}
/// x
pub struct Sweeper;
impl Sweeper {
    /// x
    pub async fn run(self, _stop: CancellationToken) {}
}
/// x
pub fn open(_d: &Path, _s: EmbeddedSettings, _c: Arc<dyn Clock>) -> Result<(Store, Sweeper), std::io::Error> {
    Ok((super::memory::open(), Sweeper))
}
