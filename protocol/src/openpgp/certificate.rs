//! Certificates: parsing, and whether one can be used.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::time::SystemTime;

use sequoia_openpgp::cert::amalgamation::key::{ErasedKeyAmalgamation, ValidErasedKeyAmalgamation};
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::packet::Tag;
use sequoia_openpgp::packet::key::PublicParts;
use sequoia_openpgp::parse::Dearmor;
use sequoia_openpgp::policy::Policy;
use sequoia_openpgp::serialize::{Serialize as _, SerializeInto as _};
use sequoia_openpgp::types::{KeyFlags, RevocationStatus};
use sequoia_openpgp::{Cert, KeyHandle, Packet, armor};

use super::{flat_packets, policy, system_time};
use crate::time::UnixMicros;

/// Most bytes that parsing one armor may hash, at some hundred megabytes a second: ten times what a certificate with a
/// large key and hundreds of certifications needs.
const HASHED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The fingerprint of a certificate's primary key; written in upper-case hexadecimal as GnuPG does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(sequoia_openpgp::Fingerprint);

impl Fingerprint {
    /// Takes the raw bytes of a fingerprint: 20 of version 4, 32 of version 6.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let version = match bytes.len() {
            20 => 4,
            32 => 6,
            _ => return None,
        };
        sequoia_openpgp::Fingerprint::from_bytes(version, bytes).ok().map(Self)
    }

    /// Returns the raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Fingerprint {
    type Err = CertificateFault;

    fn from_str(text: &str) -> Result<Self, CertificateFault> {
        hex::decode(text).ok().and_then(|bytes| Self::from_bytes(&bytes)).ok_or(CertificateFault::Malformed)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({})", self.0.to_hex())
    }
}

/// The name of a key as an encrypted message has it: a key id, or a fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyName(pub(super) KeyHandle);

/// Why a certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It is no single armored certificate.
    #[error("it is not one armored OpenPGP certificate; export it with gpg --armor --export <fingerprint>")]
    Malformed,
    /// There is secret key material in it.
    #[error(
        "it holds secret key material, which must never leave its owner; use gpg --export, not --export-secret-keys"
    )]
    SecretKey,
    /// It has no valid primary key at the time: expired, revoked, not yet valid, or too weak.
    #[error(
        "it is not valid at the statement's time: expired, revoked, not yet valid, or its algorithms are too weak"
    )]
    Invalid,
    /// It has no usable key to sign with.
    #[error("it has no usable signing key")]
    NoSigningKey,
    /// It has no usable key to encrypt to.
    #[error("it has no usable encryption key")]
    NoEncryptionKey,
}

/// A parsed `OpenPGP` certificate, without any secret.
#[derive(Clone)]
pub struct Certificate {
    cert: Cert,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Parses one armored certificate.
    ///
    /// # Errors
    /// [`CertificateFault::Malformed`] or [`CertificateFault::SecretKey`].
    pub fn parse(armored: &str) -> Result<Self, CertificateFault> {
        let mut certificates = parse_certificates(armored)?;
        match (certificates.pop(), certificates.pop()) {
            (Some(certificate), None) => Ok(certificate),
            _ => Err(CertificateFault::Malformed),
        }
    }

    /// Parses one certificate of raw packets, under the same rules as an armored one.
    ///
    /// # Errors
    /// [`CertificateFault::Malformed`] or [`CertificateFault::SecretKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertificateFault> {
        let write = || -> sequoia_openpgp::Result<Vec<u8>> {
            let mut armor = armor::Writer::new(Vec::new(), armor::Kind::PublicKey)?;
            armor.write_all(bytes)?;
            Ok(armor.finalize()?)
        };
        let armored = write().map_err(|_| CertificateFault::Malformed)?;
        Self::parse(&String::from_utf8_lossy(&armored))
    }

    /// Writes the certificate as raw packets.
    ///
    /// # Panics
    /// Never: what cannot be written was refused when it was parsed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.cert.to_vec().expect("parsing refuses a certificate that cannot be written")
    }

    /// Returns the fingerprint of the primary key.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Checks that at `time` there is both a usable signing key and a usable encryption key.
    ///
    /// # Errors
    /// [`CertificateFault`] says what is missing.
    pub fn check_usable(&self, time: UnixMicros) -> Result<(), CertificateFault> {
        let at = system_time(time);
        let policy = policy(at);
        self.check_valid(&policy, at)?;
        if self.usable_keys(&policy, at, &KeyFlags::empty().set_signing()).next().is_none() {
            return Err(CertificateFault::NoSigningKey);
        }
        if self.encryption_keys(&policy, at).is_empty() {
            return Err(CertificateFault::NoEncryptionKey);
        }
        Ok(())
    }

    /// Returns the user ids, such as `Alice <alice@example.org>`, the primary one first. Whoever made the certificate
    /// chose them: they are names for people to read, never what decides.
    #[must_use]
    pub fn user_ids(&self, time: UnixMicros) -> Vec<String> {
        let at = system_time(time);
        let policy = policy(at);
        let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        let primary = self.cert.with_policy(&policy, at).ok();
        let primary = primary.and_then(|valid| valid.primary_userid().ok().map(|id| text(id.userid().value())));
        let all = self.cert.userids().map(|id| text(id.userid().value()));
        let others = all.filter(|id| Some(id) != primary.as_ref()).collect::<Vec<_>>();
        primary.into_iter().chain(others).collect()
    }

    /// Returns the fingerprints of the keys that may sign at `time`, newest first.
    #[must_use]
    pub fn signing_keys(&self, time: UnixMicros) -> Vec<Fingerprint> {
        let at = system_time(time);
        let policy = policy(at);
        let mut keys: Vec<_> = self.usable_keys(&policy, at, &KeyFlags::empty().set_signing()).collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.key().creation_time()));
        keys.into_iter().map(|key| Fingerprint(key.key().fingerprint())).collect()
    }

    /// Tells whether one of the certificate's keys, of whatever state, has the name that a message gives its recipient.
    #[must_use]
    pub fn has_key(&self, name: &KeyName) -> bool {
        self.keys().any(|key| name.0.aliases(key.key().key_handle()))
    }

    /// Returns sequoia's certificate.
    pub(super) const fn cert(&self) -> &Cert {
        &self.cert
    }

    /// Writes the certificate as armored text.
    ///
    /// # Panics
    /// Never: what cannot be written was refused when it was parsed.
    #[must_use]
    pub fn to_armored(&self) -> String {
        // Without sequoia's comments, which name the user ids: to judge them takes long where there are many.
        let write = || -> sequoia_openpgp::Result<Vec<u8>> {
            let mut armor = armor::Writer::new(Vec::new(), armor::Kind::PublicKey)?;
            self.cert.serialize(&mut armor)?;
            Ok(armor.finalize()?)
        };
        let bytes = write().expect("parsing refuses a certificate that cannot be written");
        String::from_utf8(bytes).expect("armor is ASCII")
    }

    /// Checks that the certificate as a whole is valid at a time: primary key alive, not revoked, policy kept.
    pub(super) fn check_valid(&self, policy: &dyn Policy, at: SystemTime) -> Result<(), CertificateFault> {
        let valid = self.cert.with_policy(policy, at).map_err(|_| CertificateFault::Invalid)?;
        valid.alive().map_err(|_| CertificateFault::Invalid)?;
        if let RevocationStatus::Revoked(_) = valid.revocation_status() {
            return Err(CertificateFault::Invalid);
        }
        Ok(())
    }

    /// All keys of the certificate, whatever their state.
    pub(super) fn keys(&self) -> impl Iterator<Item = ErasedKeyAmalgamation<'_, PublicParts>> {
        self.cert.keys()
    }

    /// Keys with one of the flags that are supported, bound, alive and not revoked at a time.
    pub(super) fn usable_keys<'a>(
        &'a self,
        policy: &'a dyn Policy,
        at: SystemTime,
        flags: &KeyFlags,
    ) -> impl Iterator<Item = ValidErasedKeyAmalgamation<'a, PublicParts>> {
        self.cert.keys().with_policy(policy, at).supported().alive().revoked(false).key_flags(flags)
    }

    pub(super) fn encryption_keys<'a>(
        &'a self,
        policy: &'a dyn Policy,
        at: SystemTime,
    ) -> Vec<ValidErasedKeyAmalgamation<'a, PublicParts>> {
        let flags = KeyFlags::empty().set_transport_encryption().set_storage_encryption();
        self.usable_keys(policy, at, &flags).collect()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Certificate({})", self.fingerprint)
    }
}

/// Parses all certificates of an armored text, such as the file with the super-administrators; several armor blocks
/// may follow each other.
///
/// # Errors
/// [`CertificateFault::Malformed`] if there is none or one cannot be parsed, [`CertificateFault::SecretKey`].
pub fn parse_certificates(armored: &str) -> Result<Vec<Certificate>, CertificateFault> {
    let mut certificates = Vec::new();
    for block in armor_blocks(armored) {
        let mode = armor::ReaderMode::Tolerant(None);
        let packets = flat_packets(block.as_bytes(), Dearmor::Enabled(mode)).ok_or(CertificateFault::Malformed)?;
        // By tag, so that one of a version that is not known here counts too.
        if packets.iter().any(|packet| matches!(packet.tag(), Tag::SecretKey | Tag::SecretSubkey)) {
            return Err(CertificateFault::SecretKey);
        }
        if !matches!(packets.first(), Some(Packet::PublicKey(_))) {
            return Err(CertificateFault::Malformed);
        }
        if hashed_bytes(&packets) > HASHED_BYTES_MAX {
            return Err(CertificateFault::Malformed);
        }
        for cert in CertParser::from_iter(packets) {
            let cert = cert.map_err(|_| CertificateFault::Malformed)?;
            // Sequoia reads some malformed signatures that it cannot write.
            if cert.to_vec().is_err() {
                return Err(CertificateFault::Malformed);
            }
            let fingerprint = Fingerprint(cert.fingerprint());
            certificates.push(Certificate { cert, fingerprint });
        }
    }
    if certificates.is_empty() { Err(CertificateFault::Malformed) } else { Ok(certificates) }
}

/// Returns how many bytes parsing may hash: sequoia looks for the place of a signature that does not stand behind what it
/// binds, and hashes the primary key and each component for it.
fn hashed_bytes(packets: &[Packet]) -> usize {
    let is_primary = |packet: &Packet| packet.tag() == Tag::PublicKey;
    let of_one = |packets: &[Packet]| {
        let (signatures, components): (Vec<&Packet>, Vec<&Packet>) =
            packets.iter().partition(|packet| packet.tag() == Tag::Signature);
        let primary = components.first().map_or(0, |packet| packet.serialized_len());
        let components: usize = components.iter().map(|packet| primary + packet.serialized_len()).sum();
        components.saturating_mul(signatures.len())
    };
    // Each primary key begins a certificate.
    let begins = packets.iter().enumerate().filter(|(_, packet)| is_primary(packet)).map(|(place, _)| place);
    let begins: Vec<usize> = begins.collect();
    let ends = begins.iter().skip(1).copied().chain([packets.len()]);
    begins.iter().zip(ends).filter_map(|(begin, end)| packets.get(*begin..end)).map(of_one).sum()
}

/// Splits a text at the lines that begin an armor block; text before the first is dropped.
fn armor_blocks(text: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN PGP ";
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(start, _)| start).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| text.get(start..end))
}
