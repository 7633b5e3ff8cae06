//! SHA-256 digests and the `Content-Digest` header.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cases;
use countersign_protocol::digest::{Sha256Digest, content_digest, parse_content_digest};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Good {
    body_base64: String,
    header: String,
    sha256: Sha256Digest,
}

#[derive(Deserialize)]
struct BadHeader {
    why: String,
    header: String,
}

#[derive(Deserialize)]
struct BadText {
    why: String,
    text: String,
}

#[test]
fn content_digests_are_those_of_the_vectors() {
    for Good { body_base64, header, sha256 } in cases("digests.json", "content_digests") {
        let digest = Sha256Digest::of(&STANDARD.decode(body_base64).unwrap());
        assert_eq!(digest, sha256);
        assert_eq!(content_digest(&digest), header);
        assert_eq!(parse_content_digest(&header), Ok(digest));
        assert_eq!(parse_content_digest(&format!(" {header}\t")), Ok(digest));
    }
    for BadHeader { why, header } in cases("digests.json", "invalid_content_digests") {
        assert!(parse_content_digest(&header).is_err(), "{why}: {header:?}");
    }
}

#[test]
fn a_digest_is_64_lower_case_digits() {
    for BadText { why, text } in cases("digests.json", "invalid_sha256") {
        assert!(text.parse::<Sha256Digest>().is_err(), "{why}: {text:?}");
    }
}

#[test]
fn the_digest_of_nothing_is_the_known_one() {
    let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Sha256Digest::of(b"").to_string(), known);
    assert_eq!(format!("{:?}", Sha256Digest::of(b"")), format!("Sha256Digest({known})"));
}

proptest! {
    #[test]
    fn digests_come_back_from_their_text_and_their_header(bytes: [u8; 32]) {
        let digest = Sha256Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        prop_assert_eq!(parse_content_digest(&content_digest(&digest)), Ok(digest));
        prop_assert_eq!(serde_json::from_str::<Sha256Digest>(&serde_json::to_string(&digest).unwrap()).unwrap(), digest);
        prop_assert_eq!(*digest.as_bytes(), bytes);
    }

    #[test]
    fn any_text_is_a_digest_exactly_if_it_is_written_so(text in "\\PC{0,70}|[0-9a-fA-F]{63,65}") {
        match text.parse::<Sha256Digest>() {
            Ok(digest) => prop_assert_eq!(digest.to_string(), text),
            Err(_) => prop_assert!(text.len() != 64 || !text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))),
        }
    }

    #[test]
    fn any_header_is_a_content_digest_exactly_if_it_is_written_so(
        text in "\\PC{0,60}|sha-256=:[A-Za-z0-9+/]{42,43}={0,2}:"
    ) {
        if let Ok(digest) = parse_content_digest(&text) {
            prop_assert_eq!(content_digest(&digest), text.trim_matches([' ', '\t']));
        }
    }
}
