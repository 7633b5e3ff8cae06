//! The card by its commands alone, without a reader. That GnuPG agrees is shown in `tests/gnupg.rs`.

use ed25519_dalek::{Signature, VerifyingKey};
use rsa::{BigUint, Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPublicKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::*;

const ED25519: &[u8] = &[22, 0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];
const CURVE25519: &[u8] = &[18, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
const OK: u16 = 0x9000;

/// A card with its application selected.
fn selected() -> OpenPgpCard {
    let mut card = OpenPgpCard::new(1);
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &APPLICATION), (vec![], OK));
    card
}

/// A card with Ed25519 and Curve25519 keys made on it.
fn with_keys() -> OpenPgpCard {
    let mut card = selected();
    assert_eq!(verify(&mut card, 0x83, b"12345678"), OK);
    assert_eq!(send(&mut card, 0x00DA, 0x00C1, ED25519).1, OK);
    assert_eq!(send(&mut card, 0x00DA, 0x00C2, CURVE25519).1, OK);
    assert_eq!(send(&mut card, 0x0047, 0x8000, &[0xB6, 0]).1, OK);
    assert_eq!(send(&mut card, 0x0047, 0x8000, &[0xB8, 0]).1, OK);
    card
}

/// Sends a command in extended form: class and instruction, parameters, data.
fn send(card: &mut OpenPgpCard, command: u16, parameters: u16, data: &[u8]) -> (Vec<u8>, u16) {
    let mut bytes = [command.to_be_bytes(), parameters.to_be_bytes()].concat();
    bytes.push(0);
    if !data.is_empty() {
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    }
    bytes.extend([0, 0]);
    split(card.transmit(&bytes))
}

fn split(mut answer: Vec<u8>) -> (Vec<u8>, u16) {
    let status = answer.split_off(answer.len() - 2);
    (answer, u16::from_be_bytes(status.try_into().unwrap()))
}

fn verify(card: &mut OpenPgpCard, reference: u16, pin: &[u8]) -> u16 {
    send(card, 0x0020, reference, pin).1
}

/// A part of a public key: 86 is a point, 81 and 82 are modulus and exponent.
fn public(card: &mut OpenPgpCard, slot: u8, part: u16) -> Vec<u8> {
    let (answer, status) = send(card, 0x0047, 0x8100, &[slot, 0]);
    assert_eq!(status, OK);
    tlv::find(tlv::find(&answer, 0x7F49).unwrap(), part).unwrap().to_vec()
}

#[test]
fn the_answer_to_reset_has_a_right_check_byte() {
    assert_eq!(ATR[1..].iter().fold(0, |sum, byte| sum ^ byte), 0);
    assert_eq!(ATR[10..20], HISTORICAL_BYTES);
}

#[test]
fn nothing_is_answered_before_the_application_is_selected() {
    let mut card = OpenPgpCard::new(1);

    assert_eq!(send(&mut card, 0x00CA, 0x004F, &[]), (vec![], 0x6985));
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &[0xA0, 0, 0, 3, 8]), (vec![], 0x6A82));
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &APPLICATION), (vec![], OK));
    let (identifier, status) = send(&mut card, 0x00CA, 0x004F, &[]);
    assert_eq!((identifier.len(), status), (16, OK));
}

#[test]
fn a_signature_needs_the_pin_verifies_and_is_counted() {
    let mut card = with_keys();
    let digest = [7; 32];

    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &digest), (vec![], 0x6982));
    // The PIN for decrypting is not the one for signing, though it is the same.
    assert_eq!(verify(&mut card, 0x82, b"123456"), OK);
    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &digest), (vec![], 0x6982));
    assert_eq!(card.signatures(), 0);

    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);
    let (signature, status) = send(&mut card, 0x002A, 0x9E9A, &digest);
    assert_eq!(status, OK);
    let key: [u8; 32] = public(&mut card, 0xB6, 0x86).try_into().unwrap();
    let key = VerifyingKey::from_bytes(&key).unwrap();
    key.verify_strict(&digest, &Signature::from_slice(&signature).unwrap()).unwrap();
    assert_eq!(card.signatures(), 1);
    assert_eq!(send(&mut card, 0x00CA, 0x007A, &[]), (vec![0x93, 3, 0, 0, 1], OK));
}

#[test]
fn a_pin_for_one_signature_is_used_up_by_it() {
    let mut card = with_keys();
    assert_eq!(send(&mut card, 0x00DA, 0x00C4, &[0]).1, OK);
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);

    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &[7; 32]).1, OK);
    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &[7; 32]).1, 0x6982);
}

#[test]
fn both_sides_agree_on_a_shared_secret() {
    let mut card = with_keys();
    let ours = StaticSecret::from([9; 32]);
    let point = *PublicKey::from(&ours).as_bytes();
    let command = [&[0xA6, 37, 0x7F, 0x49, 34, 0x86, 32][..], &point].concat();

    assert_eq!(send(&mut card, 0x002A, 0x8086, &command), (vec![], 0x6982));
    assert_eq!(verify(&mut card, 0x82, b"123456"), OK);
    let (secret, status) = send(&mut card, 0x002A, 0x8086, &command);
    assert_eq!(status, OK);

    let theirs: [u8; 32] = public(&mut card, 0xB8, 0x86).try_into().unwrap();
    assert_eq!(secret, ours.diffie_hellman(&PublicKey::from(theirs)).as_bytes());
    assert_eq!(card.decryptions(), 1);
}

#[test]
fn an_rsa_key_made_on_the_card_signs_and_decrypts() {
    let mut card = selected();
    assert_eq!(verify(&mut card, 0x83, b"12345678"), OK);
    for slot in [0xB6, 0xB8] {
        assert_eq!(send(&mut card, 0x0047, 0x8000, &[slot, 0]).1, OK);
    }
    let mut key = |slot| {
        let number = |part, card: &mut OpenPgpCard| BigUint::from_bytes_be(&public(card, slot, part));
        RsaPublicKey::new(number(0x81, &mut card), number(0x82, &mut card)).unwrap()
    };
    let (signing, decrypting) = (key(0xB6), key(0xB8));
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);
    assert_eq!(verify(&mut card, 0x82, b"123456"), OK);

    let (signature, status) = send(&mut card, 0x002A, 0x9E9A, &[7; 51]);
    assert_eq!(status, OK);
    signing.verify(Pkcs1v15Sign::new_unprefixed(), &[7; 51], &signature).unwrap();

    let mut random = ChaCha20Rng::seed_from_u64(2);
    let cryptogram = decrypting.encrypt(&mut random, Pkcs1v15Encrypt, b"noon").unwrap();
    let command = [&[0], &cryptogram[..]].concat();
    assert_eq!(send(&mut card, 0x002A, 0x8086, &command), (b"noon".to_vec(), OK));

    // The same in short form: the command is chained, and the answer to a long one comes in parts.
    let (first, second) = command.split_at(200);
    let chained =
        |class, data: &[u8]| [&[class, 0x2A, 0x80, 0x86, u8::try_from(data.len()).unwrap()][..], data, &[0]].concat();
    assert_eq!(split(card.transmit(&chained(0x10, first))), (vec![], OK));
    assert_eq!(split(card.transmit(&chained(0x00, second))), (b"noon".to_vec(), OK));
    let (whole, _) = send(&mut card, 0x0047, 0x8100, &[0xB6, 0]);
    let (mut parts, status) = split(card.transmit(&[0, 0x47, 0x81, 0, 2, 0xB6, 0, 0]));
    assert_eq!((parts.len(), status), (256, 0x6100 | u16::try_from(whole.len() - 256).unwrap()));
    let (rest, status) = split(card.transmit(&[0, 0xC0, 0, 0, 0]));
    parts.extend(rest);
    assert_eq!((parts, status), (whole, OK));
}

#[test]
fn three_wrong_pins_block_and_the_administrator_unblocks() {
    let mut card = with_keys();
    assert_eq!(verify(&mut card, 0x81, b"654321"), 0x63C2);
    assert_eq!(verify(&mut card, 0x82, b"654321"), 0x63C1);
    // A right one gives the tries back.
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);
    for status in [0x63C2, 0x63C1, 0x6983] {
        assert_eq!(verify(&mut card, 0x81, b"654321"), status);
    }
    assert_eq!(verify(&mut card, 0x81, b"123456"), 0x6983);
    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &[7; 32]).1, 0x6982);

    assert_eq!(send(&mut card, 0x002C, 0x0281, b"234567").1, OK);
    assert_eq!(verify(&mut card, 0x81, b"234567"), OK);
}

#[test]
fn pins_are_changed_by_who_knows_them() {
    let mut card = selected();
    assert_eq!(send(&mut card, 0x0024, 0x0081, b"654321999999").1, 0x63C2);
    assert_eq!(send(&mut card, 0x0024, 0x0081, b"123456777").1, 0x6A80, "too short");
    assert_eq!(send(&mut card, 0x0024, 0x0081, b"123456777777").1, OK);
    assert_eq!(verify(&mut card, 0x81, b"777777"), OK);

    assert_eq!(send(&mut card, 0x002C, 0x0081, b"12345678888888").1, 0x6983, "there is no resetting code");
    assert_eq!(verify(&mut card, 0x83, b"12345678"), OK);
    assert_eq!(send(&mut card, 0x00DA, 0x00D3, b"87654321").1, OK);
    assert_eq!(send(&mut card, 0x002C, 0x0081, b"87654321888888").1, OK);
    assert_eq!(verify(&mut card, 0x81, b"888888"), OK);
}

#[test]
fn pulling_the_card_forgets_what_was_proven_and_keeps_the_keys() {
    let mut card = with_keys();
    let key = public(&mut card, 0xB6, 0x86);
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);

    card.reset();
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &APPLICATION).1, OK);
    assert_eq!(send(&mut card, 0x002A, 0x9E9A, &[7; 32]).1, 0x6982);
    assert_eq!(public(&mut card, 0xB6, 0x86), key);
}

#[test]
fn only_the_administrator_changes_what_is_on_the_card() {
    let mut card = selected();
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);
    assert_eq!(verify(&mut card, 0x82, b"123456"), OK);

    for (command, parameters, data) in [
        (0x00DA, 0x00C1, ED25519),
        (0x00DA, 0x005B, b"Alice"),
        (0x00DB, 0x3FFF, &[0x4D, 0]),
        (0x0047, 0x8000, &[0xB6, 0]),
        (0x002C, 0x0281, b"234567"),
        (0x00E6, 0x0000, &[]),
    ] {
        assert_eq!(send(&mut card, command, parameters, data).1, 0x6982, "{command:04X}");
    }
}

#[test]
fn algorithms_that_the_card_does_not_have_are_refused() {
    let mut card = with_keys();
    for attributes in [
        &[19, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07][..], // NIST P-256
        &[1, 4, 0, 0, 32, 0],                                      // RSA of 1024 bits
        &[18, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01], // Curve25519, which does not sign
        &[],
    ] {
        assert_eq!(send(&mut card, 0x00DA, 0x00C1, attributes).1, 0x6A80, "{attributes:?}");
    }
    assert_eq!(public(&mut card, 0xB6, 0x86).len(), 32, "the key is still there");
}

#[test]
fn a_factory_reset_leaves_nothing_but_the_serial_number() {
    let mut card = with_keys();
    let identifier = card.application_identifier();
    assert_eq!(send(&mut card, 0x0024, 0x0081, b"123456777777").1, OK);

    assert_eq!(send(&mut card, 0x00E6, 0, &[]).1, OK);
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &APPLICATION).1, 0x6285);
    assert_eq!(send(&mut card, 0x0044, 0, &[]).1, OK);
    assert_eq!(send(&mut card, 0x00A4, 0x0400, &APPLICATION).1, OK);

    assert_eq!(card.application_identifier(), identifier);
    assert_eq!(send(&mut card, 0x0047, 0x8100, &[0xB6, 0]).1, 0x6A88);
    assert_eq!(verify(&mut card, 0x81, b"123456"), OK);
}
