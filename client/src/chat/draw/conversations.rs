//! The conversations, at the left.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{List, ListItem, ListState, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr as _;

use super::{ADMINISTRATOR, CHOSEN, GOOD, QUIET, STRONG, framed, shorten, times};
use crate::chat::model::Conversation;
use crate::chat::state::{Focus, State};

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let is_here = state.focus == Focus::Conversations && state.overlay.is_none();
    let block = framed(" Conversations ", is_here);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let rows = u16::from(state.filter.is_some());
    let [search, list] = Layout::vertical([Constraint::Length(rows), Constraint::Fill(1)]).areas(inside);
    let is_searching = state.is_searching;
    if let Some(filter) = &mut state.filter {
        let [label, field] = Layout::horizontal([Constraint::Length(2), Constraint::Fill(1)]).areas(search);
        frame.render_widget(Span::styled("/ ", STRONG), label);
        filter.set_cursor_style(if is_searching { CHOSEN } else { Style::new() });
        frame.render_widget(&*filter, field);
    }
    let listed = state.listed();
    if listed.is_empty() {
        let text =
            if state.filter.is_some() { "Nothing found." } else { "Nobody wrote yet.\nn begins a conversation." };
        frame.render_widget(Paragraph::new(text).style(QUIET).wrap(Wrap { trim: true }), list);
        return;
    }
    let width = usize::from(list.width);
    let items: Vec<ListItem<'_>> = listed.iter().map(|conversation| item(state, conversation, width)).collect();
    let open = listed.iter().position(|conversation| Some(conversation.id) == state.open);
    let mut position = ListState::default().with_selected(open);
    let list_of = List::new(items).highlight_style(if is_here { CHOSEN } else { STRONG });
    frame.render_stateful_widget(list_of, list, &mut position);
}

/// Two rows: who, and beside it how many are new; below it when, and what was begun.
fn item(state: &State, conversation: &Conversation, width: usize) -> ListItem<'static> {
    let is_open = Some(conversation.id) == state.open;
    let time = conversation.last.map_or_else(|| "new".to_owned(), |time| times::brief(time, state.now, &state.zone));
    let administrator = match conversation.people.as_slice() {
        [one] if state.is_administrator(one) => format!(" {ADMINISTRATOR}"),
        _ => String::new(),
    };
    let unseen = if conversation.unseen > 0 { format!(" ({})", conversation.unseen) } else { String::new() };
    let draft = if state.drafts.contains_key(&conversation.id) { " …" } else { "" };
    let end = format!(" {time}");
    let room = width.saturating_sub(2 + administrator.width() + unseen.width() + draft.width() + end.width());
    let name = shorten(&state.title(conversation), room);
    let gap = " ".repeat(room.saturating_sub(name.width()));
    let style = if conversation.unseen > 0 { STRONG } else { Style::new() };
    let spans = vec![
        Span::raw(if is_open { "▸ " } else { "  " }),
        Span::styled(name, style),
        Span::raw(administrator),
        Span::raw(draft),
        Span::styled(unseen, GOOD.patch(STRONG)),
        Span::raw(gap),
        Span::styled(end, QUIET),
    ];
    ListItem::new(Line::from(spans))
}
