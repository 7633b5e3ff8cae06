//! Delivery: send, list what is new, read, confirm, acknowledge. The algorithm and why it holds: `docs/delivery.md`.
//!
//! Owns: when an id is acceptable, who may read a message, what is new for a client, hints and wake-ups.
//! Refuses to know: HTTP, signatures, how anything is stored.
//!
//! Invariant I-8: an `Ok` of [`Delivery::send`] or [`Delivery::acknowledge`] means that the message is durably stored
//! for every recipient.
//!
//! Invariant I-9: reading changes nothing. Only a confirmation marks a message fetched.

pub mod listing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use crate::clock::Clock;
use crate::ephemeral::{Ephemeral, EphemeralError, ListingHints};
use crate::store::{Mailbox, StoreError, StoredMessage};
use listing::{Listed, ListingTimes, list_new};

/// Why delivery refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The id is not the one that sender, recipients, time and content make.
    #[error("the id is not the one of this content, sender, recipients and time")]
    WrongId,
    /// The id's time is too far from the clock.
    #[error("the id's time is outside the window")]
    IdOutOfWindow,
    /// There is no such message for this user.
    #[error("there is no such message for this user")]
    NotFound,
    /// The store failed.
    #[error("the message store failed")]
    Store(#[from] StoreError),
    /// The ephemeral store failed.
    #[error("the ephemeral store failed")]
    Ephemeral(#[from] EphemeralError),
}

/// What a sender sends.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The organization of sender and recipients.
    pub organization: OrganizationId,
    /// The sender.
    pub sender: UserId,
    /// The id that the sender chose.
    pub id: MessageId,
    /// The recipients; checked by the caller to be active users of the organization.
    pub recipients: Vec<UserId>,
    /// The content.
    pub content: Bytes,
}

/// A listing, and what happened while it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMessages {
    /// The oldest new items, in order.
    pub items: Vec<Item>,
    /// Whether there are more.
    pub more: bool,
}

/// What delivery tells whoever counts.
pub trait DeliveryObserver: Send + Sync {
    /// A listing was computed.
    fn listed(&self, listed: &Listed);
}

/// The numbers that delivery works with.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Windows and retention.
    pub limits: Limits,
    /// How often, on average, each client's listing starts from the beginning of retention.
    pub reconcile_interval: Duration,
    /// How often a waiting listing looks though nobody woke it.
    pub poll_interval: Duration,
}

/// The delivery of messages.
#[derive(Clone)]
pub struct Delivery {
    mailbox: Arc<dyn Mailbox>,
    ephemeral: Arc<dyn Ephemeral>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn DeliveryObserver>,
    settings: Arc<DeliverySettings>,
}

impl Delivery {
    /// Puts delivery together.
    #[must_use]
    pub fn new(
        mailbox: Arc<dyn Mailbox>,
        ephemeral: Arc<dyn Ephemeral>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn DeliveryObserver>,
        settings: DeliverySettings,
    ) -> Self {
        Self { mailbox, ephemeral, clock, observer, settings: Arc::new(settings) }
    }

    /// Sends a message. A repeat with the same id stores nothing twice.
    ///
    /// # Errors
    /// [`DeliveryError::WrongId`], [`DeliveryError::IdOutOfWindow`], or a failure, after which the message may or may
    /// not be stored and the sender repeats it.
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), DeliveryError> {
        let Outgoing { organization, sender, id, mut recipients, content } = outgoing;
        recipients.sort_unstable();
        recipients.dedup();
        let digest = Sha256Digest::of(&content);
        if MessageId::of_message(&organization, &sender, id.time(), &recipients, &digest) != id {
            return Err(DeliveryError::WrongId);
        }
        self.check_window(&id)?;
        let message =
            StoredMessage { organization, id, kind: ItemKind::Message, sender, recipients, of: None, content };
        self.deliver(&message).await
    }

    /// Acknowledges a message to its sender with a receipt, and confirms it for the client that asked.
    ///
    /// # Errors
    /// [`DeliveryError::NotFound`] unless the client's user is a recipient of such a message; else as [`Self::send`].
    pub async fn acknowledge(
        &self,
        client: &ClientAddress,
        message: MessageId,
        receipt: MessageId,
        signature: Bytes,
    ) -> Result<(), DeliveryError> {
        let ClientAddress { organization, user, .. } = *client;
        let acknowledged = self.mailbox.message(organization, message).await?.filter(|held| {
            held.kind == ItemKind::Message && held.recipients.binary_search(&user).is_ok() && self.is_kept(&held.id)
        });
        let acknowledged = acknowledged.ok_or(DeliveryError::NotFound)?;
        let digest = Sha256Digest::of(&signature);
        if MessageId::of_receipt(&organization, &user, receipt.time(), &message, &digest) != receipt {
            return Err(DeliveryError::WrongId);
        }
        self.check_window(&receipt)?;
        let stored = StoredMessage {
            organization,
            id: receipt,
            kind: ItemKind::Receipt,
            sender: user,
            recipients: vec![acknowledged.sender],
            of: Some(message),
            content: signature,
        };
        // The receipt comes first: a crash in between leaves the message unfetched, and the client acknowledges again.
        self.deliver(&stored).await?;
        self.mailbox.add_fetched(client, &[message]).await?;
        Ok(())
    }

    /// Lists what is new for a client, oldest first. With `wait` and nothing new, returns when something is, or when
    /// the time or `patience` is over: whichever comes first.
    ///
    /// # Errors
    /// A failure of a store, after which nothing is changed.
    pub async fn list(
        &self,
        client: &ClientAddress,
        hints: ListingHints,
        limit: usize,
        wait: Option<Duration>,
        patience: impl Future<Output = ()> + Send,
    ) -> Result<NewMessages, DeliveryError> {
        let Some(wait) = wait else {
            return Ok(self.list_once(client, hints, limit).await?.0);
        };
        // Subscribed before the first look, so nothing can arrive unnoticed in between.
        let mut wake_up = self.ephemeral.wake_up(client.organization, client.user).await?;
        let enough = tokio::time::sleep(wait);
        tokio::pin!(enough, patience);
        let mut hints = hints;
        loop {
            let (new, advanced) = self.list_once(client, hints, limit).await?;
            hints = advanced;
            if !new.items.is_empty() {
                return Ok(new);
            }
            tokio::select! {
                () = &mut enough => return Ok(new),
                () = &mut patience => return Ok(new),
                () = wake_up.awakened() => {}
                () = tokio::time::sleep(self.settings.poll_interval) => {}
            }
        }
    }

    /// Returns the content of a message, if the user is its sender or one of its recipients.
    ///
    /// # Errors
    /// [`DeliveryError::NotFound`], or a failure of the store.
    pub async fn read(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: MessageId,
    ) -> Result<Bytes, DeliveryError> {
        match self.mailbox.message(organization, id).await? {
            Some(message)
                if self.is_kept(&id)
                    && (message.sender == user || message.recipients.binary_search(&user).is_ok()) =>
            {
                Ok(message.content)
            }
            _ => Err(DeliveryError::NotFound),
        }
    }

    /// Confirms that a client holds messages. Ids that no mailbox can hold any more, or yet, are ignored.
    ///
    /// # Errors
    /// A failure of the store, after which some may be confirmed and the client repeats the rest.
    pub async fn confirm(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), DeliveryError> {
        let latest = self.latest();
        let mut plausible: Vec<MessageId> =
            ids.iter().copied().filter(|id| self.is_kept(id) && id.time() <= latest).collect();
        plausible.sort_unstable();
        plausible.dedup();
        if !plausible.is_empty() {
            self.mailbox.add_fetched(client, &plausible).await?;
        }
        Ok(())
    }

    async fn deliver(&self, message: &StoredMessage) -> Result<(), DeliveryError> {
        self.mailbox.put(message).await?;
        self.ephemeral.wake(message.organization, &message.recipients).await;
        Ok(())
    }

    async fn list_once(
        &self,
        client: &ClientAddress,
        hints: ListingHints,
        limit: usize,
    ) -> Result<(NewMessages, ListingHints), DeliveryError> {
        let times = ListingTimes {
            now: self.clock.now_millis(),
            inconsistent_window: self.settings.limits.inconsistent_window,
            retention: self.settings.limits.retention,
            ahead: self.settings.limits.message_id_ahead,
            reconcile_interval: jittered(self.settings.reconcile_interval, client),
        };
        let listed = list_new(&*self.mailbox, client, hints, limit, &times).await?;
        self.observer.listed(&listed);
        let advanced = hints.max(listed.hints);
        if advanced != hints {
            self.ephemeral.advance_hints(client, advanced).await?;
        }
        Ok((NewMessages { items: listed.items, more: listed.more }, advanced))
    }

    fn check_window(&self, id: &MessageId) -> Result<(), DeliveryError> {
        let now = self.clock.now_millis();
        let earliest = now.minus(self.settings.limits.message_id_behind);
        let latest = now.plus(self.settings.limits.message_id_ahead);
        if id.time() < earliest || id.time() > latest { Err(DeliveryError::IdOutOfWindow) } else { Ok(()) }
    }

    /// Tells whether retention still keeps what has this id.
    fn is_kept(&self, id: &MessageId) -> bool {
        id.time() >= self.clock.now_millis().minus(self.settings.limits.retention)
    }

    /// The latest time of an id that any pod may have accepted by now.
    fn latest(&self) -> UnixMillis {
        self.clock.now_millis().plus(self.settings.limits.message_id_ahead * 2)
    }
}

/// Spreads the clients' reconciliations over half an interval around its length, each client always at its own place.
fn jittered(interval: Duration, client: &ClientAddress) -> Duration {
    let [first, ..] = *client.client.as_bytes();
    interval.mul_f64(0.75 + 0.5 * f64::from(first) / 256.0)
}
