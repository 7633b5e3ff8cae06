//! Nonces and points in time.

mod common;

use std::time::{Duration, SystemTime};

use common::cases;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::time::{UnixMicros, UnixMillis, parse_rfc3339};
use proptest::prelude::*;
use serde::Deserialize;

/// The first microsecond that an RFC 3339 time of the protocol cannot have.
const END: u64 = (1 << 32) * 1_000_000;

#[derive(Deserialize)]
struct Refused {
    why: String,
    text: String,
}

#[derive(Deserialize)]
struct NextCase {
    now_us: u64,
    last: Option<Nonce>,
    next: Nonce,
}

#[derive(Deserialize)]
struct WindowCase {
    nonce: Nonce,
    now_us: u64,
    window_s: u64,
    within: bool,
}

#[derive(Deserialize)]
struct TimeCase {
    text: String,
    time_us: u64,
}

#[test]
fn a_nonce_has_one_spelling() {
    for text in cases::<String>("nonces.json", "valid") {
        let nonce: Nonce = text.parse().unwrap();
        assert_eq!(nonce.to_string(), text);
        assert_eq!(nonce.time().0.to_string(), text);
    }
    for Refused { why, text } in cases("nonces.json", "invalid") {
        assert!(text.parse::<Nonce>().is_err(), "{why}: {text:?}");
    }
}

#[test]
fn the_next_nonce_is_the_time_or_one_more_than_the_last() {
    for NextCase { now_us, last, next } in cases("nonces.json", "next") {
        assert_eq!(Nonce::next(UnixMicros(now_us), last), next);
    }
}

#[test]
fn a_nonce_is_within_its_window_up_to_the_last_microsecond() {
    for WindowCase { nonce, now_us, window_s, within } in cases("nonces.json", "window") {
        assert_eq!(nonce.is_within(Duration::from_secs(window_s), UnixMicros(now_us)), within, "{nonce}");
    }
}

#[test]
fn times_are_rfc_3339_and_nothing_more_of_iso_8601() {
    for TimeCase { text, time_us } in cases("times.json", "valid") {
        assert_eq!(parse_rfc3339(&text), Ok(UnixMicros(time_us)), "{text:?}");
    }
    for text in cases::<String>("times.json", "invalid") {
        assert!(parse_rfc3339(&text).is_err(), "{text:?}");
    }
}

#[test]
fn times_saturate_instead_of_wrapping() {
    assert_eq!(UnixMicros(u64::MAX).plus(Duration::MAX), UnixMicros(u64::MAX));
    assert_eq!(UnixMillis(u64::MAX).plus(Duration::MAX), UnixMillis(u64::MAX));
    assert_eq!(UnixMillis(5).minus(Duration::MAX), UnixMillis(0));
    assert_eq!(UnixMillis(5).since(UnixMillis(9)), Duration::ZERO);
    assert_eq!(UnixMillis(9).since(UnixMillis(5)), Duration::from_millis(4));
    assert_eq!(UnixMicros::from(UnixMillis(u64::MAX)), UnixMicros(u64::MAX));
    assert_eq!(UnixMicros::from(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), UnixMicros(0));
}

#[test]
fn a_time_that_no_calendar_holds_can_still_be_shown() {
    assert_eq!(UnixMicros(u64::MAX).to_string(), "18446744073709551615 µs after 1970");
}

proptest! {
    #[test]
    fn any_text_is_a_nonce_exactly_if_it_is_written_so(text in "\\PC{0,25}|[0-9+ _-]{0,22}") {
        match text.parse::<Nonce>() {
            Ok(nonce) => prop_assert_eq!(nonce.to_string(), text),
            Err(_) => prop_assert!(text.parse::<u64>().map(|n| n.to_string()) != Ok(text)),
        }
    }

    #[test]
    fn nonces_come_back_from_their_text(micros: u64) {
        let nonce = Nonce::at(UnixMicros(micros));
        prop_assert_eq!(nonce.to_string().parse(), Ok(nonce));
        prop_assert_eq!(serde_json::from_str::<Nonce>(&serde_json::to_string(&nonce).unwrap()).unwrap(), nonce);
    }

    #[test]
    fn nonces_of_a_client_only_grow(clock in prop::collection::vec(0_u64..1000, 1..50)) {
        let mut last = None;
        for now in clock {
            let next = Nonce::next(UnixMicros(now), last);
            prop_assert!(Some(next) > last);
            last = Some(next);
        }
    }

    #[test]
    fn times_come_back_from_their_text(micros in 0..END) {
        let time = UnixMicros(micros);
        prop_assert_eq!(parse_rfc3339(&time.to_string()), Ok(time));
        prop_assert_eq!(UnixMicros::from(SystemTime::from(time)), time);
    }

    #[test]
    fn any_text_as_a_time_is_refused_or_has_the_shape(
        text in "\\PC{0,40}|[0-9TZ:.+-]{18,36}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:?[0-9]{2})"
    ) {
        if let Ok(UnixMicros(micros)) = parse_rfc3339(&text) {
            prop_assert!(micros < END);
            prop_assert!(text.is_ascii() && text.as_bytes()[10] == b'T');
        }
    }
}
