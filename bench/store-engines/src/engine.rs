//! The one small trait every storage engine implements, and the rows they store.
//!
//! All keys are fixed-width big-endian bytes, so byte order is time order inside
//! one organization (contents) or one mailbox.

use anyhow::Result;

/// A day number; retention drops whole days.
pub type Day = u32;
/// A message id: six bytes of big-endian milliseconds, then ten random bytes.
pub type Id = [u8; 16];

pub const CONTENT_KEY: usize = 32; // organization + id
pub const MAILBOX_KEY: usize = 48; // organization + user + id
pub const FETCHED_KEY: usize = 64; // organization + user + client + id
pub const MAILBOX_VALUE: usize = 40;
/// ~150 bytes of header and 1 KiB of ciphertext.
pub const CONTENT_VALUE: usize = 150 + 1024;

/// One thing a client asked to be made durable.
pub enum Op {
    /// A content and the mailbox row that points at it.
    Send {
        content_key: [u8; CONTENT_KEY],
        content: Box<[u8]>,
        mailbox_key: [u8; MAILBOX_KEY],
        mailbox: [u8; MAILBOX_VALUE],
    },
    /// Messages one client has taken over.
    Confirm { fetched: Vec<[u8; FETCHED_KEY]> },
}

/// "What is new for this client since then?"
#[derive(Clone, Copy)]
pub struct Check {
    pub organization: Id,
    pub user: Id,
    pub client: Id,
    /// Milliseconds; rows of this time and later are read.
    pub after: u64,
}

impl Check {
    /// First and last possible mailbox key of the check.
    pub fn mailbox_bounds(&self) -> ([u8; MAILBOX_KEY], [u8; MAILBOX_KEY]) {
        let (mut low, mut high) = ([0; MAILBOX_KEY], [0xff; MAILBOX_KEY]);
        for key in [&mut low, &mut high] {
            key[..16].copy_from_slice(&self.organization);
            key[16..32].copy_from_slice(&self.user);
        }
        low[32..38].copy_from_slice(&self.after.to_be_bytes()[2..]);
        (low, high)
    }

    /// First and last possible fetched key of the check.
    pub fn fetched_bounds(&self) -> ([u8; FETCHED_KEY], [u8; FETCHED_KEY]) {
        let (mut low, mut high) = ([0; FETCHED_KEY], [0xff; FETCHED_KEY]);
        for key in [&mut low, &mut high] {
            key[..16].copy_from_slice(&self.organization);
            key[16..32].copy_from_slice(&self.user);
            key[32..48].copy_from_slice(&self.client);
        }
        low[48..54].copy_from_slice(&self.after.to_be_bytes()[2..]);
        (low, high)
    }
}

/// The rows a check read, each list in id order.
#[derive(Default)]
pub struct Rows {
    pub mailbox: Vec<(Id, [u8; MAILBOX_VALUE])>,
    pub fetched: Vec<Id>,
}

impl Rows {
    pub fn push_mailbox(&mut self, key: &[u8], value: &[u8]) {
        self.mailbox.push((
            key[32..].try_into().expect("a mailbox key"),
            value.try_into().expect("a mailbox value"),
        ));
    }

    pub fn push_fetched(&mut self, key: &[u8]) {
        self.fetched.push(key[48..].try_into().expect("a fetched key"));
    }

    /// Merges the two lists: how many mailbox rows has the client not fetched?
    pub fn unfetched(&self) -> usize {
        let mut fetched = self.fetched.iter().peekable();
        let mut count = 0;
        for (id, _) in &self.mailbox {
            while fetched.next_if(|f| *f < id).is_some() {}
            if fetched.peek() != Some(&id) {
                count += 1;
            }
        }
        count
    }
}

/// A reader that stays open: each call reads a few rows and tells how many.
pub type HeldReader = Box<dyn FnMut() -> Result<usize> + Send>;

/// A storage engine under test. `commit` is called by one writer thread, all else by any thread.
pub trait Engine: Send + Sync {
    /// Writes all operations atomically and returns once they would survive a power cut.
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()>;
    /// Reads mailbox rows and fetched rows from a time on.
    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()>;
    /// Point-reads one content.
    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>>;
    /// Visits every content (crash verification).
    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;
    /// Drops a whole day and gives its disk space back.
    fn drop_day(&self, day: Day) -> Result<()>;
    /// Opens a reader on the day's mailboxes and keeps it.
    fn hold_reader(&self, day: Day) -> Result<HeldReader>;
}
