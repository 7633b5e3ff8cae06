//! Draws a chart as SVG. Signs and colours are classes; `chart.css` says what they look like, light and dark.

use super::chart::{Axis, Body, Chart, Mark, Plot, Scale, Series, Shape};
use super::legend::{self, COLOURS, dash, text_width};
use super::number::Unit;
use super::scale::{Span, ends, ticks};
use super::{add, bars, escaped, real};

pub(super) const STYLE: &str = include_str!("chart.css");

/// The width of every chart, in units of the picture. It is shown as wide as there is room.
pub(super) const WIDTH: f64 = 860.0;
pub(super) const LEFT: f64 = 62.0;
pub(super) const RIGHT: f64 = 18.0;
const PLOT_HEIGHT: f64 = 250.0;
/// Room below a plot for ticks and the axis' title.
pub(super) const BELOW: f64 = 42.0;
/// Height of a row of marks' labels, and the most rows.
const MARK_ROW: f64 = 15.0;
const MARK_ROWS: usize = 6;
const TITLE: f64 = 30.0;

/// Draws a chart for a page, which has the title and the style.
pub(super) fn inline(chart: &Chart) -> String {
    svg(chart, false)
}

/// Draws a chart that stands alone.
pub(super) fn picture(chart: &Chart) -> String {
    svg(chart, true)
}

fn svg(chart: &Chart, alone: bool) -> String {
    let mut inside = String::new();
    let mut top = 4.0;
    if alone {
        top += TITLE;
        add(&mut inside, format_args!("<text class='t h' x='12' y='24'>{}</text>", escaped(&chart.title)));
    }
    let (height, data) = match &chart.body {
        Body::Plot(plot) => draw_plot(&mut inside, plot, top),
        Body::Bars(bars) => (bars::draw(&mut inside, bars, top), String::new()),
    };
    let label =
        if chart.about.is_empty() { chart.title.clone() } else { format!("{}. {}", chart.title, chart.about) };
    let mut out = String::new();
    let space = if alone { " xmlns='http://www.w3.org/2000/svg'" } else { "" };
    add(
        &mut out,
        format_args!(
            "<svg{space} class='chart' viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{}'",
            escaped(&label)
        ),
    );
    if alone {
        add(
            &mut out,
            format_args!(
                " width='{WIDTH}' height='{height:.0}'><style>{STYLE}</style><rect class='ground' width='100%' height='100%'/>"
            ),
        );
    } else if data.is_empty() {
        out.push('>');
    } else {
        add(&mut out, format_args!(" data-plot='{}'>", escaped(&data)));
    }
    out.push_str(&inside);
    out.push_str("</svg>");
    out
}

/// Draws a plot from a height on, and returns the height of all and what the page's script reads.
fn draw_plot(out: &mut String, plot: &Plot, top: f64) -> (f64, String) {
    let stacks = stack(&plot.series);
    let (x, y) = spans(plot, &stacks);
    let entries: Vec<(&str, Option<Shape>)> =
        plot.series.iter().map(|series| (series.name.as_str(), Some(series.shape))).collect();
    // The legend reads as the stack does if it is short, and is above it anyway.
    let mut top = top + legend::draw(out, &entries, (LEFT, WIDTH - RIGHT), top) + 20.0;
    let (placed, rows) = place_marks(&plot.marks, &x);
    let title_at = top - 6.0;
    top += real(rows) * MARK_ROW;
    let bottom = top + PLOT_HEIGHT;
    let y = Span { places: (bottom, top), ..y };

    draw_axes(out, plot, &x, &y, title_at);
    draw_marks(out, &plot.marks, &placed, &x, (top, bottom));
    let (left, right) = x.places;
    // A picture within the picture cuts off what an axis leaves out.
    add(
        out,
        format_args!(
            "<svg x='{left}' y='{:.1}' width='{:.1}' height='{:.1}' viewBox='{left} {:.1} {:.1} {:.1}'>",
            top - 3.0,
            right - left,
            PLOT_HEIGHT + 6.0,
            top - 3.0,
            right - left,
            PLOT_HEIGHT + 6.0
        ),
    );
    // Measurements are above what was fitted to them.
    let of = |points: bool| {
        let series = plot.series.iter().enumerate();
        series.filter(move |(_, series)| (series.shape == Shape::Points) == points)
    };
    for (index, series) in of(false).chain(of(true)) {
        match stacks.get(index).and_then(Option::as_ref) {
            Some(layer) => draw_layer(out, index % COLOURS, layer, &x, &y),
            None => draw_series(out, index % COLOURS, series, plot, &x, &y),
        }
    }
    out.push_str("</svg>");
    draw_references(out, plot, &x, &y);
    add(out, format_args!("<path class='cursor' visibility='hidden' d='M0 {top:.1}V{bottom:.1}'/>"));
    (bottom + BELOW, data(plot, &x))
}

/// A layer of a stack: x, the lower edge, the upper edge.
type Layer = Vec<(f64, f64, f64)>;

/// Puts stacked series on top of each other; none for the others.
fn stack(series: &[Series]) -> Vec<Option<Layer>> {
    let stacked = || series.iter().filter(|series| series.shape == Shape::Stacked);
    let mut places: Vec<f64> = stacked().flat_map(|series| series.points.iter().map(|(x, _)| *x)).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut height = vec![0.0; places.len()];
    let mut layers = Vec::new();
    for series in series {
        if series.shape != Shape::Stacked {
            layers.push(None);
            continue;
        }
        let mut points = series.points.iter().peekable();
        let layer = places.iter().zip(&mut height).map(|(place, height)| {
            while points.next_if(|(x, _)| x < place).is_some() {}
            let here = points.next_if(|(x, _)| x <= place).map_or(0.0, |(_, y)| *y);
            let lower = *height;
            // What is not known adds nothing.
            *height += if here.is_finite() { here } else { 0.0 };
            (*place, lower, *height)
        });
        layers.push(Some(layer.collect()));
    }
    layers
}

fn spans(plot: &Plot, stacks: &[Option<Layer>]) -> (Span, Span) {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let is_scattered = plot.series.iter().any(|series| series.shape == Shape::Points);
    let log = |axis: &Axis| axis.scale == Scale::Log;
    let x = ends(points().map(|(x, _)| *x), log(&plot.x), (plot.x.from, plot.x.to), is_scattered);
    let tops = stacks.iter().flatten().flatten().map(|(_, _, upper)| *upper);
    let heights = points().map(|(_, y)| *y).chain(tops).chain(plot.references.iter().map(|reference| reference.at));
    let y = ends(heights, log(&plot.y), (plot.y.from, plot.y.to), true);
    (
        Span { from: x.0, to: x.1, log: log(&plot.x), places: (LEFT, WIDTH - RIGHT) },
        Span { from: y.0, to: y.1, log: log(&plot.y), places: (0.0, 0.0) },
    )
}

fn draw_axes(out: &mut String, plot: &Plot, x: &Span, y: &Span, title_at: f64) {
    let ((left, right), (bottom, _)) = (x.places, y.places);
    let (y_ticks, sign) = ticks(y, &plot.y.unit, 5.0);
    add(out, format_args!("<text class='t q' x='{left}' y='{title_at:.1}'>{}</text>", escaped(&plot.y.titled(sign))));
    for tick in y_ticks {
        let Some(place) = y.place(tick.value) else { continue };
        let class = if tick.label.is_empty() { "g n" } else { "g" };
        add(out, format_args!("<path class='{class}' d='M{left} {place:.1}H{right}'/>"));
        add(
            out,
            format_args!("<text class='t e' x='{:.1}' y='{:.1}'>{}</text>", left - 8.0, place + 4.0, tick.label),
        );
    }
    let (x_ticks, sign) = ticks(x, &plot.x.unit, 8.0);
    for tick in x_ticks.into_iter().filter(|tick| !tick.label.is_empty()) {
        let Some(place) = x.place(tick.value) else { continue };
        add(out, format_args!("<path class='b' d='M{place:.1} {bottom:.1}v5'/>"));
        add(out, format_args!("<text class='t m' x='{place:.1}' y='{:.1}'>{}</text>", bottom + 18.0, tick.label));
    }
    let title = escaped(&plot.x.titled(sign));
    add(out, format_args!("<text class='t q e' x='{right}' y='{:.1}'>{title}</text>", bottom + 36.0));
    add(out, format_args!("<path class='b' d='M{left} {bottom:.1}H{right}'/>"));
}

/// Returns each mark's row and where its label begins, and how many rows there are. What finds no room has none: its
/// label is then seen when pointed at.
fn place_marks(marks: &[Mark], x: &Span) -> (Vec<Option<(usize, f64)>>, usize) {
    let mut rows: Vec<f64> = Vec::new();
    let placed = marks.iter().map(|mark| {
        let width = text_width(&mark.label) * 0.92 + 10.0;
        let begins = (x.place(mark.at)? + 3.0).clamp(LEFT, (WIDTH - RIGHT - width).max(LEFT));
        let row = rows.iter().position(|ends| *ends <= begins).unwrap_or(rows.len());
        if row >= MARK_ROWS {
            return None;
        }
        if row == rows.len() {
            rows.push(0.0);
        }
        if let Some(ends) = rows.get_mut(row) {
            *ends = begins + width;
        }
        Some((row, begins))
    });
    let placed: Vec<_> = placed.collect();
    (placed, rows.len())
}

fn draw_marks(
    out: &mut String,
    marks: &[Mark],
    placed: &[Option<(usize, f64)>],
    x: &Span,
    (top, bottom): (f64, f64),
) {
    let rows = placed.iter().flatten().map(|(row, _)| row + 1).max().unwrap_or(0);
    for (mark, placed) in marks.iter().zip(placed) {
        let (left, right) = x.places;
        let Some(at) = x.place(mark.at).filter(|at| (left - 0.5..=right + 0.5).contains(at)) else { continue };
        let label = escaped(&mark.label);
        let from = placed.map_or(top, |(row, _)| top - real(rows - row) * MARK_ROW);
        out.push_str("<g>");
        if let Some(until) = mark.until.and_then(|until| x.place(until)) {
            let width = (until.min(right) - at).max(1.0);
            add(
                out,
                format_args!(
                    "<rect class='band' x='{at:.1}' y='{top:.1}' width='{width:.1}' height='{:.1}'/>",
                    bottom - top
                ),
            );
        }
        add(out, format_args!("<path class='k' d='M{at:.1} {from:.1}V{bottom:.1}'/>"));
        if let Some((_, begins)) = placed {
            add(out, format_args!("<text class='t s' x='{begins:.1}' y='{:.1}'>{label}</text>", from + 11.0));
        }
        add(out, format_args!("<title>{label}</title></g>"));
    }
}

fn draw_layer(out: &mut String, colour: usize, layer: &Layer, x: &Span, y: &Span) {
    let base = y.places.0;
    let edge = |out: &mut String, at: f64, height: f64, first: bool| {
        // On a logarithmic axis nothing is at the bottom.
        let (Some(at), height) = (x.place(at), y.place(height).unwrap_or(base)) else { return };
        add(out, format_args!("{}{at:.1} {height:.1}", if first { 'M' } else { 'L' }));
    };
    let mut path = String::new();
    for (index, (at, _, upper)) in layer.iter().enumerate() {
        edge(&mut path, *at, *upper, index == 0);
    }
    let line = path.clone();
    for (at, lower, _) in layer.iter().rev() {
        edge(&mut path, *at, *lower, false);
    }
    add(out, format_args!("<path class='a c{colour}' d='{path}Z'/><path class='l w c{colour}' d='{line}'/>"));
}

fn draw_series(out: &mut String, colour: usize, series: &Series, plot: &Plot, x: &Span, y: &Span) {
    let places = series.points.iter().map(|(at, value)| x.place(*at).zip(y.place(*value)));
    if series.shape == Shape::Points {
        for (place, (at, value)) in places.zip(&series.points) {
            let Some((left, height)) = place else { continue };
            let said = format!("{}: {} at {}", series.name, plot.y.unit.written(*value), plot.x.unit.written(*at));
            add(
                out,
                format_args!(
                    "<circle class='p c{colour}' cx='{left:.1}' cy='{height:.1}' r='4.5'><title>{}</title></circle>",
                    escaped(&said)
                ),
            );
        }
        return;
    }
    let mut path = String::new();
    let mut begun = false;
    for place in places {
        let Some((left, height)) = place else {
            begun = false;
            continue;
        };
        match (begun, series.shape) {
            (false, _) => add(&mut path, format_args!("M{left:.1} {height:.1}")),
            (true, Shape::Steps) => add(&mut path, format_args!("H{left:.1}V{height:.1}")),
            (true, _) => add(&mut path, format_args!("L{left:.1} {height:.1}")),
        }
        begun = true;
    }
    let (class, dash) = if series.shape == Shape::Fitted { ("l f", "") } else { ("l", dash(colour)) };
    add(out, format_args!("<path class='{class} c{colour}'{dash} d='{path}'/>"));
}

fn draw_references(out: &mut String, plot: &Plot, x: &Span, y: &Span) {
    let (left, right) = x.places;
    for reference in &plot.references {
        let Some(place) = y.place(reference.at) else { continue };
        add(
            out,
            format_args!(
                "<path class='r' d='M{left} {place:.1}H{right}'/><text class='t e r' x='{:.1}' y='{:.1}'>{}</text>",
                right - 4.0,
                place - 5.0,
                escaped(&reference.label)
            ),
        );
    }
}

/// Returns what the page's script needs to say the values under the pointer, as JSON.
fn data(plot: &Plot, x: &Span) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| {
        plot.series
            .iter()
            .flat_map(|series| series.points.iter().map(of))
            .filter(|value| value.is_finite())
            .fold(0.0_f64, |most, value| most.max(value.abs()))
    };
    let y_size = plot.y.unit.sized(most(|(_, y)| *y));
    let x_size = plot.x.unit.sized(x.to);
    // Four digits are more than anybody sees, and make a page of long runs small.
    let short = |value: f64, factor: f64| {
        let value = value * factor;
        let digits = if value == 0.0 { 0.0 } else { (3.0 - value.abs().log10().floor()).clamp(0.0, 9.0) };
        let power = 10_f64.powf(digits);
        value.is_finite().then(|| (value * power).round() / power)
    };
    let series: Vec<serde_json::Value> = plot
        .series
        .iter()
        .map(|series| {
            let points: Vec<_> =
                series.points.iter().map(|(x, y)| (short(*x, x_size.factor), short(*y, y_size.factor))).collect();
            serde_json::json!({"name": series.name, "points": points})
        })
        .collect();
    let is_clock = plot.x.unit == Unit::Elapsed;
    serde_json::json!({
        "left": x.places.0, "right": x.places.1,
        "from": x.from * x_size.factor, "to": x.to * x_size.factor, "log": x.log,
        "x": if is_clock { "" } else { x_size.sign }, "title": plot.x.title, "clock": is_clock, "y": y_size.sign,
        "series": series,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(series: Vec<Series>) -> Plot {
        Plot::new(Axis::elapsed(), Axis::new("load", Unit::Cores), series)
    }

    #[test]
    fn layers_are_put_on_those_before_them() {
        let layers = stack(&[
            Series::new("one", Shape::Stacked, [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN)]),
            Series::new("line", Shape::Line, [(0.0, 9.0)]),
            Series::new("other", Shape::Stacked, [(1.0, 3.0), (2.0, 1.0)]),
        ]);

        assert_eq!(layers[0], Some(vec![(0.0, 0.0, 1.0), (1.0, 0.0, 2.0), (2.0, 0.0, 0.0)]));
        assert_eq!(layers[1], None);
        assert_eq!(layers[2], Some(vec![(0.0, 1.0, 1.0), (1.0, 2.0, 5.0), (2.0, 0.0, 1.0)]));
    }

    #[test]
    fn what_is_not_known_is_a_gap() {
        let with_gap =
            plot(vec![Series::new("a", Shape::Line, [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0)])]);

        let svg = Chart::plot("A", "", with_gap).svg();

        let line = svg.split("class='l c0'").nth(1).unwrap().split('>').next().unwrap();
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert_eq!(line.matches('L').count(), 1, "{line}");
    }

    #[test]
    fn labels_of_marks_do_not_cover_each_other() {
        let x = Span { from: 0.0, to: 100.0, log: false, places: (LEFT, WIDTH - RIGHT) };
        let mark = |at: f64| Mark { at, until: None, label: "a pod was killed".to_owned() };

        let (placed, rows) = place_marks(&[mark(10.0), mark(12.0), mark(80.0), mark(99.9)], &x);

        assert_eq!(rows, 2);
        assert_eq!(placed.iter().map(|placed| placed.unwrap().0).collect::<Vec<_>>(), [0, 1, 0, 1]);
        assert!(placed[3].unwrap().1 + text_width("a pod was killed") * 0.92 < WIDTH);
    }

    #[test]
    fn a_picture_is_well_formed_whatever_it_is_of() {
        let awkward = "<b>\"'&";
        let mut drawn = plot(vec![
            Series::new(awkward, Shape::Line, []),
            Series::new("b", Shape::Points, [(f64::NAN, 1.0), (1.0, f64::INFINITY)]),
            Series::new("c", Shape::Stacked, [(0.0, 0.0)]),
        ])
        .reference(0.0, awkward)
        .mark(f64::NAN, awkward)
        .band(0.5, 0.2, awkward);
        for log in [false, true] {
            if log {
                drawn.y = drawn.y.clone().log();
                drawn.x = drawn.x.clone().log();
            }
            let svg = Chart::plot(awkward, awkward, drawn.clone()).svg();

            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(!svg.contains("<b>"), "{svg}");
            assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
            assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
        }
    }
}
