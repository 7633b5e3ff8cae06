//! Reports: one HTML page that needs nothing beside it, its charts as SVG pictures, its tables as Markdown.
//!
//! Owns: what a report can say, and how it looks. Refuses to know: what was measured, and why.
//!
//! Invariants:
//! - A page asks nothing of any other file or server, and every text in it is escaped.
//! - Every axis, column and figure has a unit, and numbers are written the same way everywhere.
//! - What colours tell apart, dashes or places tell apart too; the colours are those of Okabe and Ito (*Color Universal
//!   Design*, 2008), which colour-blind people can tell apart.
//! - A series that is not there in a moment is drawn as a gap, never as a zero.

mod bars;
mod chart;
mod draw;
mod legend;
mod number;
mod page;
mod scale;
mod table;

#[cfg(test)]
mod example;

pub use chart::{Axis, Bars, Body, Chart, Mark, Plot, Reference, Scale, Series, Shape};
pub use number::{Unit, grouped};
pub use page::{Block, Figure, Page, Section, Tone};
pub use table::{Cell, Column, Table};

use std::fmt::{Arguments, Write as _};

/// Appends to a text.
fn add(text: &mut String, what: Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(what);
}

/// Writes a text so that it is only text, within and between tags.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Returns a count as a real number.
fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
