//! Going from place to place, from conversation to conversation, from message to message.

use countersign_client::envelope::ConversationId;
use countersign_client::store::MessageState;

use super::overlays::show;
use super::{mark_read, trimmed};
use crate::chat::model::Content;
use crate::chat::state::{Effect, Focus, Notice, Overlay, PAGE, Page, State, editor};

pub(super) fn focus(state: &mut State, [from_list, from_messages, from_compose]: [Focus; 3]) -> Vec<Effect> {
    let next = match state.focus {
        _ if state.open.is_none() => Focus::Conversations,
        Focus::Conversations => from_list,
        Focus::Messages => from_messages,
        Focus::Compose => from_compose,
    };
    focus_on(state, next)
}

pub(super) fn focus_on(state: &mut State, focus: Focus) -> Vec<Effect> {
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
pub(super) fn step(state: &mut State, by: isize) -> Vec<Effect> {
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
pub(super) fn open_listed(state: &mut State) -> Vec<Effect> {
    let listed: Vec<ConversationId> = state.listed().iter().map(|conversation| conversation.id).collect();
    match listed.first() {
        Some(first) if !listed.iter().any(|id| Some(*id) == state.open) => open_conversation(state, *first),
        _ => Vec::new(),
    }
}

pub(super) fn open_conversation(state: &mut State, id: ConversationId) -> Vec<Effect> {
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

pub(super) fn select(state: &mut State, by: isize) -> Vec<Effect> {
    let now = state.selected.and_then(|number| state.messages.iter().position(|message| message.number == number));
    let last = state.messages.len().saturating_sub(1);
    let next = now.map_or(last, |now| now.saturating_add_signed(by).min(last));
    state.selected = state.messages.get(next).map(|message| message.number);
    state.follow = true;
    if next == 0 { more(state) } else { Vec::new() }
}

pub(super) fn scroll(state: &mut State, up: bool) -> Vec<Effect> {
    let page = state.measured.rows.saturating_sub(2).max(1);
    let highest = state.measured.lines.saturating_sub(state.measured.rows);
    state.follow = false;
    state.scroll = if up { (state.scroll + page).min(highest) } else { state.scroll.saturating_sub(page) };
    if up && state.scroll == highest { more(state) } else { Vec::new() }
}

/// Shows older messages too.
pub(super) fn more(state: &mut State) -> Vec<Effect> {
    if !state.older {
        return Vec::new();
    }
    state.limit = state.limit.saturating_add(PAGE);
    vec![Effect::Load]
}

pub(super) fn open_message(state: &mut State) -> Vec<Effect> {
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

pub(super) fn save(state: &mut State) {
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
