//! What the canary has sent and not got yet. Kept in a file, as a whole: there are never many.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMicros;
use serde::{Deserialize, Serialize};

/// Received messages that are remembered, to know one that is listed again.
const REMEMBERED: usize = 1_000;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OnItsWay {
    digest: Sha256Digest,
    /// When its first attempt began, in microseconds since 1970.
    begun: u64,
    /// When the service promised to deliver it.
    accepted: Option<u64>,
    /// Whether it was given up.
    lost: bool,
}

/// What an arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// What was waited for, so long after it was promised.
    Delivered {
        /// How long it took; nothing where it was never promised.
        took: Duration,
        /// Whether it had been given up.
        was_lost: bool,
    },
    /// Sent by this canary, with another content.
    Corrupted,
    /// Received before, and confirmed.
    Duplicated,
    /// Nothing that this canary knows of.
    Unexpected,
}

/// All messages on their way.
#[derive(Debug)]
pub(super) struct Pending {
    file: PathBuf,
    messages: BTreeMap<MessageId, OnItsWay>,
    /// What was received and confirmed, the latest at the end.
    received: VecDeque<MessageId>,
}

impl Pending {
    /// Reads what an earlier process was waiting for.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("pending.json");
        let messages = if file.exists() {
            let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice::<Vec<(MessageId, OnItsWay)>>(&text)
                .with_context(|| format!("cannot read {}", file.display()))?
                .into_iter()
                .collect()
        } else {
            BTreeMap::new()
        };
        Ok(Self { file, messages, received: VecDeque::new() })
    }

    fn keep(&self) -> Result<()> {
        let partial = self.file.with_extension("partial");
        let messages: Vec<_> = self.messages.iter().collect();
        let bytes = serde_json::to_vec(&messages)?;
        std::fs::write(&partial, bytes)
            .and_then(|()| std::fs::rename(&partial, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// A message is about to be sent.
    pub(super) fn begun(&mut self, id: MessageId, digest: Sha256Digest, now: UnixMicros) -> Result<()> {
        self.messages.insert(id, OnItsWay { digest, begun: now.0, accepted: None, lost: false });
        self.keep()
    }

    /// The service promised to deliver it. It may have arrived already.
    pub(super) fn accepted(&mut self, id: &MessageId, now: UnixMicros) -> Result<()> {
        if let Some(message) = self.messages.get_mut(id) {
            message.accepted = Some(now.0);
            self.keep()?;
        }
        Ok(())
    }

    /// Something arrived and was read.
    pub(super) fn arrived(&mut self, id: &MessageId, digest: &Sha256Digest, now: UnixMicros) -> Result<Arrival> {
        if self.received.contains(id) {
            return Ok(Arrival::Duplicated);
        }
        let Some(message) = self.messages.get(id) else { return Ok(Arrival::Unexpected) };
        if message.digest != *digest {
            // It is still waited for.
            return Ok(Arrival::Corrupted);
        }
        let took = message.accepted.map(|accepted| now.0.saturating_sub(accepted)).unwrap_or_default();
        let arrival = Arrival::Delivered { took: Duration::from_micros(took), was_lost: message.lost };
        self.messages.remove(id);
        self.keep()?;
        Ok(arrival)
    }

    /// The service knows that these were received.
    pub(super) fn confirmed(&mut self, ids: impl IntoIterator<Item = MessageId>) {
        self.received.extend(ids);
        while self.received.len() > REMEMBERED {
            self.received.pop_front();
        }
    }

    /// Gives up what has been waited for too long, and returns what was promised of it. What was never promised is
    /// forgotten.
    pub(super) fn give_up(&mut self, after: Duration, now: UnixMicros) -> Result<Vec<MessageId>> {
        let too_old = |since: u64| now.0.saturating_sub(since) > u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let before = self.messages.len();
        self.messages.retain(|_, message| message.accepted.is_some() || !too_old(message.begun));
        let mut lost = Vec::new();
        for (id, message) in &mut self.messages {
            if !message.lost && message.accepted.is_some_and(too_old) {
                message.lost = true;
                lost.push(*id);
            }
        }
        if !lost.is_empty() || self.messages.len() != before {
            self.keep()?;
        }
        Ok(lost)
    }

    /// Returns how many are on their way, and how many were given up.
    pub(super) fn count(&self) -> (usize, usize) {
        let lost = self.messages.values().filter(|message| message.lost).count();
        (self.messages.len() - lost, lost)
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::id::{OrganizationId, UserId};
    use countersign_protocol::time::UnixMillis;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_400_000_000_000);

    fn message(number: u8) -> (MessageId, Sha256Digest) {
        let digest = Sha256Digest::of(&[number]);
        let (organization, user) = (OrganizationId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        (MessageId::of_message(&organization, &user, UnixMillis(u64::from(number)), &[user], &digest), digest)
    }

    fn after(seconds: u64) -> UnixMicros {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_message_arrives_once_with_its_content_and_within_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut pending = Pending::open(folder.path()).unwrap();
        let ((one, digest), (other, _)) = (message(1), message(2));
        pending.begun(one, digest, NOW).unwrap();
        pending.accepted(&one, after(1)).unwrap();

        let altered = pending.arrived(&one, &Sha256Digest::of(b"else"), after(2)).unwrap();
        let unknown = pending.arrived(&other, &digest, after(2)).unwrap();
        let delivered = pending.arrived(&one, &digest, after(3)).unwrap();
        pending.confirmed([one]);
        let again = pending.arrived(&one, &digest, after(4)).unwrap();

        assert_eq!((altered, unknown), (Arrival::Corrupted, Arrival::Unexpected));
        assert_eq!(delivered, Arrival::Delivered { took: Duration::from_secs(2), was_lost: false });
        assert_eq!(again, Arrival::Duplicated);
    }

    #[test]
    fn what_was_promised_is_lost_once_after_a_restart_too_and_may_be_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut pending = Pending::open(folder.path()).unwrap();
        let ((promised, digest), (not_promised, other)) = (message(1), message(2));
        pending.begun(promised, digest, NOW).unwrap();
        pending.begun(not_promised, other, NOW).unwrap();
        pending.accepted(&promised, after(1)).unwrap();
        drop(pending);

        let mut pending = Pending::open(folder.path()).unwrap();
        let limit = Duration::from_secs(10);
        assert!(pending.give_up(limit, after(10)).unwrap().is_empty());
        assert_eq!(pending.give_up(limit, after(12)).unwrap(), [promised]);
        assert!(pending.give_up(limit, after(13)).unwrap().is_empty());

        assert_eq!(pending.count(), (0, 1));
        let found = pending.arrived(&promised, &digest, after(20)).unwrap();
        assert_eq!(found, Arrival::Delivered { took: Duration::from_secs(19), was_lost: true });
        assert_eq!(pending.count(), (0, 0));
    }
}
