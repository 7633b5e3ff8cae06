//! What was promised, and what is held: the same ledger for all sides, and it knows none of them.
//!
//! Each content begins with an id that nothing else has. A send is written down before it begins, and again once it is
//! answered: from then on its recipient must come to hold that content, unaltered and once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::random::Random;

/// What a content begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId([u8; Self::LENGTH]);

impl ContentId {
    /// How many bytes it has: no content is shorter.
    pub const LENGTH: usize = 16;

    fn of(content: &[u8]) -> Option<Self> {
        content.first_chunk().copied().map(Self)
    }
}

/// Draws a content of a length, which begins with an id of its own. It looks as a ciphertext does.
#[must_use]
pub(super) fn draw_content(random: &mut Random, length: usize) -> Bytes {
    let mut content = vec![0; length.max(ContentId::LENGTH)];
    random.fill(&mut content);
    content.into()
}

/// What became of one content. Times are since the ledger's beginning.
#[derive(Debug)]
struct Entry {
    to: usize,
    fingerprint: u64,
    begun: Duration,
    promised: bool,
    held: u64,
    first_held: Option<Duration>,
}

/// The ledger. It is shared by all clients of a side.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<ContentId, Entry>,
    /// Promised, and not held yet.
    outstanding: u64,
    /// Held, but altered, by somebody else than the recipient, or sent by nobody.
    wrong: u64,
}

/// What the ledger says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Sends that were answered: each had to arrive.
    pub promised: u64,
    /// Sends that were not answered well: they may have arrived or not.
    pub unanswered: u64,
    /// Of those that were promised, held by their recipients.
    pub delivered: u64,
    /// Of those that were promised, not held in the end.
    pub lost: u64,
    /// Held more than once.
    pub duplicated: u64,
    /// Held, but later than they may be.
    pub late: u64,
    /// Held altered, by somebody else than the recipient, or sent by nobody.
    pub wrong: u64,
}

impl Verdict {
    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.promised += other.promised;
        self.unanswered += other.unanswered;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.late += other.late;
        self.wrong += other.wrong;
    }

    /// Tells whether every promise was kept, and nothing else delivered.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.wrong == 0
    }
}

impl Ledger {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a content is about to be sent. Returns what [`Self::promised`] is to be told.
    ///
    /// # Panics
    /// If the content is shorter than an id.
    pub fn begin(&self, to: usize, content: &[u8], at: Duration) -> ContentId {
        let id = ContentId::of(content).expect("a content begins with an id");
        let entry =
            Entry { to, fingerprint: fingerprint(content), begun: at, promised: false, held: 0, first_held: None };
        self.inner().entries.insert(id, entry);
        id
    }

    /// Writes down that a send was answered.
    pub fn promised(&self, id: ContentId) {
        let Inner { entries, outstanding, .. } = &mut *self.inner();
        if let Some(entry) = entries.get_mut(&id) {
            entry.promised = true;
            *outstanding += u64::from(entry.held == 0);
        }
    }

    /// Writes down that a user holds a content. Returns how long that took since its sending began, if it is the first
    /// time.
    pub fn held(&self, by: usize, content: &[u8], at: Duration) -> Option<Duration> {
        let Inner { entries, outstanding, wrong } = &mut *self.inner();
        let entry = ContentId::of(content).and_then(|id| entries.get_mut(&id));
        let Some(entry) = entry.filter(|entry| entry.to == by && entry.fingerprint == fingerprint(content)) else {
            *wrong += 1;
            return None;
        };
        entry.held += 1;
        if entry.held > 1 {
            return None;
        }
        entry.first_held = Some(at);
        *outstanding -= u64::from(entry.promised);
        Some(at.saturating_sub(entry.begun))
    }

    /// Returns how many were promised and are not held yet.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.inner().outstanding
    }

    /// Judges what was written down; a delivery later than `late` after its sending began is late.
    #[must_use]
    pub fn verdict(&self, late: Duration) -> Verdict {
        let inner = self.inner();
        let mut verdict = Verdict { wrong: inner.wrong, ..Verdict::default() };
        for entry in inner.entries.values() {
            verdict.promised += u64::from(entry.promised);
            verdict.unanswered += u64::from(!entry.promised);
            verdict.delivered += u64::from(entry.promised && entry.held > 0);
            verdict.lost += u64::from(entry.promised && entry.held == 0);
            verdict.duplicated += u64::from(entry.held > 1);
            let took = entry.first_held.map(|at| at.saturating_sub(entry.begun));
            verdict.late += u64::from(took.is_some_and(|took| took > late));
        }
        verdict
    }
}

/// Returns what tells a content from one that was altered by accident.
fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_promised_and_held_once_is_kept() {
        let ledger = Ledger::default();
        let mut random = Random::new(1);
        let (early, usual) = (draw_content(&mut random, 20), draw_content(&mut random, 20));

        let id = ledger.begin(1, &usual, at(0));
        ledger.promised(id);
        let open = ledger.outstanding();
        let took = ledger.held(1, &usual, at(2));
        // Its recipient may hold it before its sender is answered.
        let id = ledger.begin(0, &early, at(3));
        ledger.held(0, &early, at(4));
        ledger.promised(id);

        assert_eq!((open, ledger.outstanding()), (1, 0));
        assert_eq!(took, Some(at(2)));
        let verdict = ledger.verdict(LATE);
        assert_eq!(verdict, Verdict { promised: 2, delivered: 2, ..Verdict::default() });
        assert!(verdict.is_kept());
    }

    #[test]
    fn what_is_lost_late_or_held_again_is_told() {
        let ledger = Ledger::default();
        let mut random = Random::new(1);
        let contents: Vec<Bytes> = (0..4).map(|_| draw_content(&mut random, 40)).collect();
        for content in contents.iter().take(3) {
            let id = ledger.begin(1, content, at(0));
            ledger.promised(id);
        }
        ledger.begin(1, &contents[3], at(0));

        ledger.held(1, &contents[0], at(11));
        ledger.held(1, &contents[1], at(1));
        ledger.held(1, &contents[1], at(2));

        let expected =
            Verdict { promised: 3, unanswered: 1, delivered: 2, lost: 1, duplicated: 1, late: 1, wrong: 0 };
        assert_eq!(ledger.verdict(LATE), expected);
        assert_eq!(ledger.outstanding(), 1);
    }

    #[test]
    fn what_is_altered_misdelivered_or_sent_by_nobody_is_wrong() {
        let ledger = Ledger::default();
        let content = draw_content(&mut Random::new(1), 40);
        let id = ledger.begin(1, &content, at(0));
        ledger.promised(id);
        let mut altered = content.to_vec();
        altered[30] ^= 1;

        ledger.held(1, &altered, at(1));
        ledger.held(0, &content, at(1));
        ledger.held(1, b"short", at(1));

        assert_eq!(ledger.verdict(LATE), Verdict { promised: 1, lost: 1, wrong: 3, ..Verdict::default() });
    }
}
