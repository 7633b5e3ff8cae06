//! Two sides, and whether they differ: what `compare` says.

use crate::measure::{Second, Summary, float};
use crate::report::{Block, Cell, Column, Page, Section, Table, Tone, Unit};
use crate::statistics::{CONFIDENCE, Comparison, Sample, Sense, Told, TooLittle};
use crate::wire::Operation;

/// The runs of one side.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Its runs, one or more.
    pub runs: Vec<Summary>,
}

/// What two sides are compared by.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// New messages a second.
    Messages,
    /// Requests a second.
    Requests,
    /// What a share of messages needed to be sent, at most.
    Sending(f64),
}

const MEASURES: [Measure; 5] =
    [Measure::Messages, Measure::Requests, Measure::Sending(0.5), Measure::Sending(0.9), Measure::Sending(0.99)];

impl Measure {
    fn name(self) -> String {
        match self {
            Self::Messages => "new messages".to_owned(),
            Self::Requests => "requests".to_owned(),
            Self::Sending(share) => format!("sending, p{:.0}", share * 100.0),
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Messages | Self::Requests => Unit::PerSecond,
            Self::Sending(_) => Unit::Seconds,
        }
    }

    const fn sense(self) -> Sense {
        match self {
            Self::Messages | Self::Requests => Sense::Rate,
            Self::Sending(_) => Sense::Duration,
        }
    }

    fn of_run(self, run: &Summary) -> f64 {
        match self {
            Self::Messages => run.rate(Operation::SendMessage),
            Self::Requests => run.total_rate(),
            Self::Sending(share) => run.send.at(share).as_secs_f64(),
        }
    }

    /// Returns the figure of one second; none of a second in which nothing was sent.
    fn of_second(self, second: &Second) -> Option<f64> {
        match self {
            Self::Messages => second.done.get(Operation::SendMessage.index()).map(|sent| float(*sent)),
            Self::Requests => Some(float(second.done.iter().sum())),
            Self::Sending(share) => (second.send.count() > 0).then(|| second.send.at(share).as_secs_f64()),
        }
    }
}

/// What comparing found.
#[derive(Clone, Debug)]
pub struct Compared {
    /// In words.
    pub page: Page,
    /// How many figures of the second side are worse.
    pub worse: u32,
}

impl Side {
    fn sample(&self, measure: Measure) -> Result<Sample, TooLittle> {
        match self.runs.as_slice() {
            [run] => {
                let measured = run.seconds.iter().filter(|second| {
                    // Whole seconds of the part that counts.
                    let at = float(second.second);
                    at >= run.warm_up && at + 1.0 <= run.warm_up + run.measured
                });
                Sample::of_seconds(&measured.filter_map(|second| measure.of_second(second)).collect::<Vec<_>>())
            }
            runs => Sample::of_runs(&runs.iter().map(|run| measure.of_run(run)).collect::<Vec<_>>()),
        }
    }
}

/// Compares two sides: runs with runs where there are several, and otherwise the seconds of the one run of each.
///
/// # Errors
/// If there is too little of one to say anything.
pub fn compared(first: &Side, second: &Side) -> Result<Compared, TooLittle> {
    let interval = |sample: &Sample, unit: &Unit| {
        let interval = sample.interval(CONFIDENCE);
        format!(
            "{} ({}…{})",
            unit.written(interval.estimate),
            unit.written(interval.low),
            unit.written(interval.high)
        )
    };
    let mut rows = Vec::new();
    let mut worse = 0;
    for measure in MEASURES {
        let (one, other) = (first.sample(measure)?, second.sample(measure)?);
        let verdict = Comparison::new(one, other, CONFIDENCE).verdict(measure.sense());
        worse += u32::from(verdict.told() == Told::Worse);
        rows.push(vec![
            Cell::from(measure.name()),
            Cell::from(interval(&one, &measure.unit())),
            Cell::from(interval(&other, &measure.unit())),
            Cell::from(verdict.to_string()),
        ]);
    }
    let columns =
        ["", &first.name, &second.name, "the second against the first"].map(Column::text).into_iter().collect();
    let mut blocks = vec![Block::Table(Table { title: String::new(), columns, rows })];
    for side in [first, second] {
        for run in &side.runs {
            if let Some(why) = run.invalid() {
                blocks.push(Block::Notice(Tone::Bad, format!("{}: no verdict on its speed: {why}.", side.name)));
            }
            if run.ledger.lost > 0 {
                blocks.push(Block::Notice(Tone::Bad, format!("{} lost {} messages.", side.name, run.ledger.lost)));
            }
        }
    }
    let basis = match (first.runs.len(), second.runs.len()) {
        (1, 1) => "One run of each: the seconds of each run in batches, since they depend on each other.".to_owned(),
        (one, other) => format!("{one} runs against {other}."),
    };
    let lead = match worse {
        0 => "Nothing of the second can be told to be worse than the first.".to_owned(),
        1 => "One figure of the second is worse than the first's.".to_owned(),
        worse => format!("{worse} figures of the second are worse than the first's."),
    };
    blocks.push(Block::Text(format!(
        "{basis} Intervals hold the true value in {:.0} of 100 cases.",
        CONFIDENCE * 100.0
    )));
    let page = Page {
        title: format!("{} and {}", first.name, second.name),
        lead,
        sections: vec![Section { title: "Comparison".to_owned(), blocks }],
    };
    Ok(Compared { page, worse })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A run in which each second has about so many messages that took so many milliseconds.
    fn run(rate: u64, millis: u64) -> Summary {
        let mut summary = Summary { measured: 100.0, ..Summary::default() };
        for second in 0..100 {
            let sent = rate + second * 7 % 5;
            let mut of = Second { second, done: [0, sent, 0, 0, 0, 0], ..Second::default() };
            for number in 0..sent {
                let time = Duration::from_micros(millis * 1_000 + (number * 37 + second * 11) % 200);
                of.send.record(time);
                summary.send.record(time);
            }
            summary.operations[1].endings[0] += sent;
            summary.seconds.push(of);
        }
        summary
    }

    fn text(first: Vec<Summary>, second: Vec<Summary>) -> String {
        let side = |name: &str, runs| Side { name: name.to_owned(), runs };
        compared(&side("before", first), &side("after", second)).unwrap().page.markdown("")
    }

    #[test]
    fn a_slower_run_is_told_from_a_faster_one() {
        let text = text(vec![run(100, 2)], vec![run(100, 4)]);

        assert!(text.contains("slower by") && text.contains("no difference can be told"), "{text}");
        assert!(text.contains("3 figures of the second are worse"), "{text}");
    }

    #[test]
    fn several_runs_are_compared_as_runs() {
        let runs = |rate: u64| vec![run(rate, 2), run(rate + 2, 2), run(rate + 1, 2)];

        let text = text(runs(100), runs(150));

        assert!(text.contains("more by 4") || text.contains("more by 5"), "{text}");
        assert!(text.contains("3 runs against 3"), "{text}");
    }

    #[test]
    fn a_run_of_some_seconds_says_too_little() {
        let mut short = run(100, 2);
        short.seconds.truncate(20);
        let side = |name: &str| Side { name: name.to_owned(), runs: vec![short.clone()] };

        assert!(compared(&side("before"), &side("after")).is_err());
    }
}
