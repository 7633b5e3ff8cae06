//! What a chart says, without how it is drawn.

use super::draw;
use super::number::Unit;

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What to see in it, or how it was measured; below the chart. May be empty.
    pub about: String,
    /// What is drawn.
    pub body: Body,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub enum Body {
    /// Values over something.
    Plot(Plot),
    /// A value for each of several things.
    Bars(Bars),
}

/// Values over something.
#[derive(Clone, Debug)]
pub struct Plot {
    /// From left to right.
    pub x: Axis,
    /// From below upwards.
    pub y: Axis,
    /// What is drawn, the first at the bottom of a stack. Eight at most can be told apart.
    pub series: Vec<Series>,
    /// Horizontal lines that values are held against.
    pub references: Vec<Reference>,
    /// What happened when.
    pub marks: Vec<Mark>,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What its values are, without the unit.
    pub title: String,
    /// Their unit.
    pub unit: Unit,
    /// How they are spaced.
    pub scale: Scale,
    /// Where it begins; chosen from the values if none is given.
    pub from: Option<f64>,
    /// Where it ends.
    pub to: Option<f64>,
}

/// How an axis is spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By powers of ten. What is not positive has no place.
    Log,
}

/// One line, layer or cloud.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub shape: Shape,
    /// Its points in the order of x. Where y is no number, there is a gap.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A line from point to point.
    Line,
    /// A level that holds until the next point.
    Steps,
    /// A layer on those before it. All stacked series of a chart have the same x; one that has none there adds nothing.
    Stacked,
    /// Points alone: measurements.
    Points,
    /// A dashed line: what was fitted or foretold.
    Fitted,
}

/// A line that values are held against, such as "the article: 50/s".
#[derive(Clone, Debug)]
pub struct Reference {
    /// Where.
    pub at: f64,
    /// What it is.
    pub label: String,
}

/// What happened when: a line, or a band from one moment to another.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When it was or began, as a value of x.
    pub at: f64,
    /// When it ended.
    pub until: Option<f64>,
    /// What it was.
    pub label: String,
}

/// A value for each of several things: bars from left to right, one below the other.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What the values are.
    pub axis: Axis,
    /// The things.
    pub names: Vec<String>,
    /// For each series its name and a value for each thing. One that is no number has no bar.
    pub series: Vec<(String, Vec<f64>)>,
    /// Vertical lines that values are held against.
    pub references: Vec<Reference>,
}

impl Axis {
    /// Makes an even axis whose ends are chosen from the values.
    #[must_use]
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self { title: title.into(), unit, scale: Scale::Linear, from: None, to: None }
    }

    /// Returns the axis of the time since the start of a run.
    #[must_use]
    pub fn elapsed() -> Self {
        Self::new("time", Unit::Elapsed)
    }

    /// Spaces it by powers of ten.
    #[must_use]
    pub fn log(self) -> Self {
        Self { scale: Scale::Log, ..self }
    }

    /// Has it begin at a value.
    #[must_use]
    pub fn from(self, from: f64) -> Self {
        Self { from: Some(from), ..self }
    }

    /// Has it end at a value.
    #[must_use]
    pub fn to(self, to: f64) -> Self {
        Self { to: Some(to), ..self }
    }

    /// Returns the title with the sign of a unit.
    pub(super) fn titled(&self, sign: &str) -> String {
        match (self.title.as_str(), sign) {
            (title, "") => title.to_owned(),
            ("", sign) => sign.to_owned(),
            (title, sign) => format!("{title} ({sign})"),
        }
    }
}

impl Series {
    /// Makes a series.
    pub fn new(name: impl Into<String>, shape: Shape, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), shape, points: points.into_iter().collect() }
    }
}

impl Plot {
    /// Makes a plot without references and marks.
    #[must_use]
    pub const fn new(x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { x, y, series, references: Vec::new(), marks: Vec::new() }
    }

    /// Adds a line that values are held against.
    #[must_use]
    pub fn reference(mut self, at: f64, label: impl Into<String>) -> Self {
        self.references.push(Reference { at, label: label.into() });
        self
    }

    /// Adds a moment.
    #[must_use]
    pub fn mark(mut self, at: f64, label: impl Into<String>) -> Self {
        self.marks.push(Mark { at, until: None, label: label.into() });
        self
    }

    /// Adds a time from one moment to another.
    #[must_use]
    pub fn band(mut self, at: f64, until: f64, label: impl Into<String>) -> Self {
        self.marks.push(Mark { at, until: Some(until), label: label.into() });
        self
    }
}

impl Chart {
    /// Makes a chart of a plot.
    pub fn plot(title: impl Into<String>, about: impl Into<String>, plot: Plot) -> Self {
        Self { title: title.into(), about: about.into(), body: Body::Plot(plot) }
    }

    /// Makes a chart of bars.
    pub fn bars(title: impl Into<String>, about: impl Into<String>, bars: Bars) -> Self {
        Self { title: title.into(), about: about.into(), body: Body::Bars(bars) }
    }

    /// Returns it as a picture of its own, the content of an `.svg` file, light or dark as whoever looks at it prefers.
    #[must_use]
    pub fn svg(&self) -> String {
        draw::picture(self)
    }

    /// Returns a file name for its picture, made of its title.
    #[must_use]
    pub fn file_name(&self) -> String {
        let mut name = String::new();
        for letter in self.title.to_lowercase().chars() {
            if letter.is_ascii_alphanumeric() {
                name.push(letter);
            } else if !name.ends_with('-') && !name.is_empty() {
                name.push('-');
            }
        }
        format!("{}.svg", name.trim_end_matches('-'))
    }
}
