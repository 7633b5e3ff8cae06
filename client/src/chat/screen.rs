//! The terminal: entering and leaving its other screen, and reading its keys.
//!
//! Invariant: however the interface ends, the terminal is as it was before.

use std::io::{self, stdout};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, EventStream};
use crossterm::execute;
use futures_util::StreamExt as _;
use ratatui::layout::{Position, Rect};
use ratatui::{DefaultTerminal, Frame};

/// The terminal while the interface has it.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
    /// None while somebody else reads the keys.
    input: Option<EventStream>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Self> {
        // This also gives the terminal back when the program panics.
        let terminal = ratatui::try_init()?;
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(Self { terminal, input: Some(EventStream::new()) })
    }

    /// Returns the columns and rows.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Forgets what is on the screen, so that all of it is drawn again.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // Not `Terminal::clear`: that asks the terminal where its cursor is, and the answer comes among the keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Waits for a key, a paste or a new size. None if the terminal is gone.
    pub(super) async fn event(&mut self) -> Option<io::Result<Event>> {
        match &mut self.input {
            Some(input) => input.next().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the terminal to somebody else for a while.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        // Two that read the same keys would each get some of them.
        self.input = None;
        execute!(stdout(), DisableBracketedPaste)?;
        ratatui::try_restore()
    }

    /// Takes the terminal back.
    pub(super) fn come_back(&mut self) -> io::Result<()> {
        crossterm::terminal::enable_raw_mode()?;
        execute!(stdout(), crossterm::terminal::EnterAlternateScreen, EnableBracketedPaste)?;
        self.input = Some(EventStream::new());
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        let _ = self.leave();
    }
}
