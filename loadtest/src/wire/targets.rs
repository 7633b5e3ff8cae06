//! Where requests go: the addresses of a service, one of which is drawn for each request, so that what one process was
//! told is asked of another. One that did not answer is left alone for a moment, as an ingress would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::connection::{HttpClient, ServerUrl, Trust};

use crate::clock::Stopwatch;
use crate::random::Random;

/// How long an address that did not answer is left alone.
const REST: Duration = Duration::from_secs(2);

/// Connections to one service, by one address or several.
#[derive(Clone, Debug)]
pub struct Targets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    targets: Vec<Target>,
    watch: Stopwatch,
}

/// One address.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) http: HttpClient,
    /// Until when it is left alone, in milliseconds of the stopwatch.
    rests_until: AtomicU64,
}

impl Targets {
    /// Prepares connections. Nothing is sent.
    ///
    /// # Errors
    /// If there is no address, or the authorities cannot be read.
    pub fn new(urls: &[ServerUrl], trust: &Trust) -> Result<Self> {
        let target = |url: &ServerUrl| -> Result<Target> {
            Ok(Target { http: HttpClient::new(url.clone(), trust)?, rests_until: AtomicU64::new(0) })
        };
        let targets: Vec<Target> = urls.iter().map(target).collect::<Result<_>>()?;
        anyhow::ensure!(!targets.is_empty(), "a service has at least one address");
        Ok(Self(Arc::new(Inner { targets, watch: Stopwatch::start() })))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.watch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Draws one of the addresses that are not left alone; where all are, any.
    pub(super) fn draw(&self, random: &mut Random) -> &Target {
        let now = self.now();
        let targets = &self.0.targets;
        let awake: Vec<&Target> =
            targets.iter().filter(|target| target.rests_until.load(Ordering::Relaxed) <= now).collect();
        let any = &targets[random.below(targets.len())];
        random.one_of(&awake).copied().unwrap_or(any)
    }

    /// Leaves an address alone for a moment.
    pub(super) fn rest(&self, target: &Target) {
        let until = self.now().saturating_add(u64::try_from(REST.as_millis()).unwrap_or(u64::MAX));
        target.rests_until.store(until, Ordering::Relaxed);
    }

    /// Returns the first address.
    ///
    /// # Errors
    /// Never: there is at least one.
    pub fn first(&self) -> Result<&HttpClient> {
        Ok(&self.0.targets.first().context("a service has at least one address")?.http)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_did_not_answer_is_left_alone() {
        let urls: Vec<ServerUrl> = ["http://a", "http://b"].iter().map(|url| url.parse().unwrap()).collect();
        let targets = Targets::new(&urls, &Trust::System).unwrap();
        let mut random = Random::new(1);
        let mut drawn = |targets: &Targets| -> std::collections::BTreeSet<String> {
            (0..50).map(|_| targets.draw(&mut random).http.server().to_string()).collect()
        };

        let both = drawn(&targets);
        targets.rest(&targets.0.targets[0]);
        let one = drawn(&targets);
        targets.rest(&targets.0.targets[1]);
        let any = drawn(&targets);

        assert_eq!((both.len(), any.len()), (2, 2));
        assert_eq!(one.into_iter().collect::<Vec<_>>(), ["http://b"]);
    }
}
