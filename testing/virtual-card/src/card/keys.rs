//! The three keys of a card: to sign, to decrypt, and to authenticate.
//!
//! Owns: the algorithms, how keys are imported, made, shown and used. Refuses to know: PINs, counters, commands.
//!
//! The names and numbers are those of the OpenPGP card specification 3.4: algorithm attributes 4.4.3.9, extended
//! header list 4.4.3.12, public keys 7.2.14.

use ed25519_dalek::{Signer as _, SigningKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPrivateKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::apdu::Status;
use super::tlv;

/// A place for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Signature,
    Decryption,
    Authentication,
}

impl Slot {
    pub(super) const ALL: [Self; 3] = [Self::Signature, Self::Decryption, Self::Authentication];

    /// By the tag of its control reference template.
    pub(super) const fn of_template(tag: u16) -> Option<Self> {
        match tag {
            0xB6 => Some(Self::Signature),
            0xB8 => Some(Self::Decryption),
            0xA4 => Some(Self::Authentication),
            _ => None,
        }
    }
}

/// What kind of key a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ed25519,
    X25519,
    Rsa { bits: u16 },
}

const RSA: u8 = 1;
const ECDH: u8 = 18;
const EDDSA: u8 = 22;
/// The object identifiers by which the card names the curves: 1.3.6.1.4.1.11591.15.1 and 1.3.6.1.4.1.3029.1.5.1.
const ED25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];
const CURVE25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
/// So many bits are announced for the exponent of an RSA key, which in practice is 65537.
const EXPONENT_BITS: u16 = 32;
const EXPONENT: u64 = 65_537;
/// The point's prefix by which OpenPGP says that it is in the curve's native form.
const NATIVE_POINT: u8 = 0x40;

impl Algorithm {
    pub(super) const DEFAULT: Self = Self::Rsa { bits: 2048 };

    /// Reads algorithm attributes.
    pub(super) fn read(slot: Slot, attributes: &[u8]) -> Result<Self, Status> {
        match attributes {
            [RSA, high, low, _, _] | [RSA, high, low, _, _, 0] => match u16::from_be_bytes([*high, *low]) {
                bits @ (2048 | 3072 | 4096) => Ok(Self::Rsa { bits }),
                _ => Err(Status::WRONG_DATA),
            },
            [EDDSA, oid @ ..] if slot != Slot::Decryption && is_curve(oid, ED25519) => Ok(Self::Ed25519),
            [ECDH, oid @ ..] if slot == Slot::Decryption && is_curve(oid, CURVE25519) => Ok(Self::X25519),
            _ => Err(Status::WRONG_DATA),
        }
    }

    pub(super) fn attributes(self) -> Vec<u8> {
        match self {
            Self::Ed25519 => [&[EDDSA], ED25519].concat(),
            Self::X25519 => [&[ECDH], CURVE25519].concat(),
            Self::Rsa { bits } => {
                // The last byte: a key is imported as e, p and q.
                [&[RSA][..], &bits.to_be_bytes(), &EXPONENT_BITS.to_be_bytes(), &[0]].concat()
            }
        }
    }
}

/// Without the public key, which is computed here, 0 or nothing follows the name.
fn is_curve(bytes: &[u8], oid: &[u8]) -> bool {
    bytes.strip_prefix(oid).is_some_and(|rest| matches!(rest, [] | [0]))
}

/// A secret key. It has no protection whatever: this is a card for tests.
#[derive(Clone)]
pub(super) enum Key {
    Ed25519(SigningKey),
    X25519(StaticSecret),
    Rsa(Box<RsaPrivateKey>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Ed25519(_) => "Ed25519",
            Self::X25519(_) => "X25519",
            Self::Rsa(_) => "RSA",
        })
    }
}

impl Key {
    /// Makes a key.
    pub(super) fn generate(algorithm: Algorithm, random: &mut ChaCha20Rng) -> Result<Self, Status> {
        let mut seed = || {
            let mut bytes = [0; 32];
            random.fill_bytes(&mut bytes);
            bytes
        };
        Ok(match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(SigningKey::from_bytes(&seed())),
            Algorithm::X25519 => Self::X25519(StaticSecret::from(seed())),
            Algorithm::Rsa { bits } => Self::Rsa(Box::new(
                RsaPrivateKey::new_with_exp(random, usize::from(bits), &BigUint::from(EXPONENT))
                    .map_err(|_| Status::CONDITIONS_NOT_SATISFIED)?,
            )),
        })
    }

    /// Takes a key in: from the list of its parts (7F48) and from their bytes (5F48).
    pub(super) fn import(algorithm: Algorithm, template: &[u8], bytes: &[u8]) -> Result<Self, Status> {
        let part = |wanted| part(template, bytes, wanted).ok_or(Status::WRONG_DATA);
        let secret = || <[u8; 32]>::try_from(part(0x92)?).map_err(|_| Status::WRONG_DATA);
        Ok(match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(SigningKey::from_bytes(&secret()?)),
            Algorithm::X25519 => {
                // OpenPGP writes the scalar as it writes all numbers, most significant byte first; the curve does
                // not.
                let mut scalar = secret()?;
                scalar.reverse();
                Self::X25519(StaticSecret::from(scalar))
            }
            Algorithm::Rsa { bits } => {
                let number = |wanted| Ok(BigUint::from_bytes_be(part(wanted)?));
                let key = RsaPrivateKey::from_p_q(number(0x92)?, number(0x93)?, number(0x91)?)
                    .map_err(|_| Status::WRONG_DATA)?;
                if key.size() * 8 != usize::from(bits) || key.validate().is_err() {
                    return Err(Status::WRONG_DATA);
                }
                Self::Rsa(Box::new(key))
            }
        })
    }

    /// The public key, as the value of a template 7F49.
    pub(super) fn public(&self) -> Vec<u8> {
        let mut template = Vec::new();
        match self {
            Self::Ed25519(key) => tlv::write(&mut template, 0x86, key.verifying_key().as_bytes()),
            Self::X25519(key) => tlv::write(&mut template, 0x86, PublicKey::from(key).as_bytes()),
            Self::Rsa(key) => {
                tlv::write(&mut template, 0x81, &key.n().to_bytes_be());
                tlv::write(&mut template, 0x82, &key.e().to_bytes_be());
            }
        }
        template
    }

    /// Signs: with RSA a DER `DigestInfo`, which is padded here; with Ed25519 the digest, which is the message.
    pub(super) fn sign(&self, input: &[u8], random: &mut ChaCha20Rng) -> Result<Vec<u8>, Status> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(input).to_vec()),
            Self::Rsa(key) => {
                key.sign_with_rng(random, Pkcs1v15Sign::new_unprefixed(), input).map_err(|_| Status::WRONG_DATA)
            }
            Self::X25519(_) => Err(Status::CONDITIONS_NOT_SATISFIED),
        }
    }

    /// Decrypts: with RSA to what was encrypted, with X25519 to the shared secret.
    pub(super) fn decipher(&self, input: &[u8], random: &mut ChaCha20Rng) -> Result<Vec<u8>, Status> {
        match self {
            Self::X25519(key) => {
                let point = tlv::find(input, 0xA6)
                    .and_then(|cipher| tlv::find(cipher, 0x7F49))
                    .and_then(|public_key| tlv::find(public_key, 0x86))
                    .ok_or(Status::WRONG_DATA)?;
                let point =
                    if point.len() == 33 { point.strip_prefix(&[NATIVE_POINT]).unwrap_or(point) } else { point };
                let point: [u8; 32] = point.try_into().map_err(|_| Status::WRONG_DATA)?;
                Ok(key.diffie_hellman(&PublicKey::from(point)).as_bytes().to_vec())
            }
            Self::Rsa(key) => {
                // The first byte says how the rest is padded; 0 is the only one for RSA.
                let cryptogram = input.strip_prefix(&[0]).ok_or(Status::WRONG_DATA)?;
                key.decrypt_blinded(random, Pkcs1v15Encrypt, cryptogram).map_err(|_| Status::WRONG_DATA)
            }
            Self::Ed25519(_) => Err(Status::CONDITIONS_NOT_SATISFIED),
        }
    }
}

/// The bytes of one part: the parts stand one after the other, as long as the template says.
fn part<'a>(mut template: &[u8], mut bytes: &'a [u8], wanted: u16) -> Option<&'a [u8]> {
    while let Some((tag, length, rest)) = tlv::read_header(template) {
        let (value, after) = bytes.split_at_checked(length)?;
        if tag == wanted {
            return Some(value);
        }
        (template, bytes) = (rest, after);
    }
    None
}
