//! `(state, event) → effects`: every decision of the interface.
//!
//! Refuses to know: the terminal, the account, the clock. Effects are carried out elsewhere, and what came of them is an
//! event.

use std::collections::BTreeSet;

use countersign_client::account::{ChangeStanding, LogLine};
use countersign_client::envelope::ConversationId;
use countersign_client::store::{MessageNumber, MessageState};
use countersign_protocol::id::UserId;
use crossterm::event::{Event as TerminalEvent, KeyEvent, KeyEventKind};
use ratatui_textarea::{DataCursor, TextArea};

use super::keys::{self, Action, Place};
use super::model::{Content, Conversation, Loaded, OpenConversation};
use super::state::{Effect, Event, Focus, Notice, Outgoing, OutgoingBody, Overlay, PAGE, Page, State, editor};

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
        Action::NextConversation => return step(state, 1),
        Action::ConversationBefore => return step(state, -1),
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
            state.overlay = Some(Overlay::SendFile { path: editor(&[]) })
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
        Action::Up => return step(state, -1),
        Action::Down => return step(state, 1),
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

// === Places and conversations ===

fn focus(state: &mut State, [from_list, from_messages, from_compose]: [Focus; 3]) -> Vec<Effect> {
    let next = match state.focus {
        _ if state.open.is_none() => Focus::Conversations,
        Focus::Conversations => from_list,
        Focus::Messages => from_messages,
        Focus::Compose => from_compose,
    };
    focus_on(state, next)
}

fn focus_on(state: &mut State, focus: Focus) -> Vec<Effect> {
    state.is_searching = false;
    state.focus = focus;
    state.selected = None;
    if focus == Focus::Messages {
        state.selected = state.messages.last().map(|message| message.number);
        (state.follow, state.scroll) = (true, 0);
    }
    mark_read(state)
}

/// Goes so many conversations further in the list.
fn step(state: &mut State, by: isize) -> Vec<Effect> {
    let listed: Vec<ConversationId> = state.listed().iter().map(|conversation| conversation.id).collect();
    let now = listed.iter().position(|id| Some(*id) == state.open);
    let last = listed.len().saturating_sub(1);
    let next = now.map_or(0, |now| now.saturating_add_signed(by).min(last));
    match listed.get(next) {
        Some(id) if Some(*id) != state.open => open_conversation(state, *id),
        _ => Vec::new(),
    }
}

/// Opens the first conversation that was found, if the open one is not among them.
fn open_listed(state: &mut State) -> Vec<Effect> {
    let listed: Vec<ConversationId> = state.listed().iter().map(|conversation| conversation.id).collect();
    match listed.first() {
        Some(first) if !listed.iter().any(|id| Some(*id) == state.open) => open_conversation(state, *first),
        _ => Vec::new(),
    }
}

fn open_conversation(state: &mut State, id: ConversationId) -> Vec<Effect> {
    if let Some(before) = state.open {
        let lines = std::mem::replace(&mut state.composer, editor(&[])).into_lines();
        if trimmed(&lines).is_empty() {
            state.drafts.remove(&before)
        } else {
            state.drafts.insert(before, lines)
        };
    }
    state.composer = editor(&state.drafts.remove(&id).unwrap_or_default());
    state.open = Some(id);
    (state.messages, state.older, state.limit) = (Vec::new(), false, PAGE);
    (state.new_from, state.selected, state.recalled) = (None, None, None);
    (state.scroll, state.follow) = (0, false);
    vec![Effect::Load]
}

fn new_conversation(state: &mut State, action: Action) -> Vec<Effect> {
    let Some(Overlay::NewConversation { filter, cursor, chosen }) = &state.overlay else {
        return Vec::new();
    };
    let found: Vec<UserId> = state.candidates(&filter.lines().concat()).iter().map(|person| person.user).collect();
    let (at, chosen) = (found.get(*cursor).copied(), chosen.clone());
    match action {
        Action::Confirm => {
            let people: Vec<UserId> =
                if chosen.is_empty() { at.into_iter().collect() } else { chosen.into_iter().collect() };
            if people.is_empty() {
                return Vec::new();
            }
            state.overlay = None;
            return begin(state, people);
        }
        Action::Close => state.overlay = None,
        _ => {
            if let Some(Overlay::NewConversation { cursor, chosen, .. }) = &mut state.overlay {
                match action {
                    Action::Up => *cursor = cursor.saturating_sub(1),
                    Action::Down => *cursor = (*cursor + 1).min(found.len().saturating_sub(1)),
                    Action::Choose => {
                        if let Some(user) = at
                            && !chosen.remove(&user)
                        {
                            chosen.insert(user);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Vec::new()
}

/// Opens the conversation with these people, a new one if there is none.
fn begin(state: &mut State, people: Vec<UserId>) -> Vec<Effect> {
    let Some((me, organization)) = state.me().map(|me| me.user).zip(state.organization) else {
        return Vec::new();
    };
    let everyone: Vec<UserId> = people.iter().copied().chain([me]).collect();
    let id = ConversationId::among(&organization, &everyone);
    if state.conversation(id).is_none() {
        state.begun.insert(0, Conversation { id, people, last: None, unseen: 0 });
    }
    (state.filter, state.is_searching) = (None, false);
    let mut effects = if state.open == Some(id) { Vec::new() } else { open_conversation(state, id) };
    effects.extend(focus_on(state, Focus::Compose));
    effects
}

// === Messages ===

fn select(state: &mut State, by: isize) -> Vec<Effect> {
    let now = state.selected.and_then(|number| state.messages.iter().position(|message| message.number == number));
    let last = state.messages.len().saturating_sub(1);
    let next = now.map_or(last, |now| now.saturating_add_signed(by).min(last));
    state.selected = state.messages.get(next).map(|message| message.number);
    state.follow = true;
    if next == 0 { more(state) } else { Vec::new() }
}

fn scroll(state: &mut State, up: bool) -> Vec<Effect> {
    let page = state.measured.rows.saturating_sub(2).max(1);
    let highest = state.measured.lines.saturating_sub(state.measured.rows);
    state.follow = false;
    state.scroll = if up { (state.scroll + page).min(highest) } else { state.scroll.saturating_sub(page) };
    if up && state.scroll == highest { more(state) } else { Vec::new() }
}

/// Shows older messages too.
fn more(state: &mut State) -> Vec<Effect> {
    if !state.older {
        return Vec::new();
    }
    state.limit = state.limit.saturating_add(PAGE);
    vec![Effect::Load]
}

fn open_message(state: &mut State) -> Vec<Effect> {
    let Some(message) = state.selected_message() else {
        return Vec::new();
    };
    let number = message.number;
    match message.content {
        Content::File { .. } => save(state),
        Content::Change => {
            state.overlay = Some(Overlay::Change { number, standing: None, scroll: 0, busy: false });
            return vec![Effect::ReadChange(number)];
        }
        Content::Text(_) | Content::Nothing => show(state, Page::Details(number)),
    }
    Vec::new()
}

fn save(state: &mut State) {
    let Some(message) = state.selected_message() else {
        return;
    };
    let number = message.number;
    let name = match (&message.content, message.state) {
        (Content::Nothing, _) => return state.tell(Notice::bad("There is nothing in it that may be saved.")),
        (_, MessageState::Incomplete) => return state.tell(Notice::bad("Not all of it is here yet.")),
        (Content::File { name, .. }, _) if !name.contains(['/', '\u{fffd}']) => name.clone(),
        (Content::Change, _) => format!("message-{}.change", number.0),
        (Content::File { .. } | Content::Text(_), _) => format!("message-{}.txt", number.0),
    };
    state.overlay = Some(Overlay::SaveFile { number, path: editor(&[name]) });
}

fn path(state: &mut State, action: Action) -> Vec<Effect> {
    let (Some(Overlay::SendFile { path } | Overlay::SaveFile { path, .. }), conversation) =
        (&state.overlay, state.current())
    else {
        return Vec::new();
    };
    let text = path.lines().concat();
    match (action, &state.overlay) {
        (Action::Complete, _) => return vec![Effect::Complete(text)],
        (Action::Confirm, _) if text.trim().is_empty() => {}
        (Action::Confirm, Some(Overlay::SaveFile { number, .. })) => {
            let effect = Effect::Save(*number, text);
            state.overlay = None;
            return vec![effect];
        }
        (Action::Confirm, _) => {
            let Some(conversation) = conversation else {
                return Vec::new();
            };
            let (id, recipients) = (conversation.id, recipients(state, conversation));
            state.overlay = None;
            state.composing += 1;
            let outgoing = Outgoing { conversation: id, recipients, body: OutgoingBody::File(text) };
            return vec![Effect::Send(outgoing)];
        }
        (Action::Close, _) => state.overlay = None,
        _ => {}
    }
    Vec::new()
}

fn change_key(state: &mut State, action: Action) -> Vec<Effect> {
    let highest = state.measured.page.1.saturating_sub(state.measured.page.0);
    let Some(Overlay::Change { number, standing, scroll, busy }) = &mut state.overlay else {
        return Vec::new();
    };
    let number = *number;
    let can_sign =
        standing.as_ref().is_some_and(|standing| !standing.signed_by_me && standing.signed < standing.needed);
    let can_submit = standing.as_ref().is_some_and(|standing| standing.obstacle.is_none());
    match action {
        Action::Up => *scroll = scroll.saturating_sub(1),
        Action::Down => *scroll = (*scroll + 1).min(highest),
        Action::Sign if can_sign && !*busy => {
            *busy = true;
            return vec![Effect::SignChange(number)];
        }
        Action::Submit if can_submit && !*busy => {
            *busy = true;
            return vec![Effect::SubmitChange(number)];
        }
        Action::Sign => state.tell(Notice::bad("There is nothing for you to sign here.")),
        Action::Submit => state.tell(Notice::bad("It cannot be submitted yet.")),
        Action::Close => state.overlay = None,
        _ => {}
    }
    Vec::new()
}

// === Pages ===

fn show(state: &mut State, page: Page) {
    state.overlay = Some(Overlay::Page { page, scroll: 0 });
}

fn show_log(state: &mut State) -> Vec<Effect> {
    // Who looks at the log has seen what is new in it; the page marks it.
    state.log_new_from = state.log_news.iter().map(|entry| entry.sequence).min();
    state.log_news.clear();
    show(state, Page::Log);
    vec![Effect::ReadLog]
}

fn page(state: &mut State, action: Action) -> Vec<Effect> {
    let (rows, lines) = state.measured.page;
    let highest = lines.saturating_sub(rows);
    if let Some(Overlay::Page { scroll, .. }) = &mut state.overlay {
        match action {
            Action::Up => *scroll = scroll.saturating_sub(1),
            Action::Down => *scroll = (*scroll + 1).min(highest),
            Action::PageUp => *scroll = scroll.saturating_sub(rows.saturating_sub(1)),
            Action::PageDown => *scroll = (*scroll + rows.saturating_sub(1)).min(highest),
            Action::First => *scroll = 0,
            Action::Last => *scroll = highest,
            Action::Close => state.overlay = None,
            _ => {}
        }
    }
    Vec::new()
}

// === Writing ===

fn recipients(state: &State, conversation: &Conversation) -> Vec<UserId> {
    if conversation.people.is_empty() {
        return state.me().map(|me| me.user).into_iter().collect();
    }
    conversation.people.clone()
}

fn send_text(state: &mut State) -> Vec<Effect> {
    let lines = trimmed(state.composer.lines()).to_vec();
    let Some(conversation) = state.current().filter(|_| lines.iter().any(|line| !line.trim().is_empty())) else {
        return Vec::new();
    };
    let outgoing = Outgoing {
        conversation: conversation.id,
        recipients: recipients(state, conversation),
        body: OutgoingBody::Text(lines.join("\n")),
    };
    state.composer = editor(&[]);
    state.recalled = None;
    state.composing += 1;
    (state.scroll, state.follow) = (0, false);
    vec![Effect::Send(outgoing)]
}

/// Goes through what was sent before, as shells do. Within several lines the key moves the cursor.
fn recall(state: &mut State, back: bool, key: KeyEvent) {
    let DataCursor(row, _) = state.composer.cursor();
    let edge = if back { 0 } else { state.composer.lines().len().saturating_sub(1) };
    if row != edge {
        state.composer.input(key);
        return;
    }
    let sent: Vec<&Vec<String>> = state
        .messages
        .iter()
        .rev()
        .filter_map(|message| match &message.content {
            Content::Text(lines) if message.outgoing => Some(lines),
            _ => None,
        })
        .collect();
    let (next, own) = match (&state.recalled, back) {
        (None, true) => (Some(0), state.composer.lines().to_vec()),
        (None, false) => return,
        (Some((index, own)), true) => (Some(index + 1), own.clone()),
        (Some((index, own)), false) => (index.checked_sub(1), own.clone()),
    };
    match next {
        None => {
            state.composer = editor(&own);
            state.recalled = None;
        }
        Some(index) => {
            if let Some(lines) = sent.get(index) {
                state.composer = editor(lines);
                state.recalled = Some((index, own));
            }
        }
    }
}

// === Leaving ===

fn leave(state: &mut State) -> Vec<Effect> {
    // Who asks twice means it.
    if state.leaving || matches!(state.overlay, Some(Overlay::Leaving)) {
        return vec![Effect::Quit];
    }
    if state.has_drafts() {
        state.overlay = Some(Overlay::Leaving);
        return Vec::new();
    }
    finish(state)
}

/// Leaves, once everything that was sent is in the outbox.
fn finish(state: &mut State) -> Vec<Effect> {
    if state.composing == 0 {
        return vec![Effect::Quit];
    }
    state.leaving = true;
    state.tell(Notice::good("Leaving as soon as what you sent is in the outbox …"));
    Vec::new()
}
