//! The canary at work: a client that writes, a client that reads, and an eye on what is missing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use countersign_client::clock::Clock;
use countersign_client::entropy::{Entropy, random_id};
use countersign_protocol::body::Listing;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::message_id::MessageId;

use super::identity::Identity;
use super::metrics::Metrics;
use super::pending::{Arrival, Pending};
use crate::clock::Stopwatch;
use crate::listener::Listener;
use crate::random::Random;
use crate::wire::{Device, Reply, Targets};

/// How often it is looked what is missing.
const LOOK: Duration = Duration::from_secs(1);
/// How long is waited before an attempt is repeated.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one message is sent again and again: as long as its id is young enough for every clock.
const TRIES: Duration = Duration::from_secs(25);
/// Items of a listing.
const PAGE: usize = 100;

/// How the canary works.
#[derive(Clone, Debug)]
pub struct CanaryOptions {
    /// How often it sends.
    pub every: Duration,
    /// How long a delivery may take.
    pub late: Duration,
    /// After how long a message is lost.
    pub lost_after: Duration,
    /// Bytes of a message.
    pub bytes: usize,
    /// How long one answer may take.
    pub patience: Duration,
    /// How many seconds the reader waits for something new.
    pub wait: u64,
    /// The folder of what it must not forget.
    pub folder: PathBuf,
}

impl Default for CanaryOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            late: Duration::from_secs(30),
            lost_after: Duration::from_secs(300),
            bytes: 500,
            patience: Duration::from_secs(10),
            wait: 20,
            folder: PathBuf::from("data/canary"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: CanaryOptions,
    metrics: Arc<Metrics>,
    pending: Mutex<Pending>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends, receives and exports metrics until it is dropped.
///
/// # Errors
/// If what it must not forget cannot be written, or the service refuses it altogether.
pub async fn run(
    options: CanaryOptions,
    identity: Identity,
    targets: Targets,
    listener: Listener,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<()> {
    let pending = Mutex::new(Pending::open(&options.folder)?);
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    let mut random = Random::new(u64::from_be_bytes(seed));
    let mut device = |address| {
        let person = Arc::clone(&identity.person);
        Device::new(address, person, targets.clone(), Arc::clone(&clock), random.split(), options.patience)
    };
    let (sender, receiver) = (device(identity.sender), device(identity.receiver));
    let shared = Arc::new(Shared { options, metrics: Arc::clone(&metrics), pending, clock, entropy });
    tokio::select! {
        ended = send(sender, Arc::clone(&shared)) => ended,
        ended = receive(receiver, Arc::clone(&shared)) => ended,
        ended = watch(&shared) => ended,
        never = listener.serve(Arc::new(move || metrics.encode())) => match never {},
    }
}

/// Sends a message to itself, again and again.
async fn send(mut device: Device, shared: Arc<Shared>) -> Result<()> {
    let mut ticks = tokio::time::interval(shared.options.every);
    // After a time without the service, not all that was missed at once.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = send_one(&mut device, &shared).await?;
        shared.metrics.sent.with_label_values(&[outcome]).inc();
    }
}

async fn send_one(device: &mut Device, shared: &Shared) -> Result<&'static str> {
    let mut content = vec![0; shared.options.bytes.max(16)];
    shared.entropy.fill(&mut content);
    // No two alike, whatever the source of randomness.
    content[..16].copy_from_slice(random_id(&*shared.entropy).as_bytes());
    let content = Bytes::from(content);
    let digest = Sha256Digest::of(&content);
    let address = *device.address();
    let recipients = [address.user];
    let id =
        MessageId::of_message(&address.organization, &address.user, device.now().to_millis(), &recipients, &digest);
    shared.pending().begun(id, digest, shared.clock.now())?;
    let watch = Stopwatch::start();
    loop {
        match device.send(&id, &recipients, content.clone()).await {
            Reply::Done(_) => {
                shared.pending().accepted(&id, shared.clock.now())?;
                shared.metrics.send_seconds.observe(watch.elapsed().as_secs_f64());
                return Ok("accepted");
            }
            Reply::Again(why) => {
                shared.metrics.repeated.with_label_values(&[why.name()]).inc();
                if watch.elapsed() > TRIES {
                    tracing::warn!(reason = why.name(), "the service takes no message");
                    return Ok("unanswered");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Reply::Refused(problem) => {
                tracing::error!(
                    problem = problem.kind.name(),
                    detail = problem.detail,
                    "the service refuses a message"
                );
                return Ok("refused");
            }
        }
    }
}

/// Receives what comes back.
async fn receive(mut device: Device, shared: Arc<Shared>) -> Result<()> {
    loop {
        let listing = match device.list(PAGE, Some(shared.options.wait)).await {
            Reply::Done(answer) => serde_json::from_slice::<Listing>(&answer.body)?,
            Reply::Again(why) => {
                shared.metrics.repeated.with_label_values(&[why.name()]).inc();
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Reply::Refused(problem) => {
                tracing::error!(
                    problem = problem.kind.name(),
                    detail = problem.detail,
                    "the service refuses a listing"
                );
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let mut received = Vec::new();
        for item in &listing.messages {
            if receive_one(&mut device, &shared, &item.id).await? {
                received.push(item.id);
            }
        }
        if received.is_empty() {
            if !listing.messages.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        match device.confirm(&received).await {
            Reply::Done(_) => shared.pending().confirmed(received),
            Reply::Again(why) => shared.metrics.repeated.with_label_values(&[why.name()]).inc(),
            Reply::Refused(problem) => {
                tracing::error!(problem = problem.kind.name(), "the service refuses a confirmation");
            }
        }
    }
}

/// Reads one message and compares it. Tells whether it is to be confirmed.
async fn receive_one(device: &mut Device, shared: &Shared, id: &MessageId) -> Result<bool> {
    let metrics = &shared.metrics;
    let content = match device.read(id).await {
        Reply::Done(answer) => answer.body,
        Reply::Again(why) => {
            metrics.repeated.with_label_values(&[why.name()]).inc();
            return Ok(false);
        }
        Reply::Refused(problem) => {
            tracing::error!(%id, problem = problem.kind.name(), "a message is listed and cannot be read");
            metrics.corrupted.inc();
            return Ok(false);
        }
    };
    let arrival = shared.pending().arrived(id, &Sha256Digest::of(&content), shared.clock.now())?;
    match arrival {
        Arrival::Delivered { took, was_lost } => {
            metrics.received.inc();
            metrics.delivery_seconds.observe(took.as_secs_f64());
            if was_lost {
                metrics.found.inc();
                tracing::warn!(%id, ?took, "a message that was lost came back");
            } else if took > shared.options.late {
                metrics.late.inc();
                tracing::warn!(%id, ?took, "a message came back late");
            }
        }
        Arrival::Corrupted => {
            metrics.corrupted.inc();
            tracing::error!(%id, "a message came back with another content");
        }
        Arrival::Duplicated => {
            metrics.duplicated.inc();
            tracing::error!(%id, "a message was listed again after it was confirmed");
        }
        Arrival::Unexpected => {
            metrics.unexpected.inc();
            tracing::warn!(%id, "a message to the canary that it did not send");
        }
    }
    Ok(true)
}

/// Looks what is missing.
async fn watch(shared: &Shared) -> Result<()> {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let lost = shared.pending().give_up(shared.options.lost_after, shared.clock.now())?;
        for id in lost {
            shared.metrics.lost.inc();
            tracing::error!(%id, "LOST: a message that was answered 201 did not come back");
        }
        let (pending, missing) = shared.pending().count();
        shared.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        shared.metrics.missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
    }
}
