//! `(state, event) → effects`: every decision of the interface.
//!
//! Refuses to know: the terminal, the account, the clock. Effects are carried out elsewhere, and what came of them is an
//! event.

mod overlays;
mod places;
mod writing;

use std::collections::BTreeSet;

use countersign_client::account::{ChangeStanding, LogLine};
use countersign_client::envelope::ConversationId;
use countersign_client::store::MessageNumber;
use crossterm::event::{Event as TerminalEvent, KeyEvent, KeyEventKind};
use ratatui_textarea::TextArea;

use super::keys::{self, Action, Place};
use super::model::{Loaded, OpenConversation};
use super::state::{Effect, Event, Focus, Notice, Outgoing, OutgoingBody, Overlay, Page, State, editor};
use overlays::{change_key, new_conversation, page, path, show, show_log};
use places::{focus, focus_on, open_conversation, open_listed, open_message, save, scroll, select, step};
use writing::{finish, leave, recall, send_text};

/// How many parts or messages there must be before their progress is shown.
const PROGRESS_FROM: u64 = 3;

/// Takes an event in, and says what is to be done.
pub(super) fn update(state: &mut State, event: Event) -> Vec<Effect> {
    match event {
        Event::Terminal(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => {
            return self::key(state, key);
        }
        Event::Terminal(TerminalEvent::Paste(text)) => paste(state, &text),
        Event::Terminal(TerminalEvent::Resize(columns, rows)) => {
            state.size = (columns, rows);
            state.follow = state.selected.is_some();
        }
        Event::Terminal(_) => {}
        Event::Time(now) => {
            state.now = now;
            state.notice.take_if(|(_, until)| *until <= now);
        }
        Event::Loaded(loaded) => return self::loaded(state, *loaded),
        Event::StoreChanged => return vec![Effect::Load],
        Event::LogExtended(entries) => {
            log_news(state, entries);
            return vec![Effect::Load];
        }
        Event::Log(entries) => {
            let head = state.log_head;
            log_news(state, entries.iter().filter(|entry| Some(entry.sequence) > head).cloned().collect());
            state.log = entries;
        }
        Event::Refused(refusal) => {
            if !state.refusals.contains(&refusal) {
                state.refusals.push(refusal);
            }
        }
        Event::Stopped(why) => {
            state.online = None;
            state.notice = None;
            state.stopped = Some(why);
        }
        Event::Online(online) => {
            state.online = Some(online);
            state.stopped = None;
        }
        Event::Progress(what, done, total) => {
            // What is done at once would only flicker.
            let is_worth_telling = done < total && total >= PROGRESS_FROM;
            state.progress = is_worth_telling.then_some((what, done, total));
        }
        Event::Locked(locked) => state.locked = locked,
        Event::Composed => {
            state.composing = state.composing.saturating_sub(1);
            return if state.leaving && state.composing == 0 { vec![Effect::Quit] } else { vec![Effect::Load] };
        }
        Event::NotComposed(outgoing, why) => not_composed(state, outgoing, &why),
        Event::Told(notice) => state.tell(notice),
        Event::Change(number, standing) => change(state, number, standing),
        Event::Submitted(sequence) => {
            state.overlay.take_if(|overlay| matches!(overlay, Overlay::Change { .. }));
            state.tell(Notice::good(format!("Done: number {sequence} of the organization's log.")));
        }
        Event::Completed(path) => {
            if let Some(Overlay::SendFile { path: editor } | Overlay::SaveFile { path: editor, .. }) =
                &mut state.overlay
            {
                *editor = self::editor(&[path]);
            }
        }
    }
    Vec::new()
}

/// Returns where keys go.
pub(super) const fn place(state: &State) -> Place {
    match (&state.overlay, state.focus) {
        (Some(Overlay::Page { .. }), _) => Place::Page,
        (Some(Overlay::NewConversation { .. }), _) => Place::NewConversation,
        (Some(Overlay::SendFile { .. } | Overlay::SaveFile { .. }), _) => Place::Path,
        (Some(Overlay::Change { .. }), _) => Place::Change,
        (Some(Overlay::Leaving), _) => Place::Leaving,
        (None, Focus::Conversations) if state.is_searching => Place::Search,
        (None, Focus::Conversations) => Place::Conversations,
        (None, Focus::Messages) => Place::Messages,
        (None, Focus::Compose) => Place::Compose,
    }
}

// === What the account says ===

fn loaded(state: &mut State, loaded: Loaded) -> Vec<Effect> {
    let Loaded { people, conversations, open, head } = loaded;
    state.people = people.into_iter().map(|person| (person.user, person)).collect();
    state.conversations = conversations;
    let known: BTreeSet<ConversationId> = state.conversations.iter().map(|conversation| conversation.id).collect();
    state.begun.retain(|conversation| !known.contains(&conversation.id));
    let mut effects = Vec::new();
    if head > state.log_head {
        // Another process of this profile extended the log.
        effects.push(Effect::ReadLog);
    }
    match open {
        Some(open) if Some(open.id) == state.open => effects.extend(messages(state, open)),
        _ => {}
    }
    if state.open.is_none()
        && let Some(first) = state.listed().first().map(|conversation| conversation.id)
    {
        effects.extend(open_conversation(state, first));
    }
    effects
}

fn messages(state: &mut State, open: OpenConversation) -> Vec<Effect> {
    let OpenConversation { messages, older, .. } = open;
    (state.messages, state.older) = (messages, older);
    if state.new_from.is_none() {
        state.new_from =
            state.messages.iter().find(|message| !message.seen && !message.outgoing).map(|message| message.number);
    }
    if state.selected.is_some_and(|number| state.message(number).is_none()) {
        state.selected = state.messages.last().map(|message| message.number);
    }
    mark_read(state)
}

/// Marks as read what is on the screen while its conversation is open and not only looked at in passing.
fn mark_read(state: &mut State) -> Vec<Effect> {
    if state.focus == Focus::Conversations {
        return Vec::new();
    }
    let is_new = |message: &&super::model::Message| {
        !message.seen && message.is_whole() && !message.outgoing && !state.marked.contains(&message.number)
    };
    let numbers: Vec<MessageNumber> = state.messages.iter().filter(is_new).map(|message| message.number).collect();
    if numbers.is_empty() {
        return Vec::new();
    }
    state.marked.extend(&numbers);
    vec![Effect::MarkRead(numbers), Effect::Load]
}

fn log_news(state: &mut State, entries: Vec<LogLine>) {
    for entry in entries {
        if state.log_news.iter().all(|known| known.sequence != entry.sequence) {
            state.log_head = state.log_head.max(Some(entry.sequence));
            state.log_news.push(entry);
        }
    }
}

fn not_composed(state: &mut State, outgoing: Outgoing, why: &str) {
    state.composing = state.composing.saturating_sub(1);
    state.leaving = false;
    if let OutgoingBody::Text(text) = outgoing.body {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // Where something else was begun meanwhile, that comes after it.
        if state.open == Some(outgoing.conversation) {
            let lines = [&lines[..], state.composer.lines()].concat();
            state.composer = editor(trimmed(&lines));
        } else {
            let draft = state.drafts.entry(outgoing.conversation).or_default();
            *draft = trimmed(&[&lines[..], draft].concat()).to_vec();
        }
    }
    state.tell(Notice::bad(format!("Not sent: {why}")));
}

/// Returns the lines without empty ones at the end.
fn trimmed(lines: &[String]) -> &[String] {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.get(..end).unwrap_or(lines)
}

fn change(state: &mut State, number: MessageNumber, standing: Box<ChangeStanding>) {
    if let Some(Overlay::Change { number: shown, standing: known, busy, .. }) = &mut state.overlay
        && *shown == number
    {
        *known = Some(standing);
        *busy = false;
    }
}

// === Keys ===

fn key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    let place = self::place(state);
    let Some(action) = keys::action(place, key) else {
        type_in(state, key);
        return Vec::new();
    };
    if action == Action::Leave {
        return leave(state);
    }
    match place {
        Place::Page => page(state, action),
        Place::NewConversation => new_conversation(state, action),
        Place::Path => path(state, action),
        Place::Change => change_key(state, action),
        Place::Leaving => {
            state.overlay = None;
            if action == Action::Confirm { finish(state) } else { Vec::new() }
        }
        Place::Everywhere | Place::Conversations | Place::Messages | Place::Compose | Place::Search => {
            open_key(state, place, action, key)
        }
    }
}

/// Gives a key to whatever is being written in.
fn type_in(state: &mut State, key: KeyEvent) {
    let is_line = place(state) != Place::Compose;
    let Some(editor) = editor_of(state) else {
        return;
    };
    // A name of a file or a person is one line.
    if !is_line {
        editor.input(key);
        state.recalled = None;
    } else if key.code != crossterm::event::KeyCode::Enter {
        editor.input(key);
    }
    after_typing(state);
}

fn paste(state: &mut State, text: &str) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
    let is_line = place(state) != Place::Compose;
    let allowed: String =
        text.chars().filter(|&letter| !letter.is_control() || (letter == '\n' && !is_line)).collect();
    if let Some(editor) = editor_of(state) {
        editor.insert_str(allowed);
    }
    after_typing(state);
}

/// Returns what is being written in.
fn editor_of(state: &mut State) -> Option<&mut TextArea<'static>> {
    let place = place(state);
    match &mut state.overlay {
        Some(Overlay::NewConversation { filter, .. }) => Some(filter),
        Some(Overlay::SendFile { path } | Overlay::SaveFile { path, .. }) => Some(path),
        Some(Overlay::Page { .. } | Overlay::Change { .. } | Overlay::Leaving) => None,
        None => match place {
            Place::Search => state.filter.as_mut(),
            Place::Compose if state.open.is_some() => Some(&mut state.composer),
            _ => None,
        },
    }
}

/// What was found by what is typed changes with it.
fn after_typing(state: &mut State) {
    if let Some(Overlay::NewConversation { cursor, .. }) = &mut state.overlay {
        *cursor = 0;
    }
}

fn open_key(state: &mut State, place: Place, action: Action, key: KeyEvent) -> Vec<Effect> {
    match action {
        Action::Help => show(state, Page::Help),
        Action::ShowLog => return show_log(state),
        Action::ShowRefusals if state.refusals.is_empty() => {
            state.tell(Notice::good("The server has done nothing that it must not do."));
        }
        Action::ShowRefusals => show(state, Page::Refusals),
        Action::Resume => {
            state.tell(Notice::good("Trying again …"));
            return vec![Effect::Resume];
        }
        Action::Unlock if state.locked => return vec![Effect::Unlock],
        Action::Unlock => state.tell(Notice::good("GnuPG need not ask for anything in this terminal.")),
        Action::Redraw => return vec![Effect::Redraw],
        Action::NextPlace => return focus(state, [Focus::Messages, Focus::Compose, Focus::Conversations]),
        Action::PlaceBefore => return focus(state, [Focus::Compose, Focus::Conversations, Focus::Messages]),
        Action::New => {
            let (filter, chosen) = (editor(&[]), BTreeSet::new());
            state.overlay = Some(Overlay::NewConversation { filter, cursor: 0, chosen });
        }
        Action::Search => {
            state.focus = Focus::Conversations;
            state.is_searching = true;
            state.filter.get_or_insert_with(|| editor(&[]));
        }
        Action::SendFile if state.current().is_some() => {
            state.overlay = Some(Overlay::SendFile { path: editor(&[]) });
        }
        Action::SendFile => state.tell(Notice::bad("Open a conversation first.")),
        Action::PageUp => return scroll(state, true),
        Action::PageDown => return scroll(state, false),
        Action::Up if place == Place::Messages => return select(state, -1),
        Action::Down if place == Place::Messages => return select(state, 1),
        Action::First if place == Place::Messages => return select(state, isize::MIN),
        Action::Last if place == Place::Messages => return select(state, isize::MAX),
        Action::Up if place == Place::Compose => recall(state, true, key),
        Action::Down if place == Place::Compose => recall(state, false, key),
        Action::Up | Action::ConversationBefore => return step(state, -1),
        Action::Down | Action::NextConversation => return step(state, 1),
        Action::First => return step(state, isize::MIN),
        Action::Last => return step(state, isize::MAX),
        Action::Open if place == Place::Messages => return open_message(state),
        Action::Open if state.open.is_some() => return focus_on(state, Focus::Compose),
        Action::Open => state.tell(Notice::good("Nobody wrote yet. Begin a conversation with n.")),
        Action::Save => save(state),
        Action::Details => {
            if let Some(number) = state.selected {
                show(state, Page::Details(number));
            }
        }
        Action::Send => return send_text(state),
        Action::NewLine => {
            state.composer.insert_newline();
            state.recalled = None;
        }
        Action::Back if place == Place::Messages => return focus_on(state, Focus::Compose),
        Action::Back => return focus_on(state, Focus::Conversations),
        Action::Confirm => {
            state.is_searching = false;
            return open_listed(state);
        }
        Action::Close => {
            state.is_searching = false;
            state.filter = None;
        }
        Action::Leave | Action::Choose | Action::Complete | Action::Sign | Action::Submit => {}
    }
    Vec::new()
}
