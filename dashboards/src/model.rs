//! What a dashboard is made of, in the words of those who look at it.

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its stable identity, a part of its address in Grafana.
    pub uid: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What can be chosen at its top, besides the data source.
    pub variables: Vec<Variable>,
    /// Its rows, from the top.
    pub rows: Vec<Row>,
    /// Over which time it is looked at, unless somebody chooses another: such as `now-1h`.
    pub from: &'static str,
}

/// Panels under one heading.
#[derive(Clone, Debug)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// The panels, from the left; those that do not fit go on below.
    pub panels: Vec<Panel>,
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub enum Variable {
    /// Values of a label, several or all of them.
    Label {
        /// Its name in queries.
        name: &'static str,
        /// Its name for people.
        title: &'static str,
        /// The metric whose label it is, with its selector.
        series: String,
        /// The label.
        label: &'static str,
        /// What "all" matches; none for just the values that there are.
        all: Option<&'static str>,
    },
    /// A number that somebody types.
    Number {
        /// Its name in queries.
        name: &'static str,
        /// Its name for people.
        title: &'static str,
        /// What it is until then.
        value: &'static str,
    },
}

/// What values are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A time.
    Seconds,
    /// Requests a second.
    RequestsPerSecond,
    /// Operations a second: calls, statements, messages.
    PerSecond,
    /// A share, from 0 to 1.
    Share,
    /// A plain number.
    Number,
    /// Bytes.
    Bytes,
    /// Money.
    Dollars,
    /// Cores in use: CPU seconds a second.
    Cores,
}

impl Unit {
    /// Returns Grafana's name of it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::RequestsPerSecond => "reqps",
            Self::PerSecond => "ops",
            Self::Share => "percentunit",
            Self::Number => "short",
            Self::Bytes => "bytes",
            Self::Dollars => "currencyUSD",
            Self::Cores => "suffix: cores",
        }
    }
}

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line for each series.
    Lines,
    /// Areas on top of each other: the sum counts too.
    Stacked,
    /// The last value in large, with its course behind.
    Stat,
    /// A bar for the last value of each series.
    Bars,
}

/// A colour for values from some number on.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// From here on.
    pub from: f64,
    /// Grafana's name of the colour.
    pub colour: &'static str,
}

/// A question to Prometheus.
#[derive(Clone, Debug)]
pub struct Query {
    /// In `PromQL`.
    pub expression: String,
    /// What its series are called; `{{label}}` stands for a label's value.
    pub legend: String,
}

/// A panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its title.
    pub title: &'static str,
    /// What it shows, and what is good and bad.
    pub description: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// How they are shown.
    pub look: Look,
    /// Its questions.
    pub queries: Vec<Query>,
    /// How wide it is, in 24ths of the dashboard.
    pub width: u8,
    /// How high it is, in Grafana's units.
    pub height: u8,
    /// Colours; the lowest value has the first.
    pub thresholds: Vec<Threshold>,
    /// Whether the thresholds are lines in the graph.
    pub lines_at_thresholds: bool,
    /// The end of the axis, if it is fixed.
    pub max: Option<f64>,
    /// Whether values can be less than 0.
    pub signed: bool,
    /// Digits after the point, if Grafana's choice is not good.
    pub decimals: Option<u8>,
}

impl Panel {
    fn new(look: Look, unit: Unit, title: &'static str, description: &'static str) -> Self {
        let (width, height) = if look == Look::Stat { (4, 4) } else { (12, 8) };
        Self {
            title,
            description,
            unit,
            look,
            queries: Vec::new(),
            width,
            height,
            thresholds: Vec::new(),
            lines_at_thresholds: false,
            max: None,
            signed: false,
            decimals: None,
        }
    }

    /// A panel of lines.
    #[must_use]
    pub fn lines(unit: Unit, title: &'static str, description: &'static str) -> Self {
        Self::new(Look::Lines, unit, title, description)
    }

    /// A panel of areas on top of each other.
    #[must_use]
    pub fn stacked(unit: Unit, title: &'static str, description: &'static str) -> Self {
        Self::new(Look::Stacked, unit, title, description)
    }

    /// A panel of one number.
    #[must_use]
    pub fn stat(unit: Unit, title: &'static str, description: &'static str) -> Self {
        Self::new(Look::Stat, unit, title, description)
    }

    /// A panel of bars.
    #[must_use]
    pub fn bars(unit: Unit, title: &'static str, description: &'static str) -> Self {
        Self::new(Look::Bars, unit, title, description)
    }

    /// Asks a question.
    #[must_use]
    pub fn ask(mut self, expression: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query { expression: expression.into(), legend: legend.into() });
        self
    }

    /// Sets the size.
    #[must_use]
    pub fn size(self, width: u8, height: u8) -> Self {
        Self { width, height, ..self }
    }

    /// Colours values: green, and from these numbers on orange and red.
    #[must_use]
    pub fn bad_above(self, orange: f64, red: f64) -> Self {
        let from = |from, colour| Threshold { from, colour };
        let thresholds = vec![from(f64::MIN, "green"), from(orange, "orange"), from(red, "red")];
        Self { thresholds, ..self }
    }

    /// Colours values: red, and from these numbers on orange and green.
    #[must_use]
    pub fn good_above(self, orange: f64, green: f64) -> Self {
        let from = |from, colour| Threshold { from, colour };
        let thresholds = vec![from(f64::MIN, "red"), from(orange, "orange"), from(green, "green")];
        Self { thresholds, ..self }
    }

    /// Draws a red line at an objective.
    #[must_use]
    pub fn objective(self, at: f64) -> Self {
        let from = |from, colour| Threshold { from, colour };
        let thresholds = vec![from(f64::MIN, "transparent"), from(at, "red")];
        Self { thresholds, lines_at_thresholds: true, ..self }
    }

    /// Fixes the end of the axis.
    #[must_use]
    pub fn up_to(self, max: f64) -> Self {
        Self { max: Some(max), ..self }
    }

    /// Lets the axis go below 0.
    #[must_use]
    pub fn signed(self) -> Self {
        Self { signed: true, ..self }
    }

    /// Sets the digits after the point.
    #[must_use]
    pub fn digits(self, decimals: u8) -> Self {
        Self { decimals: Some(decimals), ..self }
    }
}
