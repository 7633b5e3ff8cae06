//! Delivery: send, list what is new, read, confirm, acknowledge. The algorithm and why it holds: `docs/delivery.md`.
//!
//! Owns: when an id is acceptable, who may read a message, what is new for a client, hints, arrivals and wake-ups.
//! Refuses to know: HTTP, signatures, how anything is stored.
//!
//! Invariant I-8: an `Ok` of [`Delivery::send`] or [`Delivery::acknowledge`] means that the message is durably stored
//! for every recipient.
//!
//! Invariant I-9: reading changes nothing. Only a confirmation marks a message fetched.

mod arrivals;
pub mod listing;
mod presence;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_arrivals;
#[cfg(test)]
mod tests_of_presence;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::limits::Limits;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::coalesce::{Flights, Joined};
use crate::ephemeral::{Ephemeral, EphemeralError, Learned, ListingState, SessionId};
#[cfg(test)]
use crate::simulation::broken::Broken;
use crate::store::{Mailbox, Registry, StoreError, StoredMessage};
use listing::{Listed, ListingTimes};
pub use presence::Settled;
use presence::{Looked, Slots};

/// Hints that may be on their way to the ephemeral store at once, after their request's answer. Beyond it they are
/// dropped: a message then arrives for its recipients with their next full merge.
const HINTS_UNDER_WAY: usize = 4_096;

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
    /// The session of a waiting listing has ended.
    #[error("the session has ended")]
    SessionEnded,
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
    /// The time from which the client may have missed messages, if it was away for longer than retention.
    pub gap: Option<UnixMillis>,
}

/// A listing that a client asks for.
#[derive(Clone, Debug)]
pub struct ListingRequest {
    /// The client.
    pub client: ClientAddress,
    /// The session that it was admitted under.
    pub session: SessionId,
    /// What its admission brought.
    pub state: ListingState,
    /// How many items it wants at most.
    pub limit: usize,
    /// How long it waits, if nothing is new.
    pub wait: Option<Duration>,
}

/// What delivery tells whoever counts. Whoever does not, need not listen.
pub trait DeliveryObserver: Send + Sync {
    /// A message or receipt is durably stored for all its recipients.
    fn accepted(&self, _kind: ItemKind, _recipients: usize) {}

    /// A listing was computed.
    fn listed(&self, _listed: &Listed) {}

    /// A new item is about to be listed to a client that was waiting for one. Its age is by the time in its id.
    fn arrived(&self, _age: Duration) {}

    /// A content was read.
    fn read(&self) {}

    /// A client confirmed items.
    fn confirmed(&self, _items: usize) {}

    /// A recipient acknowledged a message.
    fn acknowledged(&self) {}

    /// A client was told that it may have missed messages.
    fn gap_told(&self) {}

    /// Items of a client's have left retention.
    fn settled(&self, _settled: Settled) {}

    /// A hint was lost on its way to the ephemeral store: an arrival, or what a listing learned.
    fn hint_lost(&self) {}
}

/// The numbers that delivery works with.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Windows and retention.
    pub limits: Limits,
    /// How often, on average, each client's listing starts from the beginning of retention.
    pub reconcile_interval: Duration,
    /// How often, at most, each client's listing is a full merge though arrivals could be relied on.
    pub merge_interval: Duration,
    /// How often a waiting listing looks though nobody woke it.
    pub poll_interval: Duration,
}

/// The delivery of messages.
#[derive(Clone)]
pub struct Delivery {
    mailbox: Arc<dyn Mailbox>,
    /// Where it stands since when a client is registered.
    registry: Arc<dyn Registry>,
    ephemeral: Arc<dyn Ephemeral>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn DeliveryObserver>,
    settings: Arc<DeliverySettings>,
    /// Where hints go on that outlive their request.
    tasks: TaskTracker,
    hints: Arc<Semaphore>,
    /// Contents that are being read: many recipients that ask for one message at once read it once.
    reads: Flights<(OrganizationId, MessageId), MessageRead>,
}

type MessageRead = Result<Option<Arc<StoredMessage>>, Arc<StoreError>>;

impl Delivery {
    /// Puts delivery together. `tasks` is where it finishes what no answer waits for.
    #[must_use]
    pub fn new(
        mailbox: Arc<dyn Mailbox>,
        registry: Arc<dyn Registry>,
        ephemeral: Arc<dyn Ephemeral>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn DeliveryObserver>,
        tasks: TaskTracker,
        settings: DeliverySettings,
    ) -> Self {
        let hints = Arc::new(Semaphore::new(HINTS_UNDER_WAY));
        let settings = Arc::new(settings);
        Self { mailbox, registry, ephemeral, clock, observer, settings, tasks, hints, reads: Flights::default() }
    }

    /// Sends a message. A repeat with the same id stores nothing twice.
    ///
    /// # Errors
    /// [`DeliveryError::WrongId`], [`DeliveryError::IdOutOfWindow`], or a failure, after which the message may or may
    /// not be stored and the sender repeats it.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "deliver", skip_all)]
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
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "acknowledge", skip_all)]
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
        self.observer.confirmed(1);
        self.observer.acknowledged();
        Ok(())
    }

    /// Lists what is new for a client, oldest first. If it waits and nothing is new, returns when something is, or when
    /// the time or `patience` is over: whichever comes first.
    ///
    /// # Errors
    /// A failure of a store, after which nothing is changed; [`DeliveryError::SessionEnded`] while it waited.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "list", skip_all)]
    pub async fn list(
        &self,
        request: ListingRequest,
        patience: impl Future<Output = ()> + Send,
    ) -> Result<NewMessages, DeliveryError> {
        let ListingRequest { client, session, state, limit, wait } = request;
        let enough = tokio::time::sleep(wait.unwrap_or_default());
        let new = self.list_once(&client, session, &state, limit).await?;
        if wait.is_none() || !new.items.is_empty() {
            return Ok(new);
        }
        // It is not what the client waits for, but is told with whatever it gets.
        let mut gap = new.gap;
        let mut wake_up = self.ephemeral.wake_up(client.organization, client.user).await?;
        tokio::pin!(enough, patience);
        loop {
            // After it has subscribed, so nothing can arrive unnoticed in between.
            let state = self.ephemeral.listing_state(&client, session).await?.ok_or(DeliveryError::SessionEnded)?;
            let mut new = self.list_once(&client, session, &state, limit).await?;
            gap = gap.or(new.gap);
            new.gap = gap;
            if !new.items.is_empty() {
                let now = self.clock.now_millis();
                new.items.iter().for_each(|item| self.observer.arrived(now.since(item.id.time())));
                return Ok(new);
            }
            tokio::select! {
                biased;
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
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "read", skip_all)]
    pub async fn read(
        &self,
        organization: OrganizationId,
        user: UserId,
        id: MessageId,
    ) -> Result<Bytes, DeliveryError> {
        if !self.is_kept(&id) {
            return Err(DeliveryError::NotFound);
        }
        let read = || {
            let mailbox = Arc::clone(&self.mailbox);
            async move { Ok(mailbox.message(organization, id).await?.map(Arc::new)) }
        };
        let held = match self.reads.join((organization, id), read).await {
            // It may have been stored since that read began.
            Joined::Joined(Ok(None)) => read().await,
            Joined::Joined(held) | Joined::Began(held) => held,
        };
        match held.map_err(StoreError::shared)? {
            Some(message) if message.sender == user || message.recipients.binary_search(&user).is_ok() => {
                self.observer.read();
                Ok(message.content.clone())
            }
            _ => Err(DeliveryError::NotFound),
        }
    }

    /// Confirms that a client holds messages. Ids that no mailbox can hold any more, or yet, are ignored.
    ///
    /// # Errors
    /// A failure of the store, after which some may be confirmed and the client repeats the rest.
    #[tracing::instrument(level = "trace", target = "countersign::trace", name = "confirm", skip_all)]
    pub async fn confirm(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), DeliveryError> {
        let latest = self.latest();
        let mut plausible: Vec<MessageId> =
            ids.iter().copied().filter(|id| self.is_kept(id) && id.time() <= latest).collect();
        plausible.sort_unstable();
        plausible.dedup();
        if !plausible.is_empty() {
            self.mailbox.add_fetched(client, &plausible).await?;
            self.observer.confirmed(plausible.len());
        }
        Ok(())
    }

    async fn deliver(&self, message: &StoredMessage) -> Result<(), DeliveryError> {
        self.mailbox.put(message).await?;
        self.observer.accepted(message.kind, message.recipients.len());
        let (ephemeral, now) = (Arc::clone(&self.ephemeral), self.clock.now());
        let (organization, recipients, item) = (message.organization, message.recipients.clone(), message.item());
        self.hint(async move { Ok(ephemeral.arrived(organization, &recipients, &item, now).await?) });
        Ok(())
    }

    async fn list_once(
        &self,
        client: &ClientAddress,
        session: SessionId,
        state: &ListingState,
        limit: usize,
    ) -> Result<NewMessages, DeliveryError> {
        let settings = &self.settings;
        let times = ListingTimes {
            now: self.clock.now_millis(),
            inconsistent_window: settings.limits.inconsistent_window,
            retention: settings.limits.retention,
            ahead: settings.limits.message_id_ahead,
            reconcile_interval: settings.reconcile_interval.mul_f64(0.75 + 0.5 * place_of(client)),
            merge_interval: settings.merge_interval.mul_f64(0.5 + 0.5 * place_of(client)),
        };
        let slots = Slots::of(&times);
        let look = async {
            // Otherwise a full merge is remembered, so the client was here a moment ago.
            let unknown = state.hints.merged.is_none_or(|merged| slots.is_long_ago(merged));
            if unknown { presence::look(&*self.mailbox, client, slots).await.map(Some) } else { Ok(None) }
        };
        let (listed, looked) =
            futures_util::future::join(listing::list(&*self.mailbox, client, state, limit, &times), look).await;
        let (mut listed, looked) = (listed?, looked?);
        let gap = match &looked {
            Some(looked) => presence::gap(looked, &*self.mailbox, &*self.registry, client).await?,
            None => None,
        };
        self.observer.listed(&listed);
        if gap.is_some() {
            self.observer.gap_told();
        }
        #[cfg(test)]
        if Broken::ConfirmedOnListing.is_on() {
            let ids: Vec<MessageId> = listed.items.iter().map(|item| item.id).collect();
            self.mailbox.add_fetched(client, &ids).await?;
        }
        let present = Self::present(&mut listed, state, looked, gap, slots);
        let (ephemeral, client) = (Arc::clone(&self.ephemeral), *client);
        let mut learned = Learned { hints: listed.hints, mark: listed.mark };
        if let Some(present) = present {
            self.note(client, slots, present);
        }
        if let Some(fetched) = listed.look_again {
            let items = listed.items.clone();
            self.hint(async move {
                let state = ephemeral.listing_state(&client, session).await?.unwrap_or_default();
                let look = |arrivals| arrivals::mark_after_merge(arrivals, &items, listed.more, &fetched);
                learned.mark = state.arrivals.as_ref().and_then(look);
                Ok(ephemeral.remember(&client, &learned).await?)
            });
        } else if state.hints.max(learned.hints) != state.hints || learned.mark.is_some() {
            self.hint(async move { Ok(ephemeral.remember(&client, &learned).await?) });
        }
        Ok(NewMessages { items: listed.items, more: listed.more, gap })
    }

    /// Decides which mark of presence a listing leaves. While a client is being told of a gap, no full merge of its is
    /// remembered, so that each listing looks again: an answer may be lost, so it is told until it lists in a later slot.
    fn present(
        listed: &mut Listed,
        state: &ListingState,
        looked: Option<Looked>,
        gap: Option<UnixMillis>,
        slots: Slots,
    ) -> Option<Presence> {
        if gap.is_some() && !looked.is_some_and(|looked| looked.told_before) {
            listed.hints.merged = None;
            return Some(Presence { mark: slots.told(), since: None });
        }
        let now = listed.hints.merged.filter(|_| !listed.more)?;
        let before = state.hints.merged;
        before.is_none_or(|before| slots.differ(before, now)).then(|| {
            let since = before.or_else(|| looked.and_then(|looked| looked.present));
            Presence { mark: slots.present(), since }
        })
    }

    /// Writes a mark of presence down, and counts what has left retention since the one before.
    fn note(&self, client: ClientAddress, slots: Slots, presence: Presence) {
        let (mailbox, observer) = (Arc::clone(&self.mailbox), Arc::clone(&self.observer));
        self.hint(async move {
            mailbox.add_fetched(&client, &[presence.mark]).await?;
            if let Some(since) = presence.since {
                observer.settled(presence::settle(&*mailbox, &client, slots, since).await?);
            }
            Ok(())
        });
    }

    /// Does what no answer waits for: a hint to the ephemeral store, mostly.
    fn hint(&self, hint: impl Future<Output = Result<(), DeliveryError>> + Send + 'static) {
        let observer = Arc::clone(&self.observer);
        let Ok(permit) = Arc::clone(&self.hints).try_acquire_owned() else {
            observer.hint_lost();
            return;
        };
        let mut hint = Box::pin(async move {
            if let Err(error) = hint.await {
                observer.hint_lost();
                tracing::debug!(error = &error as &dyn std::error::Error, "a hint was lost");
            }
            drop(permit);
        });
        // Begun at once: in memory it is done by then, and elsewhere on its way before the answer is.
        if hint.as_mut().now_or_never().is_none() {
            self.tasks.spawn(hint);
        }
    }

    fn check_window(&self, id: &MessageId) -> Result<(), DeliveryError> {
        let now = self.clock.now_millis();
        let earliest = now.minus(self.settings.limits.message_id_behind);
        #[cfg(test)]
        let earliest = if Broken::IdWindowTooLong.is_on() {
            now.minus(self.settings.limits.inconsistent_window)
        } else {
            earliest
        };
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

/// What a listing leaves behind.
#[derive(Clone, Copy, Debug)]
struct Presence {
    mark: MessageId,
    /// When the one before was, if that is known.
    since: Option<UnixMillis>,
}

/// Spreads what the clients do from time to time: each has its own place in `[0, 1)`.
fn place_of(client: &ClientAddress) -> f64 {
    let [first, ..] = *client.client.as_bytes();
    f64::from(first) / 256.0
}
