//! From values to places, and round ticks.

use super::number::{Unit, clock, grouped};

/// Steps of a clock, in seconds.
const CLOCK_STEPS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0, 21_600.0,
    43_200.0, 86_400.0,
];

/// A tick of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    /// Empty for one that has only a line.
    pub(super) label: String,
}

/// Values from one end of an axis to the other, and the places of these ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) log: bool,
    /// Where `from` is, and where `to` is.
    pub(super) places: (f64, f64),
}

impl Span {
    /// Returns where a value is; none if it is nowhere on the axis.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let share = if self.log {
            if value <= 0.0 {
                return None;
            }
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let (from, to) = self.places;
        share.is_finite().then_some(from + share * (to - from))
    }
}

/// Returns the ends of an axis that holds all values: round ones where no end is asked for.
pub(super) fn ends(
    values: impl Iterator<Item = f64>,
    log: bool,
    (from, to): (Option<f64>, Option<f64>),
    round: bool,
) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|value| value.is_finite() && (!log || *value > 0.0)) {
        low = low.min(value);
        high = high.max(value);
    }
    if low > high {
        (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
    }
    if log {
        let from = from.filter(|from| *from > 0.0).unwrap_or_else(|| round_log(low * 1.000_001, false));
        let to = to.filter(|to| *to > from).unwrap_or_else(|| round_log(high * 0.999_999, true));
        return (from, if to > from { to } else { from * 10.0 });
    }
    let from = from.unwrap_or(if round { low.min(0.0) } else { low });
    let to = to.unwrap_or_else(|| {
        let step = step(high - from, 5.0);
        if round { from + ((high - from) / step - 1e-9).ceil() * step } else { high }
    });
    (from, if to > from { to } else { from + 1.0 })
}

/// Rounds to 1, 2 or 5 of a decade: up, or down.
fn round_log(value: f64, up: bool) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    let found = if up {
        steps.into_iter().find(|step| *step >= value)
    } else {
        steps.into_iter().rfind(|step| *step <= value)
    };
    found.unwrap_or(value)
}

/// Returns a round step of which about `count` make up a length.
fn step(length: f64, count: f64) -> f64 {
    let rough = length / count;
    if rough <= 0.0 || !rough.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(rough.log10().floor());
    let mantissa = rough / decade;
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| mantissa <= round * 1.000_001).unwrap_or(10.0);
    round * decade
}

/// Returns round ticks for about `count` places, and the sign of their unit.
pub(super) fn ticks(span: &Span, unit: &Unit, count: f64) -> (Vec<Tick>, &'static str) {
    if span.log {
        return log_ticks(span, unit);
    }
    let size = unit.sized(span.to.abs().max(span.from.abs()));
    let (from, to) = (span.from * size.factor, span.to * size.factor);
    let is_clock = *unit == Unit::Elapsed;
    let step = if is_clock {
        let rough = (to - from) / count;
        CLOCK_STEPS.into_iter().find(|step| *step >= rough).unwrap_or_else(|| step(to - from, count))
    } else {
        let step = step(to - from, count);
        if *unit == Unit::Count { step.max(1.0) } else { step }
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of digits, at most 12")]
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let mut ticks = Vec::new();
    let mut index = (from / step - 1e-9).ceil();
    while index * step <= to + step * 1e-9 {
        let shown = index * step;
        let label = if is_clock { clock(shown, size.sign) } else { grouped(shown, digits) };
        ticks.push(Tick { value: shown / size.factor, label });
        index += 1.0;
    }
    (ticks, size.sign)
}

/// Labels decades, and 2 and 5 where there are few of them; each label has its own size of the unit.
fn log_ticks(span: &Span, unit: &Unit) -> (Vec<Tick>, &'static str) {
    let decades = (span.to / span.from).log10();
    let mut ticks = Vec::new();
    let mut decade = 10_f64.powf((span.from * 1.000_001).log10().floor());
    while decade <= span.to * 1.000_001 {
        for mantissa in 1..=9_u8 {
            let value = decade * f64::from(mantissa);
            if value < span.from * 0.999_999 || value > span.to * 1.000_001 {
                continue;
            }
            let labelled = mantissa == 1 || (decades <= 3.2 && [2, 5].contains(&mantissa));
            ticks.push(Tick { value, label: if labelled { short(unit, value) } else { String::new() } });
        }
        decade *= 10.0;
    }
    let own_sizes = matches!(unit, Unit::Seconds | Unit::Bytes);
    (ticks, if own_sizes { "" } else { unit.sized(span.to).sign })
}

/// Writes a tick without digits that say nothing.
fn short(unit: &Unit, value: f64) -> String {
    // 0.9999… of the next size is of the next size.
    let size = unit.sized(value * 1.000_001);
    let shown = value * size.factor;
    let digits = (0..6_u8).find(|digits| {
        let scaled = shown * 10_f64.powi(i32::from(*digits));
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
    });
    let number = grouped(shown, usize::from(digits.unwrap_or(6)));
    if matches!(unit, Unit::Seconds | Unit::Bytes) { format!("{number}\u{202f}{}", size.sign) } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: f64, to: f64, log: bool, unit: &Unit) -> Vec<String> {
        let (ticks, _) = ticks(&Span { from, to, log, places: (0.0, 1.0) }, unit, 6.0);
        ticks.into_iter().map(|tick| tick.label).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 250.0, false, &Unit::PerSecond), ["0", "50", "100", "150", "200", "250"]);
        assert_eq!(labels(0.0, 1.6, false, &Unit::Cores), ["0.0", "0.5", "1.0", "1.5"]);
        assert_eq!(labels(0.0, 0.05, false, &Unit::Seconds), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(labels(0.0, 2.0, false, &Unit::Count), ["0", "1", "2"]);
        assert_eq!(labels(0.0, 0.9, false, &Unit::Share), ["0", "20", "40", "60", "80"]);
    }

    #[test]
    fn times_are_those_of_a_clock() {
        assert_eq!(labels(0.0, 90.0, false, &Unit::Elapsed), ["0", "15", "30", "45", "60", "75", "90"]);
        assert_eq!(labels(0.0, 600.0, false, &Unit::Elapsed), ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]);
    }

    #[test]
    fn logarithmic_ticks_have_a_size_each() {
        let expected = ["1\u{202f}ms", "10\u{202f}ms", "100\u{202f}ms", "1\u{202f}s", "10\u{202f}s"];
        assert_eq!(labels(0.001, 10.0, true, &Unit::Seconds), expected);
        assert_eq!(labels(1.0, 20.0, true, &Unit::Count), ["1", "2", "5", "10", "20"]);
    }

    #[test]
    fn ends_hold_all_values() {
        let of = |values: &[f64], log| ends(values.iter().copied(), log, (None, None), true);

        assert_eq!(of(&[3.0, 231.0, f64::NAN], false), (0.0, 250.0));
        assert_eq!(of(&[0.003, 0.7, 0.0], true), (0.002, 1.0));
        assert_eq!(of(&[], false), (0.0, 1.0));
        assert_eq!(of(&[0.0, 0.0], false), (0.0, 1.0));
        assert_eq!(of(&[5.0], true), (5.0, 50.0));
    }

    #[test]
    fn places_go_from_end_to_end() {
        let span = Span { from: 1.0, to: 100.0, log: true, places: (300.0, 100.0) };

        assert_eq!(span.place(10.0).map(f64::round), Some(200.0));
        assert_eq!(span.place(0.0), None);
        assert_eq!(Span { log: false, ..span }.place(f64::NAN), None);
    }
}
