//! Wake-ups: one subscription for each user for whom somebody waits, shared by all who wait in this process.
//!
//! Invariant: a channel that somebody waits on is subscribed to, or is about to be: after a lost connection and after a
//! slot has moved it is subscribed to again. Until then wake-ups are missed, and the waiters' slow poll stands in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Pushes};
use crate::ephemeral::WakeUp;

/// Subscriptions that are asked for at once after a lost connection.
const AT_ONCE: usize = 64;
/// How long to pause before what could not be subscribed to is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Who waits, and for what.
#[derive(Default)]
pub(super) struct WakeUps {
    channels: Mutex<HashMap<String, Channel>>,
    lost: Notify,
}

struct Channel {
    wake: watch::Sender<()>,
    subscribed: bool,
}

impl WakeUps {
    /// Waits on a channel. Subscribed to on return, if the server could be reached.
    pub(super) async fn wait_on(&self, channel: String, link: &Link) -> Box<dyn WakeUp> {
        let (mut receiver, subscribed) = {
            let mut channels = self.channels();
            let held = channels
                .entry(channel.clone())
                .or_insert_with(|| Channel { wake: watch::Sender::new(()), subscribed: false });
            (held.wake.subscribe(), held.subscribed)
        };
        if !subscribed {
            self.subscribe(channel, link).await;
            // That the subscription stands is no news to who has not looked yet.
            receiver.borrow_and_update();
        }
        Box::new(ValkeyWakeUp(receiver))
    }

    /// Subscribes again to what was lost, until it is told to stop.
    pub(super) async fn keep_subscribed(self: Arc<Self>, link: Link, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.lost.notified() => {}
                () = stop.cancelled() => return,
            }
            let lost: Vec<String> = {
                let channels = self.channels();
                let lost = channels.iter().filter(|(_, held)| !held.subscribed && held.wake.receiver_count() > 0);
                lost.map(|(channel, _)| channel.clone()).collect()
            };
            if lost.is_empty() {
                continue;
            }
            stream::iter(lost).for_each_concurrent(AT_ONCE, |channel| self.subscribe(channel, &link)).await;
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Ends subscriptions that nobody waits on any more.
    pub(super) async fn forget_unneeded(&self, link: &Link) {
        let unneeded: Vec<String> = {
            let mut channels = self.channels();
            let unneeded = channels.iter().filter(|(_, held)| held.wake.receiver_count() == 0);
            let unneeded: Vec<String> = unneeded.map(|(channel, _)| channel.clone()).collect();
            channels.retain(|_, held| held.wake.receiver_count() > 0);
            unneeded
        };
        stream::iter(unneeded)
            .for_each_concurrent(AT_ONCE, |channel| async move {
                if let Err(error) = link.subscribe(&channel, false).await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a subscription does not end yet");
                }
                // Whoever began to wait meanwhile gets it again.
                if let Some(held) = self.channels().get_mut(&channel) {
                    held.subscribed = false;
                    self.lost.notify_one();
                }
            })
            .await;
    }

    async fn subscribe(&self, channel: String, link: &Link) {
        match link.subscribe(&channel, true).await {
            Ok(()) => {
                if let Some(held) = self.channels().get_mut(&channel) {
                    held.subscribed = true;
                    // What arrived before the subscription stood was not heard.
                    held.wake.send_replace(());
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a channel is not subscribed to yet");
                self.lost.notify_one();
            }
        }
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_channel(&self, push: &PushInfo, act: impl FnOnce(&mut Channel)) {
        if let Some(Value::BulkString(name)) = push.data.first()
            && let Ok(name) = std::str::from_utf8(name)
            && let Some(held) = self.channels().get_mut(name)
        {
            act(held);
        }
    }
}

impl Pushes for WakeUps {
    fn pushed(&self, push: &PushInfo) {
        match push.kind {
            PushKind::SMessage => self.with_channel(push, |held| {
                held.wake.send_replace(());
            }),
            // Its slot has moved to another node, or it was unneeded for a moment.
            PushKind::SUnsubscribe => {
                self.with_channel(push, |held| held.subscribed = false);
                self.lost.notify_one();
            }
            // Which channels were on that connection is not told: all are asked for again.
            PushKind::Disconnection => self.connected(),
            _ => {}
        }
    }

    fn connected(&self) {
        for held in self.channels().values_mut() {
            held.subscribed = false;
        }
        self.lost.notify_one();
    }
}

struct ValkeyWakeUp(watch::Receiver<()>);

#[async_trait]
impl WakeUp for ValkeyWakeUp {
    async fn awakened(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is kept while anybody listens to it; should it be gone all the same, the caller's slow poll
            // takes over.
            std::future::pending::<()>().await;
        }
    }
}
