//! Asking for a session key: the signed text, its signature and the `Authorization` header.

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{cases, file};
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::nonce::Nonce;
use countersign_protocol::openpgp::{
    Certificate, SignatureEncoding, SignatureFault, SignatureTerms, verify_detached,
};
use countersign_protocol::session_key::{
    InvalidAuthorization, OpenPgpAuthorization, SessionGrant, SessionKey, password_text,
};
use countersign_protocol::time::UnixMicros;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    why: String,
    organization: OrganizationId,
    user: UserId,
    client: ClientId,
    nonce: Nonce,
    text: String,
    certificate: String,
    signature_base64: String,
    at: u64,
}

impl Case {
    fn verify(&self) -> Result<usize, SignatureFault> {
        let signature = STANDARD.decode(&self.signature_base64).expect("a vector's base64 is base64");
        verify(&self.certificate, &signature, &self.text, self.at)
    }
}

fn verify(certificate: &str, signature: &[u8], text: &str, at: u64) -> Result<usize, SignatureFault> {
    let certificate = Certificate::parse(certificate).expect("a vector's certificate is one");
    let at = UnixMicros(at * 1_000_000);
    let terms = SignatureTerms {
        certificate_at: at,
        not_before: UnixMicros(at.0.saturating_sub(30_000_000)),
        not_after: at.plus(Duration::from_secs(30)),
    };
    verify_detached(signature, SignatureEncoding::Binary, text.as_bytes(), &[certificate], &terms)
}

#[derive(Deserialize)]
struct Refused {
    why: String,
    header: String,
}

#[test]
fn the_password_text_and_its_signature_are_those_of_another_implementation() {
    let case = file("password.json");
    let [certificate, text, signature] =
        ["certificate", "text", "signature_base64"].map(|field| case[field].as_str().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let client = ClientAddress {
        organization: lines[1].parse().unwrap(),
        user: lines[2].parse().unwrap(),
        client: lines[3].parse().unwrap(),
    };

    assert_eq!(password_text(&client, lines[4].parse().unwrap()), text);
    let signature = STANDARD.decode(signature).unwrap();
    // The signature was made within a minute after this.
    let made =
        (1_795_400_000..1_795_420_000).step_by(30).find(|at| verify(certificate, &signature, text, *at).is_ok());
    assert!(made.is_some());
}

#[test]
fn password_signatures_are_judged_as_the_vectors_say() {
    for case in cases::<Case>("password-signatures.json", "accepted") {
        let Case { organization, user, client, nonce, .. } = case;
        assert_eq!(password_text(&ClientAddress { organization, user, client }, nonce), case.text);
        assert_eq!(case.verify(), Ok(0), "{}", case.why);
    }
    for case in cases::<Case>("password-signatures.json", "refused") {
        assert!(case.verify().is_err(), "{}", case.why);
    }
}

#[test]
fn authorization_headers_are_read_as_the_vectors_say() {
    let file = file("authorizations.json");
    let expected = OpenPgpAuthorization {
        nonce: file["nonce"].as_str().unwrap().parse().unwrap(),
        signature: STANDARD.decode(file["signature_base64"].as_str().unwrap()).unwrap(),
    };
    for header in cases::<String>("authorizations.json", "valid") {
        assert_eq!(OpenPgpAuthorization::parse(&header), Ok(expected.clone()), "{header}");
    }
    for Refused { why, header } in cases("authorizations.json", "invalid") {
        assert!(OpenPgpAuthorization::parse(&header).is_err(), "{why}: {header}");
    }
}

#[test]
fn another_scheme_is_told_from_a_bad_header() {
    assert_eq!(OpenPgpAuthorization::parse("Basic YTpi"), Err(InvalidAuthorization::Scheme));
    assert_eq!(OpenPgpAuthorization::parse("OpenPGP x"), Err(InvalidAuthorization::Parameters));
    let header = "OpenPGP nonce=\"1\", signature=\"?\"";
    assert_eq!(OpenPgpAuthorization::parse(header), Err(InvalidAuthorization::Base64));
}

#[test]
fn a_session_grant_has_the_fields_that_the_protocol_names() {
    let grant = SessionGrant {
        key: SessionKey::from_bytes([0; 32]),
        nonce: Nonce::at(UnixMicros(1_795_400_000_123_456)),
        expires: "2026-11-24T05:30:01Z".to_owned(),
    };
    let expected = serde_json::json!({
        "key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "nonce": "1795400000123456",
        "expires": "2026-11-24T05:30:01Z",
    });
    assert_eq!(serde_json::to_value(&grant).unwrap(), expected);
    assert_eq!(serde_json::from_value::<SessionGrant>(expected).unwrap(), grant);
}

proptest! {
    #[test]
    fn authorizations_come_back_from_their_header(nonce: u64, signature in prop::collection::vec(any::<u8>(), 0..300)) {
        let authorization = OpenPgpAuthorization { nonce: Nonce::at(UnixMicros(nonce)), signature };
        prop_assert_eq!(OpenPgpAuthorization::parse(&authorization.to_string()), Ok(authorization));
    }

    #[test]
    fn any_text_as_an_authorization_is_refused_or_comes_back(
        text in "\\PC{0,100}|OpenPGP [a-z=\", ]{0,40}|OpenPGP nonce=\"[0-9]{0,5}\" ?,\"?signature=\"?[a-zA-Z0-9+/=]{0,9}\""
    ) {
        if let Ok(authorization) = OpenPgpAuthorization::parse(&text) {
            prop_assert_eq!(OpenPgpAuthorization::parse(&authorization.to_string()), Ok(authorization));
        }
    }
}
