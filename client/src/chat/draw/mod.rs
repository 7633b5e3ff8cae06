//! `state → screen`.
//!
//! Invariants: colours are the terminal's own sixteen, so that they fit light and dark ones; nothing is said by colour
//! alone. What a terminal cannot show is replaced at the end, cell by cell, so no other code has to think of it.

mod conversations;
mod messages;
mod overlay;
mod times;

use std::ffi::OsString;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::keys::{BINDINGS, Place};
use super::state::{Focus, State};
use super::update::place;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) colour: bool,
    pub(crate) unicode: bool,
}

impl Abilities {
    /// Judges by `NO_COLOR`, `TERM` and the locale.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text =
            |name| variable(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default().to_lowercase();
        Self {
            colour: text("NO_COLOR").is_none() && text("TERM").is_none_or(|terminal| terminal != "dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}

/// Narrower than this, conversations and messages are not shown side by side.
const SIDE_BY_SIDE: u16 = 64;

const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const DOUBTFUL: Style = Style::new().fg(Color::Magenta);
const GOOD: Style = Style::new().fg(Color::Green);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const ALARM: Style = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
const WARNING: Style = Style::new().fg(Color::Black).bg(Color::Yellow);

/// Marks administrators.
const ADMINISTRATOR: &str = "★";

/// Draws everything, and notes in the state how much room there was.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    if area.width < 24 || area.height < 8 {
        frame.render_widget(Paragraph::new("This window is too small."), area);
    } else {
        whole(frame, state, area);
    }
    adapt(frame.buffer_mut(), state.abilities);
}

fn whole(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let banners = banners(state, area.width);
    let banner_rows = u16::try_from(banners.len()).unwrap_or(u16::MAX).min(area.height / 3);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(banner_rows),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ];
    let [title, banner, middle, notice, footer] = Layout::vertical(rows).areas(area);
    draw_title(frame, state, title);
    frame.render_widget(Paragraph::new(banners), banner);
    if middle.width >= SIDE_BY_SIDE {
        let list = (middle.width / 3).clamp(24, 36);
        let [left, right] = Layout::horizontal([Constraint::Length(list), Constraint::Fill(1)]).areas(middle);
        conversations::draw(frame, state, left);
        draw_right(frame, state, right);
    } else if state.focus == Focus::Conversations {
        conversations::draw(frame, state, middle);
    } else {
        draw_right(frame, state, middle);
    }
    draw_notice(frame, state, notice);
    draw_footer(frame, state, footer);
    overlay::draw(frame, state, area);
}

fn draw_right(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let inner = usize::from(area.width.saturating_sub(2)).max(1);
    let typed: usize = state.composer.lines().iter().map(|line| line.width() / inner + 1).sum();
    let rows = u16::try_from(typed).unwrap_or(u16::MAX).clamp(1, (area.height / 3).max(1)) + 2;
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(rows)]).areas(area);
    messages::draw(frame, state, upper);
    let is_here = state.focus == Focus::Compose && state.overlay.is_none();
    let title = match state.current() {
        Some(conversation) => format!(" To {} ", state.title(conversation)),
        None => " No conversation ".to_owned(),
    };
    let block = framed(title, is_here);
    let inside = block.inner(lower);
    frame.render_widget(block, lower);
    state.composer.set_cursor_style(if is_here { CHOSEN } else { Style::new() });
    state.composer.set_placeholder_text(if is_here { "Write here" } else { "" });
    state.composer.set_placeholder_style(QUIET);
    frame.render_widget(&state.composer, inside);
}

fn draw_title(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let mut left = vec![Span::styled(" Countersign ", STRONG)];
    if let Some(me) = state.me() {
        left.push(Span::raw(format!(" {}", state.name(&me.user))));
        if state.is_administrator(&me.user) {
            left.push(Span::raw(format!(" {ADMINISTRATOR} administrator")));
        }
    }
    let right = match (&state.stopped, state.online) {
        (Some(_), _) => Span::styled("✗ stopped ", BAD),
        (None, Some(true)) => Span::styled("● online ", GOOD),
        (None, Some(false)) => Span::styled("○ offline, trying again ", DOUBTFUL),
        (None, None) if state.locked => Span::styled("○ locked ", DOUBTFUL),
        (None, None) => Span::styled("○ connecting ", QUIET),
    };
    frame.render_widget(Line::from(left), area);
    frame.render_widget(Line::from(right).right_aligned(), area);
}

/// What must not be missed: it stays until it is dealt with.
fn banners(state: &State, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut add = |style: Style, text: &str, rows: usize| {
        let width = usize::from(width.saturating_sub(2)).max(1);
        let mut wrapped = wrap(text, width);
        if wrapped.len() > rows {
            wrapped.truncate(rows);
            if let Some(last) = wrapped.last_mut() {
                *last = shorten(&format!("{last} …"), width);
            }
        }
        for line in wrapped {
            let pad = " ".repeat((width + 1).saturating_sub(line.width()));
            lines.push(Line::styled(format!(" {line}{pad}"), style));
        }
    };
    if let Some(refusal) = state.refusals.last() {
        let more =
            if state.refusals.len() > 1 { format!(" ({} times)", state.refusals.len()) } else { String::new() };
        add(ALARM, &format!("REFUSED{more}: {}. Nothing was changed here.", refusal.summary), 2);
        add(ALARM, "Ctrl-X says what to do", 1);
    }
    if let Some(why) = state.stopped.as_ref().filter(|_| !state.is_server_refused()) {
        add(ALARM, &format!("Stopped: {why}"), 2);
        add(ALARM, "Ctrl-R tries again", 1);
    }
    if state.locked {
        add(
            WARNING,
            "GnuPG would ask for your PIN or pass phrase in this terminal. Ctrl-G lets it ask; until then nothing is sent or fetched.",
            2,
        );
    }
    if let Some(entry) = state.log_news.last() {
        let others = state.log_news.len() - 1;
        let more = if others > 0 { format!(", and {others} more") } else { String::new() };
        let (change, signed) = (entry.change.first().map_or("", |line| line), entry.signatures.join("; "));
        let text = format!("The organization changed: {change}; {signed}{more}");
        add(WARNING, &without_fingerprints(&super::model::printed(&text)), 2);
        add(WARNING, "Ctrl-L reads the log", 1);
    }
    lines
}

/// Leaves out what nobody compares in passing; the log has it in full.
fn without_fingerprints(text: &str) -> String {
    let is_fingerprint = |word: &str| {
        let inner = word.trim_matches(['(', ')', ',', ';']);
        word.starts_with('(') && inner.len() >= 40 && inner.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut kept = String::new();
    for word in text.split(' ') {
        if is_fingerprint(word) {
            kept.push_str(word.rsplit(')').next().unwrap_or_default());
        } else {
            if !kept.is_empty() {
                kept.push(' ');
            }
            kept.push_str(word);
        }
    }
    kept
}

fn draw_notice(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let width = usize::from(area.width.saturating_sub(2));
    let line = match (&state.progress, &state.notice) {
        (Some((what, done, total)), _) => {
            let filled = usize::try_from(done.saturating_mul(20) / (*total).max(1)).unwrap_or(20).min(20);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled));
            Line::raw(shorten(&format!(" {what} {bar} {done} of {total}"), width))
        }
        (None, Some((notice, _))) => {
            let style = if notice.is_bad { BAD } else { Style::new() };
            Line::styled(shorten(&format!(" {}", super::model::printed(&notice.text)), width), style)
        }
        (None, None) if state.composing > 0 => Line::styled(" Signing and encrypting …", QUIET),
        (None, None) => Line::default(),
    };
    frame.render_widget(line, area);
}

fn draw_footer(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let here = place(state);
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    let shown = BINDINGS.iter().filter(|binding| {
        (binding.place == here || (here.is_open() && binding.place == Place::Everywhere)) && !binding.short.is_empty()
    });
    for binding in shown {
        let (name, word) = (binding.name(), format!(" {}  ", binding.short));
        used += name.width() + word.width();
        if used > usize::from(area.width) {
            break;
        }
        spans.push(Span::styled(name, STRONG));
        spans.push(Span::styled(word, QUIET));
    }
    let [_, inner] = Layout::horizontal([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(spans), inner);
}

/// A frame; that of the place where keys go is thick.
fn framed<'a>(title: impl Into<Line<'a>>, is_here: bool) -> Block<'a> {
    let block = Block::bordered().title(title);
    if is_here {
        block.border_type(BorderType::Thick).border_style(Style::new().fg(Color::Cyan)).title_style(STRONG)
    } else {
        block.border_style(QUIET).title_style(Style::new().remove_modifier(Modifier::DIM))
    }
}

/// Breaks a line into lines that fit.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width.max(1)).word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::wrap(text, options).into_iter().map(std::borrow::Cow::into_owned).collect()
}

/// Cuts a line so that it fits, and shows that it was cut.
fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        let next = format!("{short}{character}");
        if next.width() + 1 > width {
            break;
        }
        short = next;
    }
    short.push('…');
    short
}

/// Replaces what this terminal cannot show.
fn adapt(buffer: &mut Buffer, abilities: Abilities) {
    for cell in &mut buffer.content {
        if !abilities.unicode && !cell.symbol().is_ascii() {
            let plain = cell.symbol().chars().next().map_or(" ", plain);
            cell.set_symbol(plain);
        }
        if !abilities.colour {
            // What stood out by its background still does.
            if cell.bg != Color::Reset {
                cell.modifier.insert(Modifier::REVERSED);
            }
            (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
        }
    }
}

/// Returns what stands for a character where only ASCII is shown.
const fn plain(character: char) -> &'static str {
    match character {
        '─' | '–' | '—' | '·' => "-",
        '━' => "=",
        '│' | '┃' | '▌' => "|",
        '┌' | '┐' | '└' | '┘' | '┏' | '┓' | '┗' | '┛' => "+",
        '✓' | '↓' => "v",
        '✗' => "x",
        '◌' | '░' => ".",
        '●' | '★' | '•' => "*",
        '○' => "o",
        '▸' => ">",
        '█' => "#",
        '…' => "~",
        '↑' => "^",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_a_terminal_can_show() {
        let abilities = |variables: &[(&str, &str)]| {
            Abilities::from_environment(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(abilities(&[("LANG", "de_DE.UTF-8")]), Abilities { colour: true, unicode: true });
        assert_eq!(abilities(&[("LANG", "C.utf8"), ("NO_COLOR", "1")]), Abilities { colour: false, unicode: true });
        assert_eq!(
            abilities(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")]),
            Abilities { colour: true, unicode: false }
        );
        // As the no-color convention wants it: an empty value is none.
        assert_eq!(abilities(&[("NO_COLOR", "")]), Abilities { colour: true, unicode: false });
        assert_eq!(abilities(&[("TERM", "dumb")]), Abilities { colour: false, unicode: false });
    }

    #[test]
    fn a_banner_is_told_without_fingerprints() {
        let fingerprint = "0F54DB72BD46B09C0F54DB72BD46B09C12345678";
        let text = format!("add user Dave ({fingerprint}); signed by Alice ({fingerprint}), an administrator (!)");
        assert_eq!(without_fingerprints(&text), "add user Dave; signed by Alice, an administrator (!)");
    }

    #[test]
    fn a_line_is_cut_by_its_columns() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("日本語", 5), "日本…");
    }
}
