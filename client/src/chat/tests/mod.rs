//! The interface without a terminal: events in, effects out, and what stands on the screen.

mod behaviour;
mod screens;

use std::path::Path;

use countersign_client::account::Person;
use countersign_client::envelope::ConversationId;
use countersign_client::store::{MessageNumber, MessageState, Recipient};
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::time::UnixMicros;
use crossterm::event::{Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::{Abilities, draw};
use super::model::{Content, Conversation, Loaded, Message, OpenConversation};
use super::state::{Effect, Event, State};
use super::update::update;

/// Wednesday, 25 November 2026, 14:30:00 UTC.
const NOW: UnixMicros = UnixMicros(1_795_617_000_000_000);
const MINUTE: u64 = 60_000_000;

const ALICE: UserId = UserId::from_bytes([1; 16]);
const BOB: UserId = UserId::from_bytes([2; 16]);
const CAROL: UserId = UserId::from_bytes([3; 16]);
const DAVE: UserId = UserId::from_bytes([4; 16]);

/// The interface of Alice, with a store that stands still.
struct Chat {
    state: State,
    /// What the store would show of each conversation.
    store: Vec<(Conversation, Vec<Message>)>,
    people: Vec<Person>,
    head: Option<u64>,
}

impl Chat {
    fn empty() -> Self {
        let abilities = Abilities { colour: true, unicode: true };
        let mut state = State::new(NOW, TimeZone::UTC, abilities, Some(3));
        state.organization = Some(OrganizationId::from_bytes([9; 16]));
        let people = vec![
            person(ALICE, "Alice", true),
            person(BOB, "Bob", false),
            person(CAROL, "Carol", false),
            person(DAVE, "Dave", true),
        ];
        let mut chat = Self { state, store: Vec::new(), people, head: Some(3) };
        chat.load();
        chat.event(Event::Online(true));
        chat
    }

    /// Bob, Dave, and a conversation of three, with messages in every state.
    fn new() -> Self {
        let mut chat = Self::empty();
        chat.store = vec![
            (conversation(&[BOB], 3, 2), with_bob()),
            (conversation(&[DAVE], 26 * 60, 0), vec![from(20, DAVE, 26 * 60, change())]),
            (
                conversation(&[BOB, CAROL], 10 * 24 * 60, 0),
                vec![from(10, CAROL, 10 * 24 * 60, text("Hello, both of you."))],
            ),
        ];
        chat.load();
        chat
    }

    /// Takes an event in, and answers what asks the store. Returns all other effects.
    fn event(&mut self, event: Event) -> Vec<Effect> {
        let mut others = Vec::new();
        let mut effects = update(&mut self.state, event);
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Load => {
                        let loaded = self.loaded();
                        more.extend(update(&mut self.state, Event::Loaded(Box::new(loaded))));
                    }
                    Effect::MarkRead(numbers) => self.mark_read(&numbers),
                    other => others.push(other),
                }
            }
            effects = more;
        }
        others
    }

    fn load(&mut self) {
        self.event(Event::StoreChanged);
    }

    fn loaded(&self) -> Loaded {
        let open = self.state.open.map(|id| {
            let found = self.store.iter().find(|(conversation, _)| conversation.id == id);
            let messages = found.map(|(_, messages)| messages.clone()).unwrap_or_default();
            let limit = usize::try_from(self.state.limit).unwrap();
            let skipped = messages.len().saturating_sub(limit);
            OpenConversation { id, older: skipped > 0, messages: messages.into_iter().skip(skipped).collect() }
        });
        let conversations = self.store.iter().map(|(conversation, _)| conversation.clone()).collect();
        Loaded { people: self.people.clone(), conversations, open, head: self.head }
    }

    fn mark_read(&mut self, numbers: &[MessageNumber]) {
        for (conversation, messages) in &mut self.store {
            for message in messages.iter_mut().filter(|message| numbers.contains(&message.number)) {
                message.seen = true;
                conversation.unseen -= 1;
            }
        }
    }

    /// Presses keys: each character is one, but for `⏎ ⇥ ⎋ ↑ ↓ ⇞ ⇟ ⌫`, `^x` for Ctrl and `⌥` for Alt.
    fn keys(&mut self, keys: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut modifiers = KeyModifiers::NONE;
        for key in keys.chars() {
            let code = match key {
                '^' => {
                    modifiers = KeyModifiers::CONTROL;
                    continue;
                }
                '⌥' => {
                    modifiers = KeyModifiers::ALT;
                    continue;
                }
                '⏎' => KeyCode::Enter,
                '⇥' => KeyCode::Tab,
                '⎋' => KeyCode::Esc,
                '↑' => KeyCode::Up,
                '↓' => KeyCode::Down,
                '⇞' => KeyCode::PageUp,
                '⇟' => KeyCode::PageDown,
                '⌫' => KeyCode::Backspace,
                letter => KeyCode::Char(letter),
            };
            let event = KeyEvent::new(code, std::mem::replace(&mut modifiers, KeyModifiers::NONE));
            // The screen is drawn between two keys, as it is in life.
            self.screen(80, 24);
            effects.extend(self.event(Event::Terminal(TerminalEvent::Key(event))));
        }
        effects
    }

    fn help(&mut self) {
        self.event(Event::Terminal(TerminalEvent::Key(KeyEvent::new(KeyCode::F(1), KeyModifiers::NONE))));
    }

    fn paste(&mut self, text: &str) {
        self.event(Event::Terminal(TerminalEvent::Paste(text.to_owned())));
    }

    /// Draws a screen of this size.
    fn drawn(&mut self, width: u16, height: u16) -> TestBackend {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &mut self.state)).unwrap();
        terminal.backend().clone()
    }

    /// Draws a screen of this size as text.
    fn screen(&mut self, width: u16, height: u16) -> String {
        let backend = self.drawn(width, height);
        let cells = backend.buffer();
        let row = |y| {
            let mut row = String::new();
            let mut skip = 0;
            for x in 0..width {
                let symbol = cells[(x, y)].symbol();
                if skip == 0 {
                    row.push_str(symbol);
                    skip = unicode_width::UnicodeWidthStr::width(symbol);
                }
                skip = skip.saturating_sub(1);
            }
            row.trim_end().to_owned()
        };
        (0..height).map(row).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// Compares the screen with the one that is kept.
    #[track_caller]
    fn assert_screen(&mut self, name: &str, width: u16, height: u16) {
        let screen = self.screen(width, height);
        let file = format!("tests/chat/screens/{name}-{width}x{height}.txt");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("COUNTERSIGN_UPDATE_SCREENS").is_some() {
            std::fs::write(&path, &screen).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(screen == kept, "{} is another screen; it was\n{kept}\nand is\n{screen}", path.display());
    }
}

fn person(user: UserId, name: &str, administrator: bool) -> Person {
    Person {
        user,
        name: name.to_owned(),
        user_id: format!("{name} <{}@example.org>", name.to_lowercase()),
        fingerprint: format!("{name:0>40}"),
        administrator,
        active: true,
        client_limit: None,
        me: user == ALICE,
    }
}

fn conversation_id(people: &[UserId]) -> ConversationId {
    let everyone: Vec<UserId> = people.iter().copied().chain([ALICE]).collect();
    ConversationId::among(&OrganizationId::from_bytes([9; 16]), &everyone)
}

fn conversation(people: &[UserId], minutes_ago: u64, unseen: u64) -> Conversation {
    let last = Some(UnixMicros(NOW.0 - minutes_ago * MINUTE));
    Conversation { id: conversation_id(people), people: people.to_vec(), last, unseen }
}

fn text(text: &str) -> Content {
    Content::Text(super::model::printed_lines(text))
}

fn change() -> Content {
    Content::Change
}

fn message(number: i64, sender: UserId, minutes_ago: u64, content: Content) -> Message {
    Message {
        number: MessageNumber(number),
        sender,
        outgoing: sender == ALICE,
        time: UnixMicros(NOW.0 - minutes_ago * MINUTE),
        content,
        state: if sender == ALICE { MessageState::Sent } else { MessageState::Verified },
        note: None,
        recipients: Vec::new(),
        parts: (1, 1),
        seen: true,
    }
}

fn from(number: i64, sender: UserId, minutes_ago: u64, content: Content) -> Message {
    let recipients = vec![Recipient { user: ALICE, received: false }];
    Message { recipients, ..message(number, sender, minutes_ago, content) }
}

fn to(number: i64, recipients: &[(UserId, bool)], minutes_ago: u64, content: Content) -> Message {
    let recipients = recipients.iter().map(|&(user, received)| Recipient { user, received }).collect();
    Message { recipients, ..message(number, ALICE, minutes_ago, content) }
}

fn with_bob() -> Vec<Message> {
    let noted = |message: Message, state, note: &str| Message { state, note: Some(note.to_owned()), ..message };
    vec![
        from(
            1,
            BOB,
            24 * 60 + 200,
            text(
                "Did you see the plan for next week? It is longer than a line, so that one sees how lines are broken.",
            ),
        ),
        to(2, &[(BOB, true)], 24 * 60 + 190, text("Yes.\nTwo lines.")),
        from(3, BOB, 24 * 60 + 180, Content::File { name: "plan.pdf".to_owned(), size: 1_263_616 }),
        to(4, &[(BOB, false)], 50, text("Sent, and not received yet.")),
        Message { state: MessageState::Queued, ..to(5, &[(BOB, false)], 40, text("In the outbox.")) },
        noted(
            to(6, &[(BOB, false)], 35, text("Never sent.")),
            MessageState::Failed,
            "not in the organization any more: Bob",
        ),
        noted(from(7, BOB, 30, Content::Nothing), MessageState::Refused, "it was sent to other people"),
        Message { seen: false, ..from(8, BOB, 5, text("Noon, then?")) },
        Message { seen: false, ..from(9, BOB, 3, text("Or one o'clock. 日本語 ünïcode")) },
    ]
}
