//! `OpenPGP` that means harm: much, deep, empty or damaged. All of it is refused or read, soon and without a panic.
//!
//! The packets are written by hand here, as no tool would make them.

mod common;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cases;
use countersign_protocol::openpgp::{
    Certificate, CertificateFault, SignatureEncoding, SignatureFault, SignatureTerms, parse_certificates,
    verify_detached,
};
use countersign_protocol::time::UnixMicros;
use proptest::prelude::*;
use serde::Deserialize;

const BEGIN: u64 = 1_795_411_801;

/// Far above what any of it takes, even unoptimized on a busy machine; what is quadratic takes minutes.
const SOON: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Named {
    name: String,
    certificate: String,
}

#[derive(Deserialize)]
struct Signed {
    text: String,
    certificate: String,
    signature_base64: String,
}

fn certificate(name: &str) -> String {
    let all = cases::<Named>("certificates.json", "certificates");
    all.into_iter().find(|case| case.name == name).expect("the vectors have it").certificate
}

fn signed() -> Signed {
    cases::<Signed>("password-signatures.json", "accepted").swap_remove(0)
}

fn dearmor(armored: &str) -> Vec<u8> {
    let (_, body) = armored.split_once("\n\n").expect("an armor has an empty line");
    let (body, _) = body.split_once("\n=").expect("GnuPG's armor has a checksum");
    STANDARD.decode(body.replace('\n', "")).expect("an armor is base64")
}

fn armor(kind: &str, packets: &[u8]) -> String {
    format!("-----BEGIN PGP {kind}-----\n\n{}\n-----END PGP {kind}-----\n", STANDARD.encode(packets))
}

/// A packet with a header of the current format.
fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a test's packet is small").to_be_bytes();
    [&[0xc0 | tag, 0xff], &length[..], body].concat()
}

/// Packets of a container, one inside the other, whose lengths are right.
fn nested(tag: u8, head: &[u8], depth: usize) -> Vec<u8> {
    (0..depth).fold(packet(11, b"b\0\0\0\0\0x"), |inner, _| packet(tag, &[head, &inner].concat()))
}

/// A signature packet of version 4 by nobody: well-formed, wrong, and with a digest prefix of its own.
fn wrong_signature(kind: u8, prefix: u16) -> Vec<u8> {
    let created = [5, 2, 0x6b, 3, 0xcf, 0x59];
    let issuer = [9, 16, 1, 2, 3, 4, 5, 6, 7, 8];
    let integer = [&[1, 0, 0x80][..], &[0; 31]].concat();
    let parts = [&[4, kind, 22, 8, 0, 6][..], &created, &[0, 10], &issuer, &prefix.to_be_bytes(), &integer, &integer];
    packet(2, &parts.concat())
}

fn soon<T>(name: &str, work: impl FnOnce() -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "the test is about how long it takes")]
    let begun = Instant::now();
    let result = work();
    #[expect(clippy::disallowed_methods, reason = "the test is about how long it takes")]
    let taken = begun.elapsed();
    println!("{name}: {taken:?}");
    assert!(taken < SOON, "{name} took {taken:?}");
    result
}

fn verify(signature: &[u8], encoding: SignatureEncoding) -> Result<usize, SignatureFault> {
    let Signed { text, certificate, .. } = signed();
    let signer = Certificate::parse(&certificate).expect("a vector's certificate is one");
    let at = UnixMicros(BEGIN * 1_000_000);
    let terms = SignatureTerms { certificate_at: at, not_before: UnixMicros(0), not_after: at };
    verify_detached(signature, encoding, text.as_bytes(), &[signer], &terms)
}

fn good_signature() -> Vec<u8> {
    STANDARD.decode(signed().signature_base64).expect("a vector's base64 is base64")
}

/// Parses and judges a certificate.
fn judge(armored: &str) -> Result<(), CertificateFault> {
    Certificate::parse(armored)?.check_usable(UnixMicros(BEGIN * 1_000_000))
}

#[test]
fn nothing_is_refused() {
    for text in ["", "\n", "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----BEGIN PGP ", &armor("PUBLIC KEY BLOCK", b"")]
    {
        assert_eq!(judge(text), Err(CertificateFault::Malformed), "{text:?}");
        assert!(parse_certificates(text).is_err());
        assert_eq!(verify(text.as_bytes(), SignatureEncoding::Armored), Err(SignatureFault::Malformed));
        assert_eq!(verify(text.as_bytes(), SignatureEncoding::Binary), Err(SignatureFault::Malformed));
    }
}

#[test]
fn a_good_signature_has_its_own_encoding_only() {
    let binary = good_signature();
    let armored = armor("SIGNATURE", &binary);
    assert_eq!(verify(&binary, SignatureEncoding::Binary), Ok(0));
    assert_eq!(verify(armored.as_bytes(), SignatureEncoding::Armored), Ok(0));
    assert_eq!(verify(&binary, SignatureEncoding::Armored), Err(SignatureFault::Malformed));
    assert_eq!(verify(armored.as_bytes(), SignatureEncoding::Binary), Err(SignatureFault::Malformed));
    assert_eq!(
        verify(STANDARD.encode(&binary).as_bytes(), SignatureEncoding::Armored),
        Err(SignatureFault::Malformed)
    );
}

#[test]
fn thousands_of_packets_are_refused_soon() {
    let key = dearmor(&certificate("alice"));
    for (name, extra) in [
        ("markers", packet(10, b"PGP").repeat(20_000)),
        ("user ids", packet(13, b"x").repeat(20_000)),
        ("empty user ids", [0xcd, 0].repeat(100_000)),
        ("padding", packet(21, b"").repeat(20_000)),
        ("unknown", packet(60, b"x").repeat(20_000)),
    ] {
        let text = armor("PUBLIC KEY BLOCK", &[&key[..], &extra].concat());
        let judged = soon(name, || judge(&text));
        assert_eq!(judged, Err(CertificateFault::Malformed), "{name}");
        let signature = [good_signature(), extra].concat();
        let verdict = soon(name, || verify(&signature, SignatureEncoding::Binary));
        assert_eq!(verdict, Err(SignatureFault::Malformed), "{name}");
    }
}

#[test]
fn user_ids_and_signatures_that_do_not_fit_are_read_soon() {
    let key = dearmor(&certificate("alice"));
    let user_ids: Vec<u8> = (0..900_u16).flat_map(|number| packet(13, &number.to_be_bytes())).collect();
    let signatures: Vec<u8> = (0..900_u16).flat_map(|number| wrong_signature(0x13, number)).collect();
    let text = armor("PUBLIC KEY BLOCK", &[key, user_ids, signatures].concat());
    assert!(text.len() > 100_000);

    let judged = soon("900 user ids, 900 signatures", || judge(&text));

    assert_eq!(judged, Ok(()));
}

#[test]
fn subkeys_and_signatures_that_do_not_fit_are_read_soon() {
    let key = dearmor(&certificate("alice"));
    let subkey = |number: u16| {
        let head = [4, 0x6b, 3, 0xcf, 0x59, 22, 9, 0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1, 1, 7, 0x40];
        packet(14, &[&head[..], &[0; 30], &number.to_be_bytes()].concat())
    };
    let subkeys: Vec<u8> = (0..700).flat_map(subkey).collect();
    let signatures: Vec<u8> = (0..700).flat_map(|number| wrong_signature(0x18, number)).collect();
    let text = armor("PUBLIC KEY BLOCK", &[key, subkeys, signatures].concat());

    let judged = soon("700 subkeys, 700 signatures", || judge(&text));

    assert_eq!(judged, Ok(()));
}

#[test]
fn a_huge_key_with_much_to_hash_is_read_soon() {
    let user_ids: Vec<u8> = (0..300_u16).flat_map(|number| packet(13, &number.to_be_bytes())).collect();
    let signatures: Vec<u8> = (0..900_u16).flat_map(|number| wrong_signature(0x13, number)).collect();
    let alice = dearmor(&certificate("alice"));
    // Keys of an unknown algorithm, which every signature over them hashes; from 64 KiB they have no fingerprint.
    for size in [65_500, 65_529, 65_530, 65_536, 100_000, 300_000] {
        let body = [&[4, 0x6b, 3, 0xcf, 0x59, 99][..], &vec![1; size]].concat();
        let primary = [&packet(6, &body)[..], &user_ids, &signatures].concat();
        let judged = soon("a huge key", || judge(&armor("PUBLIC KEY BLOCK", &primary)));
        assert!(judged.is_err());
        let subkey = [&alice[..], &packet(14, &body), &signatures].concat();
        let _ = soon("a huge subkey", || judge(&armor("PUBLIC KEY BLOCK", &subkey)));
    }
}

#[test]
fn a_certificate_with_a_well_connected_owner_is_read_soon() {
    let user_ids: Vec<u8> =
        (0..10_u16).flat_map(|number| packet(13, &vec![b'u'; 60 + usize::from(number)])).collect();
    let signatures: Vec<u8> = (0..900_u16).flat_map(|number| wrong_signature(0x13, number)).collect();
    let text = armor("PUBLIC KEY BLOCK", &[dearmor(&certificate("bob")), user_ids, signatures].concat());

    let judged = soon("a well-connected owner", || judge(&text));

    assert_eq!(judged, Ok(()));
}

#[test]
fn a_certificate_that_cannot_be_written_again_is_refused() {
    // The version of an issuer's fingerprint: sequoia reads 0, but cannot write it.
    let mut bytes = dearmor(&certificate("alice"));
    let place = bytes.windows(3).position(|bytes| bytes == [22, 33, 4]).expect("GnuPG names the issuer");
    bytes[place + 2] = 0;

    assert_eq!(judge(&armor("PUBLIC KEY BLOCK", &bytes)), Err(CertificateFault::Malformed));
}

#[test]
fn a_huge_signature_is_refused_soon() {
    // 64 KiB of hashed area is the most there can be; the rest is the integer.
    let unhashed = [&[0xff, 0, 0, 0xff, 0xf0, 100][..], &vec![7; 0xffef]].concat();
    let length = u16::try_from(unhashed.len()).unwrap_or(u16::MAX).to_be_bytes();
    let body = [&[4, 0, 22, 8, 0, 0][..], &length, &unhashed, &[0, 0], &vec![0xff; 140_000]].concat();
    let huge = packet(2, &body);
    assert!(huge.len() > 200_000);

    for bytes in [huge.clone(), packet(2, &vec![4; 200_000]), packet(2, &vec![0; 1_000_000])] {
        assert!(soon("a huge signature", || verify(&bytes, SignatureEncoding::Binary)).is_err());
        let armored = armor("SIGNATURE", &bytes);
        assert!(soon("a huge armor", || verify(armored.as_bytes(), SignatureEncoding::Armored)).is_err());
    }
}

#[test]
fn a_large_certificate_is_read_soon() {
    let key = dearmor(&certificate("alice"));
    for user_id in [150_000, 400_000] {
        let text = armor("PUBLIC KEY BLOCK", &[&key[..], &packet(13, &vec![b'x'; user_id])].concat());
        let judged = soon("a large user id", || judge(&text));
        assert!(matches!(judged, Ok(()) | Err(CertificateFault::Malformed)));
    }
}

#[test]
fn containers_are_never_entered() {
    let key = dearmor(&certificate("alice"));
    for (name, container) in [
        ("compressed, not at all", nested(8, &[0], 1000)),
        ("compressed, zip", nested(8, &[1], 1000)),
        ("compressed, bzip2", packet(8, &[&[3][..], b"BZh91AY&SY"].concat())),
        ("encrypted", nested(18, &[1], 1000)),
        ("encrypted, version 2", nested(18, &[2, 9, 2, 6], 1000)),
        ("a secret key in a container", packet(8, &[&[0][..], &packet(5, &[4; 50])].concat())),
    ] {
        assert!(judge(&armor("PUBLIC KEY BLOCK", &container)).is_err(), "{name}");
        let behind = armor("PUBLIC KEY BLOCK", &[key.clone(), container.clone()].concat());
        let _ = soon(name, || judge(&behind));
        let signature = [good_signature(), container.clone()].concat();
        assert_eq!(verify(&signature, SignatureEncoding::Binary), Err(SignatureFault::Malformed), "{name}");
        // A signature is not looked for inside of anything.
        let inside = packet(8, &[&[0][..], &good_signature()].concat());
        assert_eq!(verify(&inside, SignatureEncoding::Binary), Err(SignatureFault::Malformed), "{name}");
    }
}

#[test]
fn an_embedded_signature_in_another_and_so_on_is_refused() {
    let mut signature = wrong_signature(0x19, 1);
    for _ in 0..200 {
        let body = signature.get(6..).expect("a packet has a header");
        let Ok(length) = u16::try_from(body.len() + 6) else { break };
        let subpacket = [&[0xff, 0, 0][..], &(length - 5).to_be_bytes(), &[32], body].concat();
        let parts = [&[4, 0x19, 22, 8, 0, 0][..], &length.to_be_bytes(), &subpacket, &[0, 0, 0, 1, 1, 0, 1, 1]];
        signature = packet(2, &parts.concat());
    }
    assert!(soon("embedded signatures", || verify(&signature, SignatureEncoding::Binary)).is_err());
    let key = dearmor(&certificate("alice"));
    let text = armor("PUBLIC KEY BLOCK", &[key, signature.repeat(20)].concat());
    let _ = soon("a certificate with embedded signatures", || judge(&text));
}

#[test]
fn secret_key_material_of_any_version_is_refused() {
    let key = dearmor(&certificate("alice"));
    for tag in [5, 7] {
        for version in [0, 3, 4, 5, 6, 99] {
            let secret = packet(tag, &[version; 60]);
            let text = armor("PUBLIC KEY BLOCK", &[key.clone(), secret].concat());
            assert_eq!(judge(&text), Err(CertificateFault::SecretKey), "tag {tag}, version {version}");
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let key = dearmor(&certificate("alice"));
    for lie in [
        &[0xcd, 0xff, 0xff, 0xff, 0xff, 0xff, b'x'][..], // a user id of 4 GiB
        &[0xcd, 0xfe],                                   // of 1 GiB, in parts
        &[0xb7, b'x'],                                   // of the old format, until the end
        &[0xcd],
        &[0xc2, 0xff, 0, 0, 0, 1],
    ] {
        let text = armor("PUBLIC KEY BLOCK", &[&key[..], lie].concat());
        let _ = soon("a lie in a certificate", || judge(&text));
        let signature = [&good_signature()[..], lie].concat();
        assert!(soon("a lie behind a signature", || verify(&signature, SignatureEncoding::Binary)).is_err());
        assert!(soon("a lie as a signature", || verify(lie, SignatureEncoding::Binary)).is_err());
    }
}

#[test]
fn armor_with_garbage_is_refused_or_read_without_it() {
    let good = certificate("alice");
    let garbage = "\u{0}\u{7f}ÿ garbage = -----\n".repeat(5_000);
    assert_eq!(judge(&format!("{garbage}{good}")), Ok(()), "text before an armor does not matter");
    for text in [
        good.replace("\n\n", &format!("\n\n{garbage}")),
        good.replace("\n\n", "\nComment: \n"),
        good.replace("-----END", "----END"),
        good.replace('m', "*"),
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n".repeat(5_000),
        "-----BEGIN PGP ".repeat(15_000),
        good.repeat(300),
    ] {
        let _ = soon("garbage", || judge(&text));
        let _ = soon("garbage", || verify(text.as_bytes(), SignatureEncoding::Armored));
    }
    assert!(judge(&good.repeat(2)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        prop_assert!(verify(&bytes, SignatureEncoding::Binary).is_err());
        prop_assert!(verify(&bytes, SignatureEncoding::Armored).is_err());
        prop_assert!(verify(armor("SIGNATURE", &bytes).as_bytes(), SignatureEncoding::Armored).is_err());
        prop_assert!(judge(&armor("PUBLIC KEY BLOCK", &bytes)).is_err());
        prop_assert!(judge(&text).is_err());
        prop_assert!(parse_certificates(&text).is_err());
    }

    #[test]
    fn any_packets_are_judged_without_a_panic(
        packets in prop::collection::vec((0_u8..64, prop::collection::vec(any::<u8>(), 0..60)), 0..8)
    ) {
        let packets: Vec<u8> = packets.iter().flat_map(|(tag, body)| packet(*tag, body)).collect();
        let _ = verify(&packets, SignatureEncoding::Binary);
        let _ = judge(&armor("PUBLIC KEY BLOCK", &packets));
        let _ = judge(&armor("PUBLIC KEY BLOCK", &[dearmor(&certificate("alice")), packets].concat()));
    }

    #[test]
    fn damaged_certificates_are_judged_without_a_panic(
        name in prop::sample::select(vec!["alice", "bob", "carol"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
        cuts: bool,
    ) {
        let mut bytes = dearmor(&certificate(name));
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let text = armor("PUBLIC KEY BLOCK", &bytes);
        let _ = judge(&text);
        if let Ok(certificate) = Certificate::parse(&text) {
            let _ = certificate.to_armored();
            let _ = certificate.encrypt(b"x", UnixMicros(BEGIN * 1_000_000));
        }
    }

    #[test]
    fn damaged_signatures_are_judged_without_a_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = good_signature();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = verify(&bytes, SignatureEncoding::Binary);
        let mut text = armor("SIGNATURE", &bytes);
        let _ = verify(text.as_bytes(), SignatureEncoding::Armored);
        text.truncate(text.len() / 2);
        let _ = verify(text.as_bytes(), SignatureEncoding::Armored);
    }
}
