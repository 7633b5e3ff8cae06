//! What is shown, as plain values. No text in here can rule a terminal.

use countersign_client::account::Person;
use countersign_client::envelope::ConversationId;
use countersign_client::store::{MessageNumber, MessageState, Recipient};
use countersign_client::words::printable;
use countersign_protocol::id::UserId;
use countersign_protocol::time::UnixMicros;

/// A conversation at the left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) id: ConversationId,
    /// Everyone but the person at the keyboard.
    pub(super) people: Vec<UserId>,
    /// When its last message was written; none if it has no message yet.
    pub(super) last: Option<UnixMicros>,
    pub(super) unseen: u64,
}

/// A message at the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) number: MessageNumber,
    pub(super) sender: UserId,
    pub(super) outgoing: bool,
    pub(super) time: UnixMicros,
    pub(super) content: Content,
    pub(super) state: MessageState,
    pub(super) note: Option<String>,
    /// Everyone but the person at the keyboard, unless they are the only one.
    pub(super) recipients: Vec<Recipient>,
    /// How many parts are here, or were sent, and how many there are.
    pub(super) parts: (u32, u32),
    pub(super) seen: bool,
}

/// What a message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Lines of text.
    Text(Vec<String>),
    /// A file, or something else that can only be saved.
    File {
        /// What it is called.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// A change that is to be countersigned.
    Change,
    /// Nothing that may be shown.
    Nothing,
}

impl Message {
    /// Returns how many of the recipients signed receipts for all of it.
    pub(super) fn received(&self) -> usize {
        self.recipients.iter().filter(|recipient| recipient.received).count()
    }

    /// Tells whether there is nothing more to come of it before it can be called read.
    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.state, MessageState::Incomplete | MessageState::Sealed | MessageState::Preparing)
    }
}

/// What an account shows at one moment.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) people: Vec<Person>,
    pub(super) conversations: Vec<Conversation>,
    /// The messages of the conversation that is open, oldest first.
    pub(super) open: Option<OpenConversation>,
    /// Where the organization's log is.
    pub(super) head: Option<u64>,
}

/// The messages of a conversation.
#[derive(Clone, Debug)]
pub(super) struct OpenConversation {
    pub(super) id: ConversationId,
    pub(super) messages: Vec<Message>,
    /// Whether there are older ones.
    pub(super) older: bool,
}

/// What a server did that it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The number of the evidence.
    pub(super) evidence: i64,
    pub(super) summary: String,
    pub(super) details: Vec<String>,
}

/// Returns a text without what could rule a terminal or turn the order of the words around it.
pub(super) fn printed(text: &str) -> String {
    let is_direction = |character: &char| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    printable(text).chars().map(|character| if is_direction(&character) { '\u{fffd}' } else { character }).collect()
}

/// The same for a text of several lines.
pub(super) fn printed_lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|line| printed(&line.trim_end_matches('\r').replace('\t', "    "))).collect()
}
