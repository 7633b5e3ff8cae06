//! What lies over everything: pages, people to choose, files to name, changes to sign.

use countersign_client::envelope::ConversationId;
use countersign_protocol::id::UserId;

use super::places::{focus_on, open_conversation};
use super::writing::recipients;
use crate::chat::keys::Action;
use crate::chat::model::Conversation;
use crate::chat::state::{Effect, Focus, Notice, Outgoing, OutgoingBody, Overlay, Page, State};

pub(super) fn new_conversation(state: &mut State, action: Action) -> Vec<Effect> {
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
pub(super) fn begin(state: &mut State, people: Vec<UserId>) -> Vec<Effect> {
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

pub(super) fn path(state: &mut State, action: Action) -> Vec<Effect> {
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

pub(super) fn change_key(state: &mut State, action: Action) -> Vec<Effect> {
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

pub(super) fn show(state: &mut State, page: Page) {
    state.overlay = Some(Overlay::Page { page, scroll: 0 });
}

pub(super) fn show_log(state: &mut State) -> Vec<Effect> {
    // Who looks at the log has seen what is new in it; the page marks it.
    state.log_new_from = state.log_news.iter().map(|entry| entry.sequence).min();
    state.log_news.clear();
    show(state, Page::Log);
    vec![Effect::ReadLog]
}

pub(super) fn page(state: &mut State, action: Action) -> Vec<Effect> {
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
