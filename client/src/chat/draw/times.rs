//! Times as people read them, in their own time zone.

use countersign_protocol::time::UnixMicros;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

fn local(time: UnixMicros, zone: &TimeZone) -> Zoned {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
}

/// Returns the day that it is there.
pub(super) fn day(time: UnixMicros, zone: &TimeZone) -> Date {
    local(time, zone).date()
}

/// Writes the time of day.
pub(super) fn clock(time: UnixMicros, zone: &TimeZone) -> String {
    local(time, zone).strftime("%H:%M").to_string()
}

/// Writes when it was in as few letters as tell it: at most six.
pub(super) fn brief(time: UnixMicros, now: UnixMicros, zone: &TimeZone) -> String {
    let (then, today) = (local(time, zone), local(now, zone).date());
    let days = today.since(then.date()).map_or(i32::MAX, |span| span.get_days());
    let format = match days {
        0 => "%H:%M",
        1..=6 => "%a",
        _ if then.date().year() == today.year() => "%-d %b",
        _ => "%Y",
    };
    then.strftime(format).to_string()
}

/// Writes a day as the heading of its messages.
pub(super) fn heading(day: Date, now: UnixMicros, zone: &TimeZone) -> String {
    let today = local(now, zone).date();
    let name = match today.since(day).map(|span| span.get_days()) {
        Ok(0) => "Today, ",
        Ok(1) => "Yesterday, ",
        _ => "",
    };
    format!("{name}{}", day.strftime("%A, %-d %B %Y"))
}

/// Writes a time in full.
pub(super) fn full(time: UnixMicros, zone: &TimeZone) -> String {
    local(time, zone).strftime("%-d %B %Y, %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_briefly_as_they_can_be() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| UnixMicros(u64::try_from(text.parse::<Timestamp>().unwrap().as_microsecond()).unwrap());
        let now = at("2026-11-25T22:30:00Z");
        // It is the next day already in that zone.
        for (time, expected) in [
            ("2026-11-25T22:05:00Z", "00:05"),
            ("2026-11-25T21:59:00Z", "Wed"),
            ("2026-11-20T12:00:00Z", "Fri"),
            ("2026-11-19T12:00:00Z", "19 Nov"),
            ("2025-11-19T12:00:00Z", "2025"),
        ] {
            assert_eq!(brief(at(time), now, &zone), expected, "{time}");
        }
        assert_eq!(heading(day(now, &zone), now, &zone), "Today, Thursday, 26 November 2026");
        assert_eq!(
            heading(day(at("2026-11-25T12:00:00Z"), &zone), now, &zone),
            "Yesterday, Wednesday, 25 November 2026"
        );
    }
}
