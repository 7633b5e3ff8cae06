//! Numbers and units, as people read them.

/// What a number is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration in seconds; shown in µs, ms or s.
    Seconds,
    /// A time since the start of a run, in seconds; shown as a clock shows it.
    Elapsed,
    /// So many a second.
    PerSecond,
    /// Processors.
    Cores,
    /// A share of 0 to 1; shown in %.
    Share,
    /// A size in bytes; shown in B, kB or MB.
    Bytes,
    /// A number of things, which the title names.
    Count,
    /// Any other, by its sign.
    Other(&'static str),
}

/// A unit in one size: what values are multiplied by, and its sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sized {
    pub(super) factor: f64,
    pub(super) sign: &'static str,
}

impl Unit {
    /// Returns the size in which values of up to `most` are read best.
    pub(super) fn sized(&self, most: f64) -> Sized {
        let (factor, sign) = match self {
            Self::Seconds if most < 1e-3 => (1e6, "µs"),
            Self::Seconds if most < 1.0 => (1e3, "ms"),
            Self::Seconds => (1.0, "s"),
            Self::Elapsed if most <= 180.0 => (1.0, "s"),
            Self::Elapsed if most <= 7_200.0 => (1.0, "min:s"),
            Self::Elapsed => (1.0, "h:min"),
            Self::PerSecond => (1.0, "/s"),
            Self::Cores => (1.0, "cores"),
            Self::Share => (100.0, "%"),
            Self::Bytes if most < 10e3 => (1.0, "B"),
            Self::Bytes if most < 10e6 => (1e-3, "kB"),
            Self::Bytes => (1e-6, "MB"),
            Self::Count => (1.0, ""),
            Self::Other(sign) => (1.0, *sign),
        };
        Sized { factor, sign }
    }

    /// Writes one value with its sign, to three digits.
    #[must_use]
    pub fn written(&self, value: f64) -> String {
        self.written_among(value, value)
    }

    /// Writes one of several times of a clock alike, of which `most` is the longest; others as they are.
    pub(super) fn written_among(&self, value: f64, most: f64) -> String {
        let size = self.sized(if *self == Self::Elapsed { most } else { value }.abs());
        let number = if *self == Self::Elapsed {
            clock(value, size.sign)
        } else {
            let value = value * size.factor;
            let is_whole = *self == Self::Count && value.fract() == 0.0;
            grouped(value, if is_whole { 0 } else { digits(value.abs()) })
        };
        match size.sign {
            "" | "min:s" | "h:min" => number,
            "/s" => format!("{number}/s"),
            sign => format!("{number}\u{202f}{sign}"),
        }
    }
}

/// Writes a time as a clock of that sign does.
pub(super) fn clock(seconds: f64, sign: &str) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a run, none below 0")]
    let whole = seconds.max(0.0).round() as u64;
    match sign {
        "min:s" => format!("{}:{:02}", whole / 60, whole % 60),
        "h:min" => format!("{}:{:02}", whole / 3_600, whole / 60 % 60),
        _ => grouped(seconds, usize::from(seconds.fract() != 0.0)),
    }
}

/// Returns how many digits after the point leave three in all.
pub(super) fn digits(value: f64) -> usize {
    match value {
        0.0 => 0,
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

/// Writes a number with so many digits after the point, a thin space between thousands, and a real minus.
#[must_use]
pub fn grouped(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let plain = format!("{:.digits$}", value.abs());
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    if value < 0.0 && plain.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        text.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if let Some(rest) = rest {
        text.push('.');
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(-1_000.25, 1), "−1\u{202f}000.2");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(-0.001, 1), "0.0");
        assert_eq!(grouped(f64::NAN, 1), "–");
    }

    #[test]
    fn values_are_read_in_the_size_that_fits() {
        let written = [
            (Unit::Seconds, 0.000_25, "250\u{202f}µs"),
            (Unit::Seconds, 0.012_34, "12.3\u{202f}ms"),
            (Unit::Seconds, 2.5, "2.50\u{202f}s"),
            (Unit::Elapsed, 95.0, "95\u{202f}s"),
            (Unit::Elapsed, 605.0, "10:05"),
            (Unit::Elapsed, 7_260.0, "2:01"),
            (Unit::PerSecond, 1_234.0, "1\u{202f}234/s"),
            (Unit::Share, 0.123, "12.3\u{202f}%"),
            (Unit::Bytes, 12_345.0, "12.3\u{202f}kB"),
            (Unit::Count, 3.0, "3"),
            (Unit::Other("CPU-s"), 81.0, "81.0\u{202f}CPU-s"),
        ];
        for (unit, value, text) in written {
            assert_eq!(unit.written(value), text);
        }
    }
}
