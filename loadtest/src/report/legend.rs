//! Names of series with their signs, in rows above a chart.

use super::chart::Shape;
use super::{add, escaped, real};

/// The height of a row.
pub(super) const ROW: f64 = 20.0;
/// The width of a sign, with the room after it.
const SIGN: f64 = 28.0;
const BETWEEN: f64 = 18.0;

/// How many series can be told apart.
pub(super) const COLOURS: usize = 8;

/// Estimates how wide a text is, in a font of 12: no browser is asked.
pub(super) fn text_width(text: &str) -> f64 {
    real(text.chars().count()) * 6.5
}

/// Draws the legend from a place on, and returns how high it is. One series needs none: the title says it.
pub(super) fn draw(out: &mut String, entries: &[(&str, Option<Shape>)], (left, right): (f64, f64), top: f64) -> f64 {
    if entries.len() < 2 {
        return 0.0;
    }
    let (mut x, mut y) = (left, top + ROW / 2.0);
    for (index, (name, shape)) in entries.iter().enumerate() {
        let width = SIGN + text_width(name) + BETWEEN;
        if x > left && x + width - BETWEEN > right {
            x = left;
            y += ROW;
        }
        sign(out, index % COLOURS, *shape, x, y);
        add(out, format_args!("<text class='t' x='{:.1}' y='{:.1}'>{}</text>", x + SIGN, y + 4.0, escaped(name)));
        x += width;
    }
    y + ROW / 2.0 - top
}

fn sign(out: &mut String, colour: usize, shape: Option<Shape>, x: f64, y: f64) {
    match shape {
        None | Some(Shape::Stacked) => {
            add(
                out,
                format_args!("<rect class='a c{colour}' x='{x:.1}' y='{:.1}' width='20' height='12'/>", y - 6.0),
            );
        }
        Some(Shape::Points) => {
            add(out, format_args!("<circle class='p c{colour}' cx='{:.1}' cy='{y:.1}' r='4.5'/>", x + 10.0));
        }
        Some(shape) => {
            let class = if shape == Shape::Fitted { "l f" } else { "l" };
            let dash = if shape == Shape::Fitted { "" } else { dash(colour) };
            add(out, format_args!("<path class='{class} c{colour}'{dash} d='M{x:.1} {y:.1}h20'/>"));
        }
    }
}

/// Returns what tells lines apart without their colour.
pub(super) const fn dash(colour: usize) -> &'static str {
    match colour {
        1 => " stroke-dasharray='7 2'",
        2 => " stroke-dasharray='2 2'",
        3 => " stroke-dasharray='9 2 2 2'",
        5 => " stroke-dasharray='4 3'",
        6 => " stroke-dasharray='12 3'",
        7 => " stroke-dasharray='1 3'",
        _ => "",
    }
}
