//! What lies over everything: pages to read, people to choose, files to name, changes to sign.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, List, ListItem, ListState, Paragraph};
use ratatui_textarea::TextArea;

use super::{ADMINISTRATOR, BAD, CHOSEN, DOUBTFUL, GOOD, QUIET, STRONG, framed, messages, times, wrap};
use crate::chat::keys::{PLACES, listed};
use crate::chat::model::{Content, printed};
use crate::chat::state::{Overlay, Page, State};
use crate::output::size;
use countersign_client::account::ChangeStanding;
use countersign_client::store::MessageNumber;

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    // Taken out while it is drawn: drawing reads the rest.
    let Some(mut overlay) = state.overlay.take() else {
        return;
    };
    match &mut overlay {
        Overlay::Page { page, scroll } => {
            let lines = page_lines(state, *page, inner_width(area));
            let inside = window(frame, area, title(*page), rows_of(&lines));
            scrolled(frame, state, inside, lines, scroll);
        }
        Overlay::NewConversation { filter, cursor, chosen } => {
            let found = state.candidates(&filter.lines().concat());
            let everyone = u16::try_from(state.people.len()).unwrap_or(u16::MAX);
            let inside = window(frame, area, " New conversation: with whom? ", everyone.saturating_add(3));
            let [field, list] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inside);
            typed(frame, field, "Name: ", filter);
            let items = found.iter().map(|person| {
                let mark = if chosen.contains(&person.user) { "[x] " } else { "[ ] " };
                let administrator =
                    if person.administrator { format!(" {ADMINISTRATOR} administrator") } else { String::new() };
                ListItem::new(format!("{mark}{}{administrator}", printed(&person.user_id)))
            });
            let selected = (!found.is_empty()).then_some((*cursor).min(found.len().saturating_sub(1)));
            let mut position = ListState::default().with_selected(selected);
            frame.render_stateful_widget(List::new(items).highlight_style(CHOSEN), list, &mut position);
            if found.is_empty() {
                frame.render_widget(Line::styled("Nobody is called like that.", QUIET), list);
            }
        }
        Overlay::SendFile { path } => {
            let to = state.current().map(|conversation| state.title(conversation)).unwrap_or_default();
            let inside = window(frame, area, &format!(" Send a file to {to} "), 4);
            let [field, hint] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inside);
            typed(frame, field, "File: ", path);
            frame.render_widget(Line::styled("Its path; you can drop a file onto the terminal.", QUIET), hint);
        }
        Overlay::SaveFile { path, .. } => {
            let inside = window(frame, area, " Save as ", 4);
            let [field, hint] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inside);
            typed(frame, field, "File: ", path);
            frame.render_widget(Line::styled("A name, or a folder. Nothing is overwritten.", QUIET), hint);
        }
        Overlay::Change { standing, scroll, busy, .. } => {
            let lines = change_lines(standing.as_deref(), *busy, inner_width(area));
            let inside = window(frame, area, " A change to countersign ", rows_of(&lines));
            scrolled(frame, state, inside, lines, scroll);
        }
        Overlay::Leaving => {
            let inside = window(frame, area, " Leave? ", 4);
            let lines = wrap(
                "What you wrote and did not send will be gone. Leave all the same? (y/n)",
                usize::from(inside.width),
            );
            frame.render_widget(Paragraph::new(lines.into_iter().map(Line::raw).collect::<Vec<_>>()), inside);
        }
    }
    state.overlay = Some(overlay);
}

/// Columns that a window in this area has inside.
fn inner_width(area: Rect) -> usize {
    usize::from(window_width(area).saturating_sub(4))
}

fn window_width(area: Rect) -> u16 {
    area.width.saturating_sub(4).min(100)
}

/// Rows that a window with these lines has, frame and all.
fn rows_of(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2)
}

/// Clears a place in the middle, frames it, and returns what is inside.
fn window(frame: &mut Frame<'_>, area: Rect, title: &str, height: u16) -> Rect {
    let width = window_width(area);
    let height = height.clamp(3, area.height.saturating_sub(2));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let block = framed(title.to_owned(), true);
    let inside = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    let [_, inner, _] =
        Layout::horizontal([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(inside);
    inner
}

fn typed(frame: &mut Frame<'_>, area: Rect, label: &'static str, editor: &mut TextArea<'static>) {
    let columns = u16::try_from(label.len()).unwrap_or_default();
    let [left, right] = Layout::horizontal([Constraint::Length(columns), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Span::styled(label, STRONG), left);
    editor.set_wrap_mode(ratatui_textarea::WrapMode::None);
    editor.set_cursor_style(CHOSEN);
    frame.render_widget(&*editor, right);
}

fn scrolled(frame: &mut Frame<'_>, state: &mut State, area: Rect, lines: Vec<Line<'static>>, scroll: &mut usize) {
    let height = usize::from(area.height);
    state.measured.page = (height, lines.len());
    *scroll = (*scroll).min(lines.len().saturating_sub(height));
    let below = lines.len().saturating_sub(*scroll + height);
    let shown: Vec<Line<'static>> = lines.into_iter().skip(*scroll).take(height).collect();
    frame.render_widget(Paragraph::new(shown), area);
    if below > 0 {
        let row = Rect { y: area.bottom(), height: 1, ..area };
        frame.render_widget(Line::styled(format!(" ↓ {below} more "), STRONG).right_aligned(), row);
    }
}

const fn title(page: Page) -> &'static str {
    match page {
        Page::Help => " Keys ",
        Page::Log => " The organization's log, the newest first ",
        Page::Refusals => " What the server did, and what to do ",
        Page::Details(_) => " Message ",
    }
}

fn page_lines(state: &State, page: Page, width: usize) -> Vec<Line<'static>> {
    match page {
        Page::Help => help(width),
        Page::Log => log(state, width),
        Page::Refusals => refusals(state, width),
        Page::Details(number) => details(state, number, width),
    }
}

fn help(width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for place in PLACES {
        lines.push(Line::styled(place.heading(), STRONG));
        for binding in listed(place) {
            let mut says = wrap(binding.says, width.saturating_sub(14)).into_iter();
            let first = says.next().unwrap_or_default();
            lines
                .push(Line::from(vec![Span::styled(format!("  {:<11} ", binding.name()), STRONG), Span::raw(first)]));
            lines.extend(says.map(|line| Line::raw(format!("{:14}{line}", ""))));
        }
        lines.push(Line::default());
    }
    lines.push(Line::styled("Signs", STRONG));
    for (sign, meaning) in [
        ("◌", "in the outbox: it is safe on the disk and will be sent"),
        ("✓", "sent: the server has it for everyone"),
        ("✓✓", "received: every recipient signed a receipt for it"),
        ("✗", "not sent, not verified, or refused; i says why"),
        (ADMINISTRATOR, "an administrator of the organization, as its log says"),
        ("(3)", "so many messages that you have not read"),
        ("…", "something that you began to write there"),
    ] {
        lines.push(Line::from(vec![Span::styled(format!("  {sign:<11} "), STRONG), Span::raw(meaning)]));
    }
    lines
}

fn log(state: &State, width: usize) -> Vec<Line<'static>> {
    if state.log.is_empty() {
        return vec![Line::styled("It is being read …", QUIET)];
    }
    let mut lines = Vec::new();
    for entry in state.log.iter().rev() {
        let is_new = state.log_new_from.is_some_and(|from| entry.sequence >= from);
        let time = times::full(entry.time, &state.zone);
        let mut heading = vec![Span::styled(format!("{}  {time}", entry.sequence), STRONG)];
        if is_new {
            heading.push(Span::styled("  new", GOOD.patch(STRONG)));
        }
        lines.push(Line::from(heading));
        for text in &entry.change {
            lines.extend(indented(text, width));
        }
        for text in &entry.signatures {
            lines.extend(indented(text, width).into_iter().map(|line| line.style(QUIET)));
        }
        lines.push(Line::default());
    }
    lines
}

fn indented(text: &str, width: usize) -> Vec<Line<'static>> {
    wrap(&printed(text), width.saturating_sub(2)).into_iter().map(|line| Line::raw(format!("  {line}"))).collect()
}

fn refusals(state: &State, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for refusal in state.refusals.iter().rev() {
        lines.extend(wrap(&printed(&refusal.summary), width).into_iter().map(|line| Line::styled(line, BAD)));
        for detail in &refusal.details {
            lines.extend(indented(detail, width));
        }
        lines.push(Line::raw(format!("  the evidence is kept: countersign evidence {}", refusal.evidence)));
        lines.push(Line::default());
    }
    lines.push(Line::styled("What to do", STRONG));
    for text in [
        "Believe nothing that comes through this server until this is cleared up. What is here already stays readable.",
        "Tell an administrator in another way: by telephone, or face to face. Show them the evidence.",
        "Whoever runs the server may have been broken into, or may have restored an old backup. The evidence says which.",
        "What you write stays in the outbox. Once it is cleared up, Ctrl-R tries again.",
    ] {
        for (index, line) in wrap(text, width.saturating_sub(2)).into_iter().enumerate() {
            lines.push(Line::raw(format!("{}{line}", if index == 0 { "- " } else { "  " })));
        }
    }
    lines
}

fn details(state: &State, number: MessageNumber, width: usize) -> Vec<Line<'static>> {
    let Some(message) = state.message(number) else {
        return vec![Line::styled("It is not here any more.", QUIET)];
    };
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str| {
        let mut wrapped = wrap(&printed(value), width.saturating_sub(12)).into_iter();
        let first = wrapped.next().unwrap_or_default();
        lines.push(Line::from(vec![Span::styled(format!("{name:<12}"), STRONG), Span::raw(first)]));
        lines.extend(wrapped.map(|line| Line::raw(format!("{:12}{line}", ""))));
    };
    let who = |user| state.people.get(user).map_or_else(|| state.name(user), |person| person.user_id.clone());
    field("Number", &number.0.to_string());
    field("From", &who(&message.sender));
    if let Some(person) = state.people.get(&message.sender) {
        field("Key", &person.fingerprint);
    }
    field("Written", &times::full(message.time, &state.zone));
    for (index, recipient) in message.recipients.iter().enumerate() {
        let received = match (message.outgoing, recipient.received) {
            (false, _) => "",
            (true, true) => ": received, with a signed receipt",
            (true, false) => ": no receipt yet",
        };
        field(if index == 0 { "To" } else { "" }, &format!("{}{received}", who(&recipient.user)));
    }
    if let Content::File { name, size: bytes } = &message.content {
        field("File", &format!("{name} ({})", size(*bytes)));
    }
    let (mark, _) = messages::mark(message);
    field("State", if mark.is_empty() { "signed by its sender, and sent to exactly these people" } else { &mark });
    if let Some(note) = &message.note {
        field("Note", note);
    }
    lines
}

fn change_lines(standing: Option<&ChangeStanding>, busy: bool, width: usize) -> Vec<Line<'static>> {
    let Some(standing) = standing else {
        return vec![Line::styled("It is being read …", QUIET)];
    };
    let mut lines = Vec::new();
    for text in &standing.words {
        lines.extend(wrap(&printed(text), width).into_iter().map(|line| Line::styled(line, STRONG)));
    }
    lines.push(Line::default());
    for text in &standing.signatures {
        lines.extend(wrap(&printed(text), width).into_iter().map(Line::raw));
    }
    lines.push(Line::raw(format!("{} of {} signatures", standing.signed, standing.needed)));
    lines.push(Line::default());
    let (text, style) = match (&standing.obstacle, busy) {
        (_, true) => ("Working …".to_owned(), QUIET),
        (None, _) => ("It has its signatures. u submits it.".to_owned(), GOOD),
        (Some(_), _) if !standing.signed_by_me && standing.signed < standing.needed => (
            "Sign it only if you know why it is made, from somebody whom you can ask. s signs it.".to_owned(),
            DOUBTFUL,
        ),
        (Some(obstacle), _) => (format!("It cannot be submitted: {obstacle}"), DOUBTFUL),
    };
    lines.extend(wrap(&printed(&text), width).into_iter().map(|line| Line::styled(line, style)));
    lines
}
