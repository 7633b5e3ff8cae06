//! Writing, sending, and leaving.

use countersign_protocol::id::UserId;
use crossterm::event::KeyEvent;
use ratatui_textarea::DataCursor;

use super::trimmed;
use crate::chat::model::{Content, Conversation};
use crate::chat::state::{Effect, Notice, Outgoing, OutgoingBody, Overlay, State, editor};

pub(super) fn recipients(state: &State, conversation: &Conversation) -> Vec<UserId> {
    if conversation.people.is_empty() {
        return state.me().map(|me| me.user).into_iter().collect();
    }
    conversation.people.clone()
}

pub(super) fn send_text(state: &mut State) -> Vec<Effect> {
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
pub(super) fn recall(state: &mut State, back: bool, key: KeyEvent) {
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

pub(super) fn leave(state: &mut State) -> Vec<Effect> {
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
pub(super) fn finish(state: &mut State) -> Vec<Effect> {
    if state.composing == 0 {
        return vec![Effect::Quit];
    }
    state.leaving = true;
    state.tell(Notice::good("Leaving as soon as what you sent is in the outbox …"));
    Vec::new()
}
