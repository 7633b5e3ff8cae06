//! Draws bars, one below the other, with their values.

use super::chart::{Bars, Scale};
use super::draw::{BELOW, RIGHT, WIDTH};
use super::legend::{self, COLOURS, text_width};
use super::scale::{Span, ends, ticks};
use super::{add, escaped, real};

const BAR: f64 = 17.0;
const BETWEEN: f64 = 14.0;
/// The most room for names, and the room that values have right of their bars.
const NAMES_MAX: f64 = 260.0;
const VALUE: f64 = 64.0;

/// Draws bars from a height on, and returns the height of all.
pub(super) fn draw(out: &mut String, bars: &Bars, top: f64) -> f64 {
    let widest = bars.names.iter().map(|name| text_width(name)).fold(30.0, f64::max);
    let left = widest.min(NAMES_MAX) + 22.0;
    let right = WIDTH - RIGHT - VALUE;
    let log = bars.axis.scale == Scale::Log;
    let values = bars.series.iter().flat_map(|(_, values)| values.iter().copied());
    let values = values.chain(bars.references.iter().map(|reference| reference.at));
    let (from, to) = ends(values, log, (bars.axis.from, bars.axis.to), true);
    let x = Span { from, to, log, places: (left, right) };

    let entries: Vec<_> = bars.series.iter().map(|(name, _)| (name.as_str(), None)).collect();
    let mut top = top + legend::draw(out, &entries, (12.0, WIDTH - RIGHT), top) + 8.0;
    if !bars.references.is_empty() {
        top += 16.0;
    }
    let group = BAR * real(bars.series.len().max(1)) + BETWEEN;
    let bottom = top + group * real(bars.names.len());
    let (x_ticks, sign) = ticks(&x, &bars.axis.unit, 7.0);
    for tick in x_ticks.into_iter().filter(|tick| !tick.label.is_empty()) {
        let Some(place) = x.place(tick.value) else { continue };
        add(out, format_args!("<path class='g' d='M{place:.1} {top:.1}V{bottom:.1}'/>"));
        add(out, format_args!("<text class='t m' x='{place:.1}' y='{:.1}'>{}</text>", bottom + 18.0, tick.label));
    }
    for (row, name) in bars.names.iter().enumerate() {
        let middle = top + group * (real(row) + 0.5);
        let label = escaped(name);
        add(out, format_args!("<text class='t e o' x='{:.1}' y='{:.1}'>{label}</text>", left - 10.0, middle + 4.0));
        for (index, (series, values)) in bars.series.iter().enumerate() {
            let Some(value) = values.get(row).copied() else { continue };
            let Some(end) = x.place(value) else { continue };
            let y = top + group * real(row) + BETWEEN / 2.0 + BAR * real(index);
            let written = bars.axis.unit.written_among(value, x.to);
            let said = if bars.series.len() > 1 {
                format!("{name}, {series}: {written}")
            } else {
                format!("{name}: {written}")
            };
            add(
                out,
                format_args!(
                    "<rect class='a c{}' x='{left:.1}' y='{:.1}' width='{:.1}' height='{:.1}'><title>{}</title></rect>",
                    index % COLOURS,
                    y + 1.0,
                    (end - left).max(1.0),
                    BAR - 2.0,
                    escaped(&said)
                ),
            );
            add(
                out,
                format_args!(
                    "<text class='t s o' x='{:.1}' y='{:.1}'>{written}</text>",
                    end.max(left) + 6.0,
                    y + BAR / 2.0 + 4.0
                ),
            );
        }
    }
    for reference in &bars.references {
        let Some(place) = x.place(reference.at) else { continue };
        let label = escaped(&reference.label);
        let width = text_width(&reference.label);
        // The label is centred where it has room.
        let middle = place.clamp(left + width / 2.0 - 10.0, (WIDTH - RIGHT - width / 2.0).max(left));
        add(
            out,
            format_args!(
                "<path class='r' d='M{place:.1} {:.1}V{bottom:.1}'/><text class='t m r' x='{middle:.1}' y='{:.1}'>{label}</text>",
                top - 4.0,
                top - 8.0
            ),
        );
    }
    add(out, format_args!("<path class='b' d='M{left:.1} {top:.1}V{bottom:.1}'/>"));
    let title = escaped(&bars.axis.titled(sign));
    add(out, format_args!("<text class='t q e' x='{right:.1}' y='{:.1}'>{title}</text>", bottom + 36.0));
    bottom + BELOW
}
