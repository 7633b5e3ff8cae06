//! Thresholds: what a run must reach, in words that a pipeline can hold in one line.

use std::fmt;
use std::str::FromStr;

use super::summary::{Summary, float};
use crate::wire::Operation;

/// A condition on a summary, such as `send.p99<50ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    measure: Measure,
    comparison: Comparison,
    bound: f64,
}

/// A text that is no threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a threshold is a figure, a comparison and a bound: 'send.p99<50ms' (also .p50, .p90, .p999, .max, .mean; also of \
     session, list, read, confirm, acknowledge, delivery, lag), 'errors<0.1%', 'achieved>=99%', 'rate>=200/s', 'total>=900/s', \
     'lost==0', 'duplicated==0', 'corrupted==0', 'late==0', 'dropped==0'"
)]
pub struct InvalidThreshold;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    Time(Of, Statistic),
    Errors,
    Achieved,
    Rate,
    Total,
    Lost,
    Duplicated,
    Corrupted,
    Late,
    Dropped,
}

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// From when a message was due.
    Send,
    Delivery,
    Lag,
    Service(Operation),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Share(f64),
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// Longer signs before those that they begin with.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let split = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (measure, bound) = compact.split_once(sign)?;
            Some((measure, *comparison, bound))
        });
        let (measure, comparison, bound) = split.ok_or(InvalidThreshold)?;
        let measure: Measure = measure.parse()?;
        let bound = measure.bound(bound)?;
        Ok(Self { text: compact.clone(), measure, comparison, bound })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Measure {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        if let Some((of, statistic)) = text.split_once('.') {
            let of = match of {
                "send" => Of::Send,
                "delivery" => Of::Delivery,
                "lag" => Of::Lag,
                "session" => Of::Service(Operation::RequestSessionKey),
                "list" => Of::Service(Operation::ListMessages),
                "read" => Of::Service(Operation::ReadMessage),
                "confirm" => Of::Service(Operation::ConfirmFetched),
                "acknowledge" => Of::Service(Operation::AcknowledgeMessage),
                _ => return Err(InvalidThreshold),
            };
            let statistic = match statistic {
                "max" => Statistic::Max,
                "mean" => Statistic::Mean,
                _ => {
                    let digits =
                        statistic.strip_prefix('p').filter(|digits| !digits.is_empty()).ok_or(InvalidThreshold)?;
                    // p99 is 99 of 100, p999 is 999 of 1 000.
                    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                        return Err(InvalidThreshold);
                    }
                    Statistic::Share(format!("0.{digits}").parse().map_err(|_| InvalidThreshold)?)
                }
            };
            return Ok(Self::Time(of, statistic));
        }
        Ok(match text {
            "errors" => Self::Errors,
            "achieved" => Self::Achieved,
            "rate" => Self::Rate,
            "total" => Self::Total,
            "lost" => Self::Lost,
            "duplicated" => Self::Duplicated,
            "corrupted" => Self::Corrupted,
            "late" => Self::Late,
            "dropped" => Self::Dropped,
            _ => return Err(InvalidThreshold),
        })
    }
}

impl Measure {
    /// Reads a bound in the unit that the figure has: seconds, a share, a number a second, or a number.
    fn bound(self, text: &str) -> Result<f64, InvalidThreshold> {
        let number = |text: &str| -> Result<f64, InvalidThreshold> {
            text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(InvalidThreshold)
        };
        match self {
            Self::Time(..) => Ok(humantime::parse_duration(text).map_err(|_| InvalidThreshold)?.as_secs_f64()),
            Self::Errors | Self::Achieved => match text.strip_suffix('%') {
                Some(percent) => Ok(number(percent)? / 100.0),
                None => number(text),
            },
            Self::Rate | Self::Total => number(text.strip_suffix("/s").unwrap_or(text)),
            Self::Lost | Self::Duplicated | Self::Corrupted | Self::Late | Self::Dropped => number(text),
        }
    }

    fn of(self, summary: &Summary) -> f64 {
        match self {
            Self::Time(of, statistic) => {
                let latencies = match of {
                    Of::Send => &summary.send,
                    Of::Delivery => &summary.delivery,
                    Of::Lag => &summary.lag,
                    Of::Service(operation) => &summary.operation(operation).service,
                };
                let time = match statistic {
                    Statistic::Share(share) => latencies.at(share),
                    Statistic::Max => latencies.max(),
                    Statistic::Mean => latencies.mean(),
                };
                time.as_secs_f64()
            }
            Self::Errors => summary.errors(),
            Self::Achieved if summary.offered == 0 => 1.0,
            Self::Achieved => 1.0 - float(summary.dropped) / float(summary.offered),
            Self::Rate => summary.rate(Operation::SendMessage),
            Self::Total => summary.total_rate(),
            Self::Lost => float(summary.ledger.lost),
            Self::Duplicated => float(summary.ledger.duplicated),
            Self::Corrupted => float(summary.ledger.corrupted),
            Self::Late => float(summary.ledger.late),
            Self::Dropped => float(summary.dropped),
        }
    }

    /// Writes a figure in its unit.
    fn in_words(self, figure: f64) -> String {
        match self {
            Self::Time(..) => format!("{:.3} ms", figure * 1e3),
            Self::Errors | Self::Achieved => format!("{:.3} %", figure * 1e2),
            Self::Rate | Self::Total => format!("{figure:.1}/s"),
            Self::Lost | Self::Duplicated | Self::Corrupted | Self::Late | Self::Dropped => format!("{figure}"),
        }
    }
}

impl Threshold {
    /// Says in words by how much a run missed it; nothing where it did not.
    #[must_use]
    pub fn missed_by(&self, summary: &Summary) -> Option<String> {
        let figure = self.measure.of(summary);
        let met = match self.comparison {
            Comparison::Less => figure < self.bound,
            Comparison::AtMost => figure <= self.bound,
            Comparison::Equal => figure.total_cmp(&self.bound).is_eq(),
            Comparison::AtLeast => figure >= self.bound,
            Comparison::More => figure > self.bound,
        };
        (!met).then(|| format!("{self}: it is {}", self.measure.in_words(figure)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn summary() -> Summary {
        let mut summary = Summary { measured: 10.0, offered: 1_000, dropped: 5, ..Summary::default() };
        for millis in 1..=100 {
            summary.send.record(Duration::from_millis(millis));
        }
        summary.operations[1].endings = [995, 0, 5, 0];
        summary.ledger.late = 2;
        summary
    }

    #[test]
    fn what_is_reached_is_not_missed() {
        for text in [
            "send.p99<100ms",
            "send.max<=101ms",
            "send.mean>50ms",
            "errors<0.6%",
            "errors < 0.006",
            "achieved>=99%",
            "rate>=99.5/s",
            "lost==0",
            "late<=2",
            "dropped<6",
            "list.p99<1ms",
            "total>10",
        ] {
            assert_eq!(text.parse::<Threshold>().unwrap().missed_by(&summary()), None, "{text}");
        }
    }

    #[test]
    fn what_is_missed_is_told_with_its_figure() {
        for (text, figure) in [
            ("send.p50<50ms", "50."),
            ("errors<0.1%", "0.500 %"),
            ("achieved>99.9%", "99.500 %"),
            ("rate>=200/s", "99.5/s"),
            ("late==0", "2"),
            ("send.p999<0s", "100."),
        ] {
            let missed = text.parse::<Threshold>().unwrap().missed_by(&summary());
            assert!(missed.as_ref().is_some_and(|missed| missed.contains(figure)), "{text}: {missed:?}");
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in ["", "send.p99", "send.p<1ms", "send.99<1ms", "send.p99<50", "speed>1", "lost==x", "rate>=NaN"] {
            assert_eq!(text.parse::<Threshold>(), Err(InvalidThreshold), "{text}");
        }
    }
}
