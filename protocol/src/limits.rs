//! The numbers of the protocol (section 7), with their defaults.

use std::time::Duration;

/// Every number that a deployment may set; [`Limits::default`] has the values of section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far a nonce, `created` and a statement's time may be from the server's clock.
    pub nonce_window: Duration,
    /// How long a session key lives.
    pub session_lifetime: Duration,
    /// How far a message id's time may be behind the server's clock.
    pub message_id_behind: Duration,
    /// How far a message id's time may be ahead of the server's clock.
    pub message_id_ahead: Duration,
    /// How long storage nodes and pods may disagree about what is in a mailbox.
    pub inconsistent_window: Duration,
    /// How long messages are kept.
    pub retention: Duration,
    /// Clients of a user for whom no statement says otherwise.
    pub clients_per_user: u32,
    /// Bytes of a message's content.
    pub content_bytes: usize,
    /// Bytes of a request that carries a statement.
    pub statement_bytes: usize,
    /// Recipients of one message.
    pub recipients: usize,
    /// How long a listing may wait for something new.
    pub long_poll: Duration,
    /// Items in a listing that asks for no number.
    pub list_page: usize,
}

impl Limits {
    /// Most items that a listing may ask for, and most ids that one confirmation may hold (section 6).
    pub const LIST_PAGE_MAX: usize = 10_000;

    /// How far a statement's time may be ahead of the server's clock, and how far a signature's may be before the
    /// statement's or ahead of the verifier's clock (section 4).
    pub const STATEMENT_SKEW: Duration = Duration::from_secs(30);

    /// How old a statement may be when it is appended (section 4).
    pub const STATEMENT_AGE: Duration = Duration::from_hours(7 * 24);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nonce_window: Duration::from_secs(30),
            session_lifetime: Duration::from_hours(24),
            message_id_behind: Duration::from_mins(1),
            message_id_ahead: Duration::from_secs(30),
            inconsistent_window: Duration::from_mins(5),
            retention: Duration::from_hours(14 * 24),
            clients_per_user: 5,
            content_bytes: 1024 * 1024,
            statement_bytes: 256 * 1024,
            recipients: 100,
            long_poll: Duration::from_secs(55),
            list_page: 1000,
        }
    }
}
