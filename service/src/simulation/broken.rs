//! Deliberately broken variants of the algorithm, compiled only for tests: a harness that finds none of them proves
//! nothing about the real one.
//!
//! The places that break are marked with `#[cfg(test)]` in the code itself, so each variant differs from what is shipped
//! by one line.

use std::cell::Cell;

/// One way to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// Lists what is newer than the newest message that the client has fetched, as most systems do.
    AfterNewestFetched,
    /// Last known good goes up to now, not to the start of the inconsistent window.
    KnownGoodWithoutWindow,
    /// Last known good goes up to the newest fetched message, past unfetched ones before it.
    KnownGoodPastUnfetched,
    /// A message's mailbox rows are written before its content.
    ContentLast,
    /// Listing a message confirms it.
    ConfirmedOnListing,
    /// Ids may be as old as the inconsistent window is long.
    IdWindowTooLong,
    /// No listing ever starts from the beginning of retention again.
    NoReconciliation,
    /// Once there is an arrival mark, no full merge is made.
    ArrivalsAlone,
    /// The nonce moves before the signature is looked at.
    NonceFirst,
}

impl Broken {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::AfterNewestFetched,
        Self::KnownGoodWithoutWindow,
        Self::KnownGoodPastUnfetched,
        Self::ContentLast,
        Self::ConfirmedOnListing,
        Self::IdWindowTooLong,
        Self::NoReconciliation,
        Self::ArrivalsAlone,
        Self::NonceFirst,
    ];

    /// Tells whether the code of this thread is broken in this way now.
    pub(crate) fn is_on(self) -> bool {
        ON.get() == Some(self)
    }
}

thread_local! {
    static ON: Cell<Option<Broken>> = const { Cell::new(None) };
}

/// Runs something with the code of this thread broken in one way, or in none.
pub(crate) fn with<T>(broken: Option<Broken>, run: impl FnOnce() -> T) -> T {
    let before = ON.replace(broken);
    let outcome = run();
    ON.set(before);
    outcome
}
