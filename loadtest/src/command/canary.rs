//! `canary`.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use countersign_client::entropy::{Entropy, SystemEntropy};
use countersign_loadtest::canary::{self, CanaryOptions, Identity, Metrics};
use countersign_loadtest::keys::read_person;
use countersign_loadtest::ledger::Exit;
use countersign_loadtest::listener::Listener;
use countersign_loadtest::people::SetUp;
use countersign_loadtest::wire::Targets;
use tokio::signal::unix::{SignalKind, signal};

use super::clock;
use crate::cli;

/// Runs the canary until it is told to end.
pub(crate) async fn run(options: cli::Canary) -> Result<Exit> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let targets = Targets::new(&options.service.urls, &options.service.trust())?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let listener = Listener::bind(options.admin_listen).await?;
    let admin = listener.address()?;
    let identity = identity(&options, &targets, &*entropy).await?;
    tracing::info!(%admin, user = %identity.sender.user, "the canary sings");
    let canary_options = CanaryOptions {
        every: options.every.0,
        late: options.late.0,
        lost_after: options.lost_after.0,
        folder: options.folder,
        ..CanaryOptions::default()
    };
    let metrics = Arc::new(Metrics::new()?);
    tokio::select! {
        ended = canary::run(canary_options, identity, targets, listener, metrics, clock(), entropy) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    Ok(Exit::Kept)
}

async fn identity(options: &cli::Canary, targets: &Targets, entropy: &dyn Entropy) -> Result<Identity> {
    if let Some(kept) = Identity::kept(&options.folder)? {
        return Ok(kept);
    }
    if let (Some(organization), Some(user), Some(key)) = (options.organization, options.user, &options.key) {
        return Identity::of_user(&options.folder, organization, user, read_person(key)?, entropy);
    }
    if !options.create {
        bail!(
            "{} does not say who the canary is: give --organization, --user and --key, or --create",
            options.folder.display()
        );
    }
    let keys = options.keys.folder()?;
    let set_up = SetUp {
        targets,
        super_administrators: &options.keys.super_administrators(&keys)?,
        client_limit: 0,
        clock: &*clock(),
        entropy,
    };
    let person = keys.people(1)?.pop().context("there is no key")?;
    Identity::create(&options.folder, set_up, person).await
}
