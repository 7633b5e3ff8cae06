//! What the interface knows, and where the person is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use countersign_client::account::{ChangeStanding, LogLine, Person};
use countersign_client::envelope::ConversationId;
use countersign_client::store::MessageNumber;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::time::UnixMicros;
use jiff::tz::TimeZone;
use ratatui_textarea::{CursorMove, TextArea, WrapMode};

use super::draw::Abilities;
use super::model::{Conversation, Loaded, Message, Refusal};

/// How many messages are shown first, and how many more each time.
pub(super) const PAGE: u32 = 200;

/// How long a notice stays, in microseconds.
const NOTICE_MICROS: u64 = 12_000_000;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A key, a paste, or a new size.
    Terminal(crossterm::event::Event),
    /// It is later.
    Time(UnixMicros),
    /// The store was read.
    Loaded(Box<Loaded>),
    /// Something in the store changed.
    StoreChanged,
    /// The organization's log was extended.
    LogExtended(Vec<LogLine>),
    /// The whole log, as it was asked for.
    Log(Vec<LogLine>),
    /// The server did what it must not do.
    Refused(Refusal),
    /// The account is kept up to date no longer, until the person says so; why.
    Stopped(String),
    /// The server answers, or does not.
    Online(bool),
    /// What takes a while, how much of it is done, how much there is.
    Progress(&'static str, u64, u64),
    /// GnuPG would ask in this terminal, or would not.
    Locked(bool),
    /// Something is in the outbox; its text was taken from the person for good.
    Composed,
    /// Something could not be put into the outbox, and why.
    NotComposed(Outgoing, String),
    /// Something that was asked for was done, or went wrong.
    Told(Notice),
    /// What a change is.
    Change(MessageNumber, Box<ChangeStanding>),
    /// A change is in the log: its number there.
    Submitted(u64),
    /// A path was completed.
    Completed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Read the store.
    Load,
    MarkRead(Vec<MessageNumber>),
    Send(Outgoing),
    /// Save a message's content.
    Save(MessageNumber, String),
    ReadChange(MessageNumber),
    SignChange(MessageNumber),
    SubmitChange(MessageNumber),
    ReadLog,
    /// Complete a path.
    Complete(String),
    /// Keep the account up to date again.
    Resume,
    /// Let GnuPG ask in this terminal.
    Unlock,
    /// Draw everything again.
    Redraw,
    Quit,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) conversation: ConversationId,
    pub(super) recipients: Vec<UserId>,
    pub(super) body: OutgoingBody,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutgoingBody {
    Text(String),
    /// A path as it was typed.
    File(String),
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    Conversations,
    Messages,
    Compose,
}

/// Something to be told in the line above the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

impl Notice {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_bad: false }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_bad: true }
    }
}

/// Something to read, over everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Help,
    Log,
    /// What the server did, and what to do.
    Refusals,
    /// Everything about one message.
    Details(MessageNumber),
}

/// What lies over everything else.
#[derive(Clone, Debug)]
pub(super) enum Overlay {
    Page {
        page: Page,
        scroll: usize,
    },
    /// Choosing people for a conversation.
    NewConversation {
        filter: TextArea<'static>,
        cursor: usize,
        chosen: BTreeSet<UserId>,
    },
    SendFile {
        path: TextArea<'static>,
    },
    SaveFile {
        number: MessageNumber,
        path: TextArea<'static>,
    },
    /// A change that asks for a signature; none until it was read.
    Change {
        number: MessageNumber,
        standing: Option<Box<ChangeStanding>>,
        scroll: usize,
        busy: bool,
    },
    /// Leaving would lose what was typed.
    Leaving,
}

/// What the last drawing measured: scrolling needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// Rows that the messages have.
    pub(super) rows: usize,
    /// Lines that all messages of the conversation have.
    pub(super) lines: usize,
    /// Rows and lines of the page that lies over everything.
    pub(super) page: (usize, usize),
}

/// Everything.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any two can be true together")]
pub(super) struct State {
    pub(super) now: UnixMicros,
    pub(super) zone: TimeZone,
    pub(super) abilities: Abilities,
    pub(super) organization: Option<OrganizationId>,
    pub(super) size: (u16, u16),
    pub(super) measured: Measured,

    pub(super) people: BTreeMap<UserId, Person>,
    /// As the store has them, the newest first.
    pub(super) conversations: Vec<Conversation>,
    /// Those that have no message yet.
    pub(super) begun: Vec<Conversation>,
    pub(super) open: Option<ConversationId>,
    pub(super) messages: Vec<Message>,
    /// Whether there are messages before those.
    pub(super) older: bool,
    pub(super) limit: u32,
    /// The first message that was new when the conversation was opened.
    pub(super) new_from: Option<MessageNumber>,
    /// What was marked as read: nothing is marked twice.
    pub(super) marked: BTreeSet<MessageNumber>,

    pub(super) focus: Focus,
    pub(super) overlay: Option<Overlay>,
    /// What conversations are searched for.
    pub(super) filter: Option<TextArea<'static>>,
    /// Whether that is being typed.
    pub(super) is_searching: bool,
    /// The message that keys are about.
    pub(super) selected: Option<MessageNumber>,
    /// Lines of messages below what is shown.
    pub(super) scroll: usize,
    /// Whether the selected message must be on the screen.
    pub(super) follow: bool,

    pub(super) composer: TextArea<'static>,
    /// What was typed in the other conversations.
    pub(super) drafts: BTreeMap<ConversationId, Vec<String>>,
    /// How far back in what was sent before the composer is, and what stood in it.
    pub(super) recalled: Option<(usize, Vec<String>)>,

    pub(super) online: Option<bool>,
    pub(super) stopped: Option<String>,
    pub(super) refusals: Vec<Refusal>,
    /// Where the log is of which everything was told.
    pub(super) log_head: Option<u64>,
    /// Entries that nobody has looked at.
    pub(super) log_news: Vec<LogLine>,
    /// The log, once it was asked for.
    pub(super) log: Vec<LogLine>,
    /// From here on the log was news when it was last looked at.
    pub(super) log_new_from: Option<u64>,
    pub(super) locked: bool,
    pub(super) notice: Option<(Notice, UnixMicros)>,
    pub(super) progress: Option<(&'static str, u64, u64)>,
    /// How many messages are on their way into the outbox.
    pub(super) composing: usize,
    pub(super) leaving: bool,
}

impl State {
    /// The state in which nothing was read. `log_head` is where the log was when the interface began.
    pub(super) fn new(now: UnixMicros, zone: TimeZone, abilities: Abilities, log_head: Option<u64>) -> Self {
        Self {
            now,
            zone,
            abilities,
            organization: None,
            size: (80, 24),
            measured: Measured::default(),
            people: BTreeMap::new(),
            conversations: Vec::new(),
            begun: Vec::new(),
            open: None,
            messages: Vec::new(),
            older: false,
            limit: PAGE,
            new_from: None,
            marked: BTreeSet::new(),
            focus: Focus::Conversations,
            overlay: None,
            filter: None,
            is_searching: false,
            selected: None,
            scroll: 0,
            follow: false,
            composer: editor(&[]),
            drafts: BTreeMap::new(),
            recalled: None,
            online: None,
            stopped: None,
            refusals: Vec::new(),
            log_head,
            log_news: Vec::new(),
            log: Vec::new(),
            log_new_from: None,
            locked: false,
            notice: None,
            progress: None,
            composing: 0,
            leaving: false,
        }
    }

    /// Returns who sits at the keyboard, once the log is known.
    pub(super) fn me(&self) -> Option<&Person> {
        self.people.values().find(|person| person.me)
    }

    /// Returns what to call somebody.
    pub(super) fn name(&self, user: &UserId) -> String {
        self.people.get(user).map_or_else(|| user.to_string(), |person| super::model::printed(&person.name))
    }

    pub(super) fn is_administrator(&self, user: &UserId) -> bool {
        self.people.get(user).is_some_and(|person| person.administrator && person.active)
    }

    /// Returns the people of a conversation, by name.
    pub(super) fn title(&self, conversation: &Conversation) -> String {
        let mut names: Vec<String> = conversation.people.iter().map(|user| self.name(user)).collect();
        names.sort_unstable();
        if names.is_empty() { "Notes to yourself".to_owned() } else { names.join(", ") }
    }

    /// Returns the conversations that are searched for, those without a message first.
    pub(super) fn listed(&self) -> Vec<&Conversation> {
        let filter = self.filter.as_ref().map(|filter| filter.lines().concat().to_lowercase()).unwrap_or_default();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let is_found = |conversation: &&Conversation| {
            let mut names = self.title(conversation).to_lowercase();
            for person in conversation.people.iter().filter_map(|user| self.people.get(user)) {
                names.push(' ');
                names.push_str(&person.user_id.to_lowercase());
            }
            words.iter().all(|word| names.contains(word))
        };
        self.begun.iter().chain(&self.conversations).filter(is_found).collect()
    }

    /// Returns a conversation.
    pub(super) fn conversation(&self, id: ConversationId) -> Option<&Conversation> {
        self.begun.iter().chain(&self.conversations).find(|conversation| conversation.id == id)
    }

    /// Returns the conversation that is open.
    pub(super) fn current(&self) -> Option<&Conversation> {
        self.open.and_then(|id| self.conversation(id))
    }

    /// Returns the message that keys are about: the selected one.
    pub(super) fn selected_message(&self) -> Option<&Message> {
        self.selected.and_then(|number| self.message(number))
    }

    pub(super) fn message(&self, number: MessageNumber) -> Option<&Message> {
        self.messages.iter().find(|message| message.number == number)
    }

    /// Returns who can be written to, by name.
    pub(super) fn candidates(&self, filter: &str) -> Vec<&Person> {
        let filter = filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let is_found = |person: &&Person| {
            let id = person.user_id.to_lowercase();
            person.active && !person.me && words.iter().all(|word| id.contains(word))
        };
        let mut found: Vec<&Person> = self.people.values().filter(is_found).collect();
        found.sort_by(|one, other| (&one.name, one.user).cmp(&(&other.name, other.user)));
        found
    }

    /// Tells whether the server is refused: then nothing goes to it before the person says so.
    pub(super) fn is_server_refused(&self) -> bool {
        !self.refusals.is_empty() && self.stopped.is_some()
    }

    /// Tells whether something was typed that is not sent.
    pub(super) fn has_drafts(&self) -> bool {
        let is_text = |lines: &[String]| lines.iter().any(|line| !line.trim().is_empty());
        is_text(self.composer.lines()) || self.drafts.values().any(|lines| is_text(lines))
    }

    /// Tells something in the line above the keys.
    pub(super) fn tell(&mut self, notice: Notice) {
        self.notice = Some((notice, UnixMicros(self.now.0.saturating_add(NOTICE_MICROS))));
    }
}

/// Makes a place to type in, with something in it and the cursor at its end.
pub(super) fn editor(lines: &[String]) -> TextArea<'static> {
    let mut editor = TextArea::new(lines.to_vec());
    editor.set_cursor_line_style(ratatui::style::Style::new());
    editor.set_wrap_mode(WrapMode::WordOrGlyph);
    editor.move_cursor(CursorMove::Bottom);
    editor.move_cursor(CursorMove::End);
    editor
}

/// The home folder that `~` stands for.
pub(super) fn home(name: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    name("HOME").map(PathBuf::from)
}
