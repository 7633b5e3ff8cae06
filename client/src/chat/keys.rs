//! Every key: one table that the keyboard, the footer and the help all read.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a key means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Everywhere,
    Conversations,
    Messages,
    Compose,
    Search,
    NewConversation,
    Path,
    Change,
    Page,
    Leaving,
}

impl Place {
    /// Returns the heading in the help.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Conversations => "In the conversations",
            Self::Messages => "In the messages",
            Self::Compose => "Where you write",
            Self::Search => "While you search",
            Self::NewConversation => "Choosing people",
            Self::Path => "Naming a file",
            Self::Change => "A change to countersign",
            Self::Page => "Reading a page",
            Self::Leaving => "Leaving",
        }
    }

    /// Tells whether keys for everywhere mean something here too.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Conversations | Self::Messages | Self::Compose | Self::Search)
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Help,
    Leave,
    NextPlace,
    PlaceBefore,
    NextConversation,
    ConversationBefore,
    PageUp,
    PageDown,
    New,
    Search,
    SendFile,
    ShowLog,
    ShowRefusals,
    Resume,
    Unlock,
    Redraw,
    Up,
    Down,
    First,
    Last,
    Open,
    Save,
    Details,
    Send,
    NewLine,
    Back,
    Choose,
    Complete,
    Confirm,
    Sign,
    Submit,
    Close,
}

/// A key in a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) place: Place,
    code: KeyCode,
    modifiers: KeyModifiers,
    pub(super) action: Action,
    /// The word in the footer; those without one are in the help only.
    pub(super) short: &'static str,
    /// What it does, in the help; the second key for the same has nothing here.
    pub(super) says: &'static str,
}

const NONE: KeyModifiers = KeyModifiers::NONE;
const CTRL: KeyModifiers = KeyModifiers::CONTROL;
const ALT: KeyModifiers = KeyModifiers::ALT;

const fn bind(
    place: Place,
    (modifiers, code): (KeyModifiers, KeyCode),
    action: Action,
    short: &'static str,
    says: &'static str,
) -> Binding {
    Binding { place, code, modifiers, action, short, says }
}

const fn char(letter: char) -> (KeyModifiers, KeyCode) {
    (NONE, KeyCode::Char(letter))
}

const fn ctrl(letter: char) -> (KeyModifiers, KeyCode) {
    (CTRL, KeyCode::Char(letter))
}

const fn key(code: KeyCode) -> (KeyModifiers, KeyCode) {
    (NONE, code)
}

/// All keys. Letters with Ctrl that move the cursor while one writes (A B D E F H K N P U W Y) are left alone.
#[rustfmt::skip]
pub(super) const BINDINGS: &[Binding] = {
    use KeyCode::{BackTab, Down, End, Enter, Esc, F, Home, PageDown, PageUp, Tab, Up};
    use Place::{Change, Compose, Conversations, Everywhere, Leaving, Messages, NewConversation, Page, Path, Search};
    &[
        bind(Conversations, key(Enter), Action::Open, "write", "open the conversation and write"),
        bind(Conversations, key(Up), Action::Up, "", "the conversation above"),
        bind(Conversations, char('k'), Action::Up, "", ""),
        bind(Conversations, key(Down), Action::Down, "", "the conversation below"),
        bind(Conversations, char('j'), Action::Down, "", ""),
        bind(Conversations, key(Home), Action::First, "", "the first conversation"),
        bind(Conversations, key(End), Action::Last, "", "the last conversation"),
        bind(Conversations, char('n'), Action::New, "new", "new conversation: choose people"),
        bind(Conversations, char('/'), Action::Search, "search", "search for a conversation"),
        bind(Conversations, char('q'), Action::Leave, "", "leave"),
        bind(Conversations, char('?'), Action::Help, "", "this help"),
        bind(Conversations, key(Esc), Action::Close, "", "end the search"),

        bind(Messages, key(Enter), Action::Open, "open", "save the file, read the change, or see who received it"),
        bind(Messages, key(Up), Action::Up, "", "the message before"),
        bind(Messages, char('k'), Action::Up, "", ""),
        bind(Messages, key(Down), Action::Down, "", "the message after"),
        bind(Messages, char('j'), Action::Down, "", ""),
        bind(Messages, key(Home), Action::First, "", "the oldest message that is shown"),
        bind(Messages, key(End), Action::Last, "", "the newest message"),
        bind(Messages, char('s'), Action::Save, "save", "save it to a file"),
        bind(Messages, char('i'), Action::Details, "details", "everything about it: who received it, and what is wrong"),
        bind(Messages, char('q'), Action::Leave, "", "leave"),
        bind(Messages, char('?'), Action::Help, "", "this help"),
        bind(Messages, key(Esc), Action::Back, "", "back to writing"),

        bind(Compose, key(Enter), Action::Send, "send", "send"),
        bind(Compose, (ALT, Enter), Action::NewLine, "new line", "a new line"),
        bind(Compose, ctrl('j'), Action::NewLine, "", "the same, where a terminal keeps Alt for itself"),
        bind(Compose, key(Up), Action::Up, "", "on the first line: what you sent before"),
        bind(Compose, key(Down), Action::Down, "", "on the last line: what you sent after that"),
        bind(Compose, key(Esc), Action::Back, "", "back to the conversations"),

        bind(Search, key(Enter), Action::Confirm, "keep", "keep what was found"),
        bind(Search, key(Up), Action::Up, "", "the conversation above"),
        bind(Search, key(Down), Action::Down, "", "the conversation below"),
        bind(Search, key(Esc), Action::Close, "end", "show all conversations again"),

        bind(NewConversation, key(Enter), Action::Confirm, "begin", "begin with the people that are marked, or the one at the cursor"),
        bind(NewConversation, char(' '), Action::Choose, "mark", "mark somebody, for a conversation of several"),
        bind(NewConversation, key(Up), Action::Up, "", "up"),
        bind(NewConversation, key(Down), Action::Down, "", "down"),
        bind(NewConversation, key(Esc), Action::Close, "close", "close"),

        bind(Path, key(Enter), Action::Confirm, "send or save", "send, or save"),
        bind(Path, key(Tab), Action::Complete, "complete", "complete the name"),
        bind(Path, key(Esc), Action::Close, "close", "close"),

        bind(Change, char('s'), Action::Sign, "sign", "sign it with your key"),
        bind(Change, char('u'), Action::Submit, "submit", "submit it, once it has its signatures"),
        bind(Change, key(Up), Action::Up, "", "up"),
        bind(Change, key(Down), Action::Down, "", "down"),
        bind(Change, key(Esc), Action::Close, "close", "close; nothing is signed"),

        bind(Page, key(Up), Action::Up, "", "up"),
        bind(Page, char('k'), Action::Up, "", ""),
        bind(Page, key(Down), Action::Down, "", "down"),
        bind(Page, char('j'), Action::Down, "", ""),
        bind(Page, key(PageUp), Action::PageUp, "", "a page up"),
        bind(Page, key(PageDown), Action::PageDown, "", "a page down"),
        bind(Page, char(' '), Action::PageDown, "", ""),
        bind(Page, key(Home), Action::First, "", "to the top"),
        bind(Page, key(End), Action::Last, "", "to the bottom"),
        bind(Page, key(Esc), Action::Close, "close", "close"),
        bind(Page, char('q'), Action::Close, "", ""),
        bind(Page, key(Enter), Action::Close, "", ""),

        bind(Leaving, char('y'), Action::Confirm, "leave", "leave, and forget what is not sent"),
        bind(Leaving, char('n'), Action::Close, "stay", "stay"),
        bind(Leaving, key(Esc), Action::Close, "", ""),

        bind(Everywhere, key(Tab), Action::NextPlace, "next", "conversations, messages, writing: the next one"),
        bind(Everywhere, key(BackTab), Action::PlaceBefore, "", "the one before"),
        bind(Everywhere, ctrl('o'), Action::SendFile, "file", "send a file"),
        bind(Everywhere, key(F(1)), Action::Help, "help", "this help"),
        bind(Everywhere, ctrl('q'), Action::Leave, "quit", "leave"),
        bind(Everywhere, ctrl('l'), Action::ShowLog, "log", "the organization's log: who was added and changed, and who signed it"),
        bind(Everywhere, ctrl('c'), Action::Leave, "", "leave"),
        bind(Everywhere, (ALT, Down), Action::NextConversation, "", "the conversation below, from anywhere"),
        bind(Everywhere, (ALT, Up), Action::ConversationBefore, "", "the conversation above, from anywhere"),
        bind(Everywhere, key(PageUp), Action::PageUp, "", "older messages"),
        bind(Everywhere, key(PageDown), Action::PageDown, "", "newer messages"),
        bind(Everywhere, ctrl('t'), Action::New, "", "new conversation: to whom?"),
        bind(Everywhere, ctrl('s'), Action::Search, "", "search for a conversation"),
        bind(Everywhere, ctrl('x'), Action::ShowRefusals, "", "what the server did that it must not do, and what to do"),
        bind(Everywhere, ctrl('g'), Action::Unlock, "", "let GnuPG ask for your PIN or pass phrase"),
        bind(Everywhere, ctrl('r'), Action::Resume, "", "try again, after the server was refused or GnuPG could not"),
        bind(Everywhere, ctrl('z'), Action::Redraw, "", "draw the screen again"),
    ]
};

/// Finds what a key does in a place.
pub(super) fn action(place: Place, event: KeyEvent) -> Option<Action> {
    let fits = |binding: &&Binding| binding.code == event.code && binding.modifiers == modifiers(event);
    let here = BINDINGS.iter().filter(|binding| binding.place == place).find(fits);
    let everywhere = || {
        let open = place.is_open() || matches!(event.code, KeyCode::Char('c' | 'q') if event.modifiers == CTRL);
        BINDINGS.iter().filter(|binding| open && binding.place == Place::Everywhere).find(fits)
    };
    here.or_else(everywhere).map(|binding| binding.action)
}

/// Shift is in the letter, or in Backtab, already.
fn modifiers(event: KeyEvent) -> KeyModifiers {
    let is_letter = matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab);
    if is_letter { event.modifiers.difference(KeyModifiers::SHIFT) } else { event.modifiers }
}

impl Binding {
    /// Returns the key's name, as it stands on keyboards.
    pub(super) fn name(&self) -> String {
        let key = match self.code {
            KeyCode::Char(' ') => "Space".to_owned(),
            KeyCode::Char(letter) if self.modifiers == NONE => letter.to_string(),
            KeyCode::Char(letter) => letter.to_ascii_uppercase().to_string(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::PageUp => "PgUp".to_owned(),
            KeyCode::PageDown => "PgDn".to_owned(),
            KeyCode::BackTab => "Shift-Tab".to_owned(),
            KeyCode::F(number) => format!("F{number}"),
            other => other.to_string(),
        };
        match self.modifiers {
            CTRL => format!("Ctrl-{key}"),
            ALT => format!("Alt-{key}"),
            _ => key,
        }
    }
}

/// The places, in the order in which the help has them.
pub(super) const PLACES: [Place; 9] = [
    Place::Everywhere,
    Place::Conversations,
    Place::Messages,
    Place::Compose,
    Place::Search,
    Place::NewConversation,
    Place::Path,
    Place::Change,
    Place::Page,
];

/// Returns the keys that the help lists for a place.
pub(super) fn listed(place: Place) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.place == place && !binding.says.is_empty())
}

/// Writes all keys as docs/chat.md has them.
#[cfg(test)]
pub(super) fn as_markdown() -> String {
    let row = |binding: &Binding| format!("| {} | {} |\n", binding.name(), binding.says);
    let table = |place: Place| {
        let rows: String = listed(place).map(row).collect();
        format!("\n### {}\n\n| key | what it does |\n|---|---|\n{rows}", place.heading())
    };
    PLACES.into_iter().map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for (index, binding) in BINDINGS.iter().enumerate() {
            for other in &BINDINGS[index + 1..] {
                let is_same = binding.code == other.code && binding.modifiers == other.modifiers;
                assert!(!(is_same && binding.place == other.place), "{} in {:?}", binding.name(), binding.place);
            }
        }
    }

    #[test]
    fn keys_that_edit_a_line_are_left_alone() {
        for letter in "abdefhknpuwy".chars() {
            assert_eq!(action(Place::Compose, KeyEvent::new(KeyCode::Char(letter), CTRL)), None, "Ctrl-{letter}");
        }
        for letter in "aq?n/ ".chars() {
            assert_eq!(action(Place::Compose, KeyEvent::new(KeyCode::Char(letter), NONE)), None, "{letter}");
        }
    }

    #[test]
    fn leaving_is_possible_from_anywhere() {
        for binding in BINDINGS {
            assert_eq!(action(binding.place, KeyEvent::new(KeyCode::Char('q'), CTRL)), Some(Action::Leave));
        }
    }
}
