//! Where requests go: the addresses of a service, one of which is drawn for each request, so that what one process was
//! told is asked of another.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_client::connection::{HttpClient, ServerUrl, Trust};

use crate::random::Random;

/// Connections to one service, by one address or several.
#[derive(Clone, Debug)]
pub struct Targets(Arc<Vec<HttpClient>>);

impl Targets {
    /// Prepares connections. Nothing is sent.
    ///
    /// # Errors
    /// If there is no address, or the authorities cannot be read.
    pub fn new(urls: &[ServerUrl], trust: &Trust) -> Result<Self> {
        let clients: Result<Vec<HttpClient>, _> =
            urls.iter().map(|url| HttpClient::new(url.clone(), trust)).collect();
        let clients = clients?;
        anyhow::ensure!(!clients.is_empty(), "a service has at least one address");
        Ok(Self(Arc::new(clients)))
    }

    /// Draws one of the addresses.
    pub(super) fn draw(&self, random: &mut Random) -> &HttpClient {
        &self.0[random.below(self.0.len())]
    }

    /// Returns one address after the other, for ever.
    ///
    /// # Errors
    /// Never: there is at least one.
    pub fn first(&self) -> Result<&HttpClient> {
        self.0.first().context("a service has at least one address")
    }
}
