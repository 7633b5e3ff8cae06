//! The messages of the open conversation, at the right.

use countersign_client::store::{MessageNumber, MessageState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr as _;

use super::{ADMINISTRATOR, BAD, DOUBTFUL, GOOD, QUIET, STRONG, framed, times, wrap};
use crate::chat::model::{Content, Message};
use crate::chat::state::{Focus, State};
use crate::output::size;

/// A line, and the message that it belongs to.
type Row = (Option<MessageNumber>, Line<'static>);

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let is_here = state.focus == Focus::Messages && state.overlay.is_none();
    let block = framed(title(state), is_here);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let rows = rows(state, usize::from(inside.width));
    let height = usize::from(inside.height);
    state.measured.rows = height;
    state.measured.lines = rows.len();
    let highest = rows.len().saturating_sub(height);
    state.scroll = state.scroll.min(highest);
    if state.follow {
        follow(state, &rows, height, highest);
    }
    let first = highest - state.scroll;
    let shown: Vec<Line<'static>> = rows.into_iter().skip(first).take(height).map(|(_, line)| line).collect();
    // Few messages stand at the bottom, where the next one comes.
    let empty = height.saturating_sub(shown.len());
    let lines: Vec<Line<'static>> = std::iter::repeat_n(Line::default(), empty).chain(shown).collect();
    frame.render_widget(Paragraph::new(lines), inside);
    if state.scroll > 0 {
        let below = format!(" ↓ {} more ", state.scroll);
        let row = Rect {
            y: area.bottom().saturating_sub(1),
            height: 1,
            x: area.x + 1,
            width: area.width.saturating_sub(2),
        };
        frame.render_widget(Line::styled(below, STRONG).right_aligned(), row);
    }
}

fn title(state: &State) -> Line<'static> {
    let Some(conversation) = state.current() else {
        return Line::raw(" Messages ");
    };
    let mut spans = vec![Span::raw(" ")];
    let mut people = conversation.people.clone();
    people.sort_by_key(|user| state.name(user));
    for (index, user) in people.iter().enumerate() {
        let mark = if state.is_administrator(user) { format!(" {ADMINISTRATOR}") } else { String::new() };
        let comma = if index > 0 { ", " } else { "" };
        spans.push(Span::raw(format!("{comma}{}{mark}", state.name(user))));
    }
    if people.is_empty() {
        spans.push(Span::raw("Notes to yourself"));
    }
    if let [one] = people.as_slice() {
        if state.is_administrator(one) {
            spans.push(Span::raw(" administrator"));
        }
        if state.people.get(one).is_some_and(|person| !person.active) {
            spans.push(Span::styled(" not active any more", DOUBTFUL));
        }
    }
    spans.push(Span::raw(" "));
    Line::from(spans)
}

/// Scrolls so that the selected message is on the screen, its end before its beginning.
fn follow(state: &mut State, rows: &[Row], height: usize, highest: usize) {
    let is_selected = |row: &Row| row.0.is_some() && row.0 == state.selected;
    let (Some(first), Some(last)) = (rows.iter().position(is_selected), rows.iter().rposition(is_selected)) else {
        return;
    };
    let top = highest - state.scroll;
    let wanted = if first < top {
        first
    } else if last >= top + height {
        (last + 1 - height).min(first)
    } else {
        top
    };
    state.scroll = highest.saturating_sub(wanted);
}

/// Lays all messages out.
fn rows(state: &State, width: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    if state.older {
        rows.push((None, Line::styled("older messages: PgUp", QUIET).centered()));
    }
    let mut day = None;
    let mut before = None;
    for message in &state.messages {
        let its_day = times::day(message.time, &state.zone);
        // Room between people, where no rule makes it.
        if before.is_some_and(|sender| sender != message.sender) {
            rows.push((None, Line::default()));
        }
        before = Some(message.sender);
        if day != Some(its_day) {
            day = Some(its_day);
            rows.push((None, rule(&times::heading(its_day, state.now, &state.zone), width, QUIET)));
        }
        if state.new_from == Some(message.number) {
            rows.push((None, rule("new", width, GOOD)));
        }
        let start = rows.len();
        rows.push((Some(message.number), header(state, message)));
        for line in body(message, width.saturating_sub(2)) {
            rows.push((Some(message.number), line));
        }
        let is_selected = state.focus == Focus::Messages && state.selected == Some(message.number);
        for (_, line) in rows.iter_mut().skip(start) {
            let gutter = if is_selected { Span::styled("▌ ", STRONG) } else { Span::raw("  ") };
            line.spans.insert(0, gutter);
        }
    }
    rows
}

fn rule(text: &str, width: usize, style: Style) -> Line<'static> {
    let rest = width.saturating_sub(text.width() + 4);
    Line::styled(format!("── {text} {}", "─".repeat(rest)), style)
}

/// Who, when, and how far it has come.
fn header(state: &State, message: &Message) -> Line<'static> {
    let name = if message.outgoing { "You".to_owned() } else { state.name(&message.sender) };
    let mut spans = vec![Span::styled(name, STRONG)];
    if !message.outgoing && state.is_administrator(&message.sender) {
        spans.push(Span::raw(format!(" {ADMINISTRATOR}")));
    }
    spans.push(Span::styled(format!("  {}", times::clock(message.time, &state.zone)), QUIET));
    let (mark, style) = mark(message);
    if !mark.is_empty() {
        spans.push(Span::styled(format!("  {mark}"), style));
    }
    Line::from(spans)
}

/// Says how far a message has come: a sign, and a word for it.
pub(super) fn mark(message: &Message) -> (String, Style) {
    let (done, parts) = message.parts;
    let of_parts = if parts > 1 { format!(", {done} of {parts} parts") } else { String::new() };
    match message.state {
        MessageState::Preparing => ("◌ being encrypted".to_owned(), QUIET),
        MessageState::Queued => (format!("◌ in the outbox{of_parts}"), DOUBTFUL),
        MessageState::Failed => ("✗ NOT sent".to_owned(), BAD),
        MessageState::Sent => {
            let (received, all) = (message.received(), message.recipients.len());
            if received == all && all > 0 {
                ("✓✓ received".to_owned(), GOOD)
            } else if received > 0 {
                (format!("✓ received by {received} of {all}"), GOOD)
            } else {
                ("✓ sent".to_owned(), QUIET)
            }
        }
        MessageState::Incomplete => (format!("◌ {done} of {parts} parts are here"), DOUBTFUL),
        MessageState::Sealed => ("◌ not opened yet".to_owned(), DOUBTFUL),
        MessageState::Refused => ("✗ REFUSED, not shown".to_owned(), BAD),
        MessageState::Unverified => ("✗ NOT verified: it may be by anyone".to_owned(), BAD),
        MessageState::Plain => ("signed by hand".to_owned(), QUIET),
        MessageState::Verified => (String::new(), Style::new()),
    }
}

fn body(message: &Message, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    match &message.content {
        Content::Text(text) => {
            for line in text {
                lines.extend(wrap(line, width).into_iter().map(Line::raw));
            }
        }
        Content::File { name, size: bytes } => {
            let text = format!("[file] {name} ({})", size(*bytes));
            lines.extend(wrap(&text, width).into_iter().map(Line::raw));
        }
        Content::Change => {
            let text = if message.outgoing {
                "[change] you asked to countersign it"
            } else {
                "[change] asks you to countersign it: Tab, Enter reads it"
            };
            lines.extend(wrap(text, width).into_iter().map(Line::raw));
        }
        Content::Nothing => {}
    }
    if let Some(note) = &message.note {
        lines.extend(wrap(note, width).into_iter().map(|line| Line::styled(line, DOUBTFUL)));
    }
    lines
}
