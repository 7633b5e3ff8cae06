//! Certificates: which can be used when, and encryption to them.

mod common;

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use common::cases;
use countersign_protocol::openpgp::{
    Certificate, CertificateFault, EncryptionFault, Fingerprint, SignatureEncoding, SignatureTerms,
    parse_certificates, verify_detached,
};
use countersign_protocol::time::UnixMicros;
use proptest::prelude::*;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::crypto::SessionKey;
use sequoia_openpgp::packet::{PKESK, SKESK};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::SymmetricAlgorithm;
use sequoia_openpgp::{Cert, KeyHandle};
use serde::Deserialize;

/// 2026-11-23T05:30:01Z.
const BEGIN: u64 = 1_795_411_801;

#[derive(Deserialize)]
struct Case {
    name: String,
    certificate: String,
    fingerprint: String,
    at: u64,
    usable: bool,
    why: Option<String>,
}

#[derive(Deserialize)]
struct Malformed {
    why: String,
    text: String,
}

#[test]
fn certificates_are_usable_when_the_vectors_say() {
    for Case { name, certificate, fingerprint, at, usable, why } in cases("certificates.json", "certificates") {
        let certificate = Certificate::parse(&certificate).expect(&name);
        let at = UnixMicros(at * 1_000_000);

        assert_eq!(certificate.fingerprint().to_string(), fingerprint);
        assert_eq!(certificate.check_usable(at).is_ok(), usable, "{name}: {why:?}");
        assert_eq!(certificate.check_usable(at.plus(Duration::from_micros(999_999))).is_ok(), usable, "{name}");
        let again = Certificate::parse(&certificate.to_armored()).unwrap();
        assert_eq!(again.check_usable(at), certificate.check_usable(at));
    }
}

#[test]
fn what_is_not_one_certificate_is_refused() {
    for Malformed { why, text } in cases("certificates.json", "malformed") {
        let fault = Certificate::parse(&text).expect_err(&why);
        let secret = why.contains("secret");
        assert_eq!(fault, if secret { CertificateFault::SecretKey } else { CertificateFault::Malformed }, "{why}");
    }
}

#[test]
fn several_certificates_are_read_in_one_armor_or_in_many() {
    let texts: Vec<String> = cases::<Case>("certificates.json", "certificates")
        .into_iter()
        .take(3)
        .map(|case| format!("# {}\n{}", case.name, case.certificate))
        .collect();
    let together = parse_certificates(&texts.concat()).unwrap();
    let apart: Vec<_> = texts.iter().map(|text| Certificate::parse(text).unwrap()).collect();
    let fingerprints = |certificates: &[Certificate]| -> Vec<String> {
        certificates.iter().map(|certificate| certificate.fingerprint().to_string()).collect()
    };
    assert_eq!(fingerprints(&together), fingerprints(&apart));
    assert_eq!(format!("{:?}", apart[0]), format!("Certificate({})", apart[0].fingerprint()));

    let malformed = cases::<Malformed>("certificates.json", "malformed");
    let armor = malformed.iter().find(|case| case.why == "two certificates in one armor").unwrap();
    assert_eq!(parse_certificates(&armor.text).unwrap().len(), 2);
}

/// Reads a message with the secret keys of one certificate.
struct Owner(Cert);

impl VerificationHelper for Owner {
    fn get_certs(&mut self, _: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, _: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
        Ok(())
    }
}

impl DecryptionHelper for Owner {
    fn decrypt(
        &mut self,
        recipients: &[PKESK],
        _: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> sequoia_openpgp::Result<Option<Cert>> {
        for key in self.0.keys().secret() {
            let mut pair = key.key().clone().into_keypair()?;
            for recipient in recipients {
                if recipient.decrypt(&mut pair, algorithm).is_some_and(|(algorithm, key)| decrypt(algorithm, &key)) {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

#[test]
fn what_is_encrypted_to_a_certificate_its_owner_reads() {
    let at = SystemTime::from(UnixMicros(BEGIN * 1_000_000));
    let builder = CertBuilder::general_purpose(Some("alice@example.org")).set_creation_time(at);
    let (owner, _) = builder.generate().unwrap();
    let public = String::from_utf8(owner.armored().to_vec().unwrap()).unwrap();
    let certificate = Certificate::parse(&public).unwrap();
    let now = UnixMicros((BEGIN + 60) * 1_000_000);

    let message = certificate.encrypt(b"a session key", now).unwrap();
    let other = certificate.encrypt(b"a session key", now).unwrap();

    assert_ne!(message, other);
    let policy = StandardPolicy::at(at);
    let decryptor = DecryptorBuilder::from_bytes(&message).unwrap();
    let mut plain = Vec::new();
    decryptor.with_policy(&policy, at, Owner(owner)).unwrap().read_to_end(&mut plain).unwrap();
    assert_eq!(plain, b"a session key");
}

#[test]
fn nothing_is_encrypted_without_a_usable_encryption_key() {
    for case in cases::<Case>("certificates.json", "certificates") {
        let certificate = Certificate::parse(&case.certificate).unwrap();
        let outcome = certificate.encrypt(b"text", UnixMicros(case.at * 1_000_000));
        if case.why.as_deref().is_some_and(|why| why.contains("encryption key")) {
            assert!(matches!(outcome, Err(EncryptionFault::NoEncryptionKey)), "{}", case.name);
        }
        if case.usable {
            assert!(outcome.is_ok(), "{}", case.name);
        }
    }
}

#[derive(Deserialize)]
struct Signed {
    text: String,
    certificate: String,
    signature_base64: String,
}

fn signed() -> (Certificate, Vec<u8>, Signed) {
    use base64::Engine as _;
    let case = cases::<Signed>("password-signatures.json", "accepted").swap_remove(0);
    let signature = base64::engine::general_purpose::STANDARD.decode(&case.signature_base64);
    (Certificate::parse(&case.certificate).expect("it is one"), signature.expect("it is base64"), case)
}

const TERMS: SignatureTerms = SignatureTerms {
    certificate_at: UnixMicros(BEGIN * 1_000_000),
    not_before: UnixMicros(BEGIN * 1_000_000),
    not_after: UnixMicros(BEGIN * 1_000_000),
};

#[test]
fn the_bounds_of_a_signatures_time_are_inclusive() {
    let (certificate, signature, case) = signed();
    let document = case.text.as_bytes();
    let verify = |terms| verify_detached(&signature, SignatureEncoding::Binary, document, &[&certificate], &terms);

    assert_eq!(verify(TERMS), Ok(0));
    assert!(verify(SignatureTerms { not_before: UnixMicros((BEGIN + 1) * 1_000_000), ..TERMS }).is_err());
    assert!(verify(SignatureTerms { not_after: UnixMicros(BEGIN * 1_000_000 - 1), ..TERMS }).is_err());
    assert!(verify(SignatureTerms { certificate_at: UnixMicros((BEGIN - 1) * 1_000_000), ..TERMS }).is_err());
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    prop_oneof![prop::collection::vec(any::<u8>(), 20), prop::collection::vec(any::<u8>(), 32)]
        .prop_map(|bytes| Fingerprint::from_bytes(&bytes).expect("20 and 32 bytes are a fingerprint"))
}

proptest! {
    #[test]
    fn fingerprints_come_back_from_their_text_and_their_bytes(fingerprint in fingerprint()) {
        prop_assert_eq!(&fingerprint.to_string().parse::<Fingerprint>().unwrap(), &fingerprint);
        prop_assert_eq!(Fingerprint::from_bytes(fingerprint.as_bytes()), Some(fingerprint));
    }

    #[test]
    fn any_text_as_a_fingerprint_is_refused_or_comes_back(text in "\\PC{0,70}|[0-9A-F]{39,41}|[0-9A-Fa-f]{63,65}") {
        if let Ok(fingerprint) = text.parse::<Fingerprint>() {
            prop_assert_eq!(fingerprint.to_string(), text.to_ascii_uppercase());
        }
    }

    #[test]
    fn bytes_are_a_fingerprint_by_their_number(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(Fingerprint::from_bytes(&bytes).is_some(), matches!(bytes.len(), 20 | 32));
    }

    #[test]
    fn a_certificate_is_judged_at_any_time_without_a_panic(micros: u64) {
        let (certificate, signature, case) = signed();
        let at = UnixMicros(micros);
        let _ = certificate.check_usable(at);
        let terms = SignatureTerms { certificate_at: at, not_before: UnixMicros(0), not_after: at };
        let _ = verify_detached(&signature, SignatureEncoding::Binary, case.text.as_bytes(), &[&certificate], &terms);
    }

    #[test]
    fn a_signature_with_any_changed_bit_never_verifies_over_other_bytes(place: prop::sample::Index, bit in 0_u8..8) {
        let (certificate, mut signature, case) = signed();
        let place = place.index(signature.len());
        signature[place] ^= 1 << bit;
        let other = format!("{} ", case.text);
        let verdict = verify_detached(&signature, SignatureEncoding::Binary, other.as_bytes(), &[&certificate], &TERMS);
        prop_assert!(verdict.is_err());
    }
}
