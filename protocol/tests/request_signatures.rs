//! Signatures of requests under a session key.

mod common;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{cases, file};
use countersign_protocol::digest::{Sha256Digest, content_digest, parse_content_digest};
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::request_signature::{
    ACCEPT_SIGNATURE, CoveredRequest, InvalidSignatureHeader, RequestSignature, SignatureInput,
};
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    name: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    refused_by: String,
    method: String,
    target: String,
    body_base64: Option<String>,
    key_base64: String,
    headers: BTreeMap<String, String>,
    base: Option<String>,
}

impl Request {
    fn covered(&self) -> CoveredRequest<'_> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        CoveredRequest { method: &self.method, path, query, content_digest: self.digest() }
    }

    fn digest(&self) -> Option<&str> {
        self.headers.get("Content-Digest").map(String::as_str)
    }

    fn key(&self) -> SessionKey {
        let bytes = STANDARD.decode(&self.key_base64).expect("a vector's base64 is base64");
        SessionKey::from_bytes(bytes.try_into().expect("a session key has 32 bytes"))
    }

    /// Checks a request step by step as a service does; an error names the step.
    fn check(&self) -> Result<SignatureInput, &'static str> {
        let input = SignatureInput::parse(&self.headers["Signature-Input"]).map_err(|_| "signature-input")?;
        let signature = RequestSignature::parse(&self.headers["Signature"]).map_err(|_| "signature")?;
        if input.covers_digest != self.body_base64.is_some() {
            return Err("coverage");
        }
        if let Some(body) = &self.body_base64 {
            let body = STANDARD.decode(body).expect("a vector's base64 is base64");
            let digest = parse_content_digest(self.digest().unwrap_or_default()).map_err(|_| "content-digest")?;
            // A digest that was not signed is no evidence of anything, so the signature comes first.
            if !input.verifies(&self.covered(), &signature, &self.key()) {
                return Err("verification");
            }
            return if digest == Sha256Digest::of(&body) { Ok(input) } else { Err("content-digest") };
        }
        if input.verifies(&self.covered(), &signature, &self.key()) { Ok(input) } else { Err("verification") }
    }
}

#[test]
fn requests_signed_by_another_implementation_verify() {
    for request in cases::<Request>("requests.json", "requests") {
        let input = request.check().unwrap();

        assert_eq!(input.to_header(), request.headers["Signature-Input"]);
        let signature = input.sign(&request.covered(), &request.key());
        assert_eq!(signature.to_header(), request.headers["Signature"]);
    }
}

#[test]
fn signature_bases_are_those_of_the_vectors() {
    let file = file("signature-bases.json");
    for request in cases::<Request>("signature-bases.json", "requests") {
        let input = request.check().expect(&request.name);

        assert_eq!(input.base(&request.covered()), request.base.clone().unwrap(), "{}", request.name);
        assert_eq!(input.to_header(), request.headers["Signature-Input"]);
        let signature = input.sign(&request.covered(), &request.key());
        assert_eq!(signature.to_header(), request.headers["Signature"]);
        assert_eq!(input.created, file["created"].as_u64().unwrap());
        assert_eq!(input.nonce.to_string(), file["nonce"].as_str().unwrap());
        assert_eq!(input.client.client.to_string(), file["client"]["client"].as_str().unwrap());
        assert_eq!(input.client.user.to_string(), file["client"]["user"].as_str().unwrap());
        assert_eq!(input.client.organization.to_string(), file["client"]["organization"].as_str().unwrap());
    }
}

#[test]
fn what_is_not_of_the_profile_or_was_changed_is_refused() {
    for request in cases::<Request>("refused-requests.json", "requests") {
        let refused = request.check().expect_err(&request.why);
        assert_eq!(refused, request.refused_by, "{}", request.why);
    }
}

#[test]
fn a_repeated_parameter_counts_as_structured_fields_say_the_last_time() {
    let input = SignatureInput::new(address(1), Nonce::at(UnixMicros(5)), 7, false);
    let repeated = SignatureInput::parse(&input.to_header().replace(";created=7", ";created=6;created=7")).unwrap();
    assert_eq!(repeated.created, 7);
}

#[test]
fn the_wanted_signature_has_the_shape_of_those_that_are_made() {
    let input = SignatureInput::new(address(1), Nonce::at(UnixMicros(5)), 7, false);
    let made = input.to_header().replace("created=7", "created").replace("\"5\"", "\"\"");
    assert_eq!(made.replace(&input.client.to_string(), ""), ACCEPT_SIGNATURE);
}

#[test]
fn session_keys_are_not_printed_and_have_32_bytes() {
    let key = SessionKey::from_bytes([0x41; 32]);
    assert_eq!(format!("{key:?}"), "SessionKey(…)");
    assert_eq!(serde_json::from_str::<SessionKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    for bytes in [0, 31, 33] {
        assert!(serde_json::from_value::<SessionKey>(STANDARD.encode(vec![0; bytes]).into()).is_err());
    }
    assert!(serde_json::from_str::<SessionKey>("\"*\"").is_err());
}

fn address(byte: u8) -> ClientAddress {
    ClientAddress {
        organization: OrganizationId::from_bytes([byte; 16]),
        user: UserId::from_bytes([byte; 16]),
        client: ClientId::from_bytes([byte; 16]),
    }
}

fn parameters() -> impl Strategy<Value = Vec<String>> {
    let parameters = [
        "created=7".to_owned(),
        "nonce=\"5\"".to_owned(),
        format!("keyid=\"{}\"", address(9)),
        "alg=\"hmac-sha256\"".to_owned(),
    ];
    Just(parameters.to_vec()).prop_shuffle()
}

/// A text with the bits of one byte changed, if it is a text still.
fn damaged(text: &str, place: prop::sample::Index, change: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let place = place.index(bytes.len());
    bytes[place] ^= change;
    String::from_utf8(bytes).ok()
}

proptest! {
    #[test]
    fn signature_inputs_come_back_from_their_header(byte: u8, nonce: u64, created in 0_u64..1_000_000_000_000_000, digest: bool) {
        let input = SignatureInput::new(address(byte), Nonce::at(UnixMicros(nonce)), created, digest);
        prop_assert_eq!(SignatureInput::parse(&input.to_header()), Ok(input));
    }

    #[test]
    fn parameters_may_stand_in_any_order_and_keep_it(parameters in parameters(), space in " {0,2}") {
        let components = r#"("@method" "@path" "@query")"#;
        let header = format!("countersign={components};{}", parameters.join(&format!(";{space}")));

        let input = SignatureInput::parse(&header).unwrap();

        prop_assert_eq!((input.created, input.nonce, input.client), (7, Nonce::at(UnixMicros(5)), address(9)));
        prop_assert_eq!(input.to_header(), format!("countersign={components};{}", parameters.join(";")));
    }

    #[test]
    fn any_text_as_a_header_is_refused_or_comes_back(
        text in "\\PC{0,200}|countersign=[()\"@a-z0-9;=: ]{0,80}|countersign=:[A-Za-z0-9+/]{43}=?:"
    ) {
        if let Ok(input) = SignatureInput::parse(&text) {
            prop_assert_eq!(SignatureInput::parse(&input.to_header()), Ok(input));
        }
        if let Ok(signature) = RequestSignature::parse(&text) {
            prop_assert_eq!(RequestSignature::parse(&signature.to_header()), Ok(signature));
        }
    }

    #[test]
    fn a_damaged_input_never_verifies(place: prop::sample::Index, change in 1_u8..=255, body in prop::collection::vec(any::<u8>(), 0..50)) {
        let (key, digest) = (SessionKey::from_bytes([3; 32]), content_digest(&Sha256Digest::of(&body)));
        let request = CoveredRequest { method: "POST", path: "/a", query: Some("b=c"), content_digest: Some(&digest) };
        let input = SignatureInput::new(address(1), Nonce::at(UnixMicros(1_795_400_000_123_456)), 1_795_400_000, true);
        let signature = input.sign(&request, &key);
        prop_assert!(input.verifies(&request, &signature, &key));

        let header = damaged(&input.to_header(), place, change).unwrap_or_default();
        if let Ok(other) = SignatureInput::parse(&header) {
            // White space of structured fields is not part of what they say.
            prop_assert!(other == input || !other.verifies(&request, &signature, &key), "{}", header);
        }
    }

    #[test]
    fn any_changed_bit_of_a_signed_request_refuses_it(
        part in 0_usize..6,
        place: prop::sample::Index,
        bit in 0_u8..8,
        method in "[A-Z]{3,6}",
        path in "/[a-z0-9/%._~-]{0,60}",
        query in "[a-z0-9=&?%-]{1,60}",
        body in prop::collection::vec(any::<u8>(), 0..100),
        secret: [u8; 32],
    ) {
        let digest = content_digest(&Sha256Digest::of(&body));
        let request = CoveredRequest { method: &method, path: &path, query: Some(&query), content_digest: Some(&digest) };
        let input = SignatureInput::new(address(1), Nonce::at(UnixMicros(5)), 7, true);
        let signature = input.sign(&request, &SessionKey::from_bytes(secret));
        prop_assert!(input.verifies(&request, &signature, &SessionKey::from_bytes(secret)));

        let texts = [method.as_str(), path.as_str(), query.as_str(), digest.as_str()];
        let mut changed = texts.map(str::to_owned);
        let (mut key, mut header) = (secret, signature.to_header());
        match part {
            4 => key[place.index(32)] ^= 1 << bit,
            5 => match damaged(&header, place, 1 << bit) {
                Some(damaged) => header = damaged,
                None => return Ok(()),
            },
            _ => match damaged(&changed[part], place, 1 << bit) {
                Some(damaged) => changed[part] = damaged,
                None => return Ok(()),
            },
        }
        let [method, path, query, digest] = &changed;
        let request = CoveredRequest { method, path, query: Some(query), content_digest: Some(digest) };
        // The last letter of a base64 has bits that say nothing; a reader may refuse them or not.
        match RequestSignature::parse(&header) {
            Ok(read) if part == 5 && read == signature => {}
            Ok(read) => prop_assert!(!input.verifies(&request, &read, &SessionKey::from_bytes(key))),
            Err(error) => prop_assert!(part == 5 && error != InvalidSignatureHeader::Nonce),
        }
    }
}
