//! Detached signatures over a document.

use std::time::SystemTime;

use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::parse::Dearmor;
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy};
use sequoia_openpgp::types::{KeyFlags, SignatureType};
use sequoia_openpgp::{KeyHandle, Packet, armor};

use super::{Certificate, flat_packets, policy, system_time};
use crate::time::UnixMicros;

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// ASCII armor, as `gpg --armor --detach-sign` writes it.
    Armored,
    /// Raw packets, as `gpg --detach-sign` writes them.
    Binary,
}

/// The times by which a signature is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureTerms {
    /// When the signer's certificate must be valid.
    pub certificate_at: UnixMicros,
    /// The earliest that the signature may say it was made.
    pub not_before: UnixMicros,
    /// The latest that the signature may say it was made.
    pub not_after: UnixMicros,
}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is no single detached signature.
    #[error("it is not one detached OpenPGP signature, as gpg --detach-sign makes them")]
    Malformed,
    /// It is not a signature over binary data.
    #[error("it is not a signature of binary type; sign with gpg --detach-sign, without --textmode")]
    NotBinary,
    /// None of the certificates has the key that made it.
    #[error("it was not made by one of those who may sign")]
    UnknownSigner,
    /// The key that made it was not usable at the time: expired, revoked, too weak, or not for signing.
    #[error("its key is not usable: expired, revoked, not yet valid, too weak, or not for signing")]
    UnusableKey,
    /// It was made before it may have been.
    #[error("it was made before what it signs")]
    TooEarly,
    /// It was made in the verifier's future.
    #[error("it was made in the future; set the signer's clock")]
    TooLate,
    /// It has an end and is past it, or uses an algorithm that is too weak.
    #[error("it has expired or its algorithms are too weak")]
    Unacceptable,
    /// It does not verify over these bytes.
    #[error("it does not verify over these very bytes")]
    Bad,
}

/// Verifies one detached signature over `document` and returns the index of the certificate that made it.
///
/// # Errors
/// [`SignatureFault`] says why the signature is refused.
pub fn verify_detached<C: AsRef<Certificate>>(
    signature: &[u8],
    encoding: SignatureEncoding,
    document: &[u8],
    signers: &[C],
    terms: &SignatureTerms,
) -> Result<usize, SignatureFault> {
    let signature = parse(signature, encoding)?;
    if signature.typ() != SignatureType::Binary {
        return Err(SignatureFault::NotBinary);
    }
    let made = UnixMicros::from(signature.signature_creation_time().ok_or(SignatureFault::Malformed)?);
    // OpenPGP counts whole seconds, so the bounds are compared in whole seconds too.
    if made.to_seconds() < terms.not_before.to_seconds() {
        return Err(SignatureFault::TooEarly);
    }
    if made > terms.not_after {
        return Err(SignatureFault::TooLate);
    }

    let issuers = signature.get_issuers();
    let at = system_time(terms.certificate_at);
    let policy = policy(at);
    let mut fault = SignatureFault::UnknownSigner;
    for (index, signer) in signers.iter().enumerate() {
        match verify_by(&signature, &issuers, document, signer.as_ref(), &policy, at) {
            Ok(()) => return Ok(index),
            Err(SignatureFault::UnknownSigner) => {}
            Err(nearer) => fault = nearer,
        }
    }
    Err(fault)
}

fn parse(bytes: &[u8], encoding: SignatureEncoding) -> Result<Signature, SignatureFault> {
    let dearmor = match encoding {
        SignatureEncoding::Armored => Dearmor::Enabled(armor::ReaderMode::Tolerant(Some(armor::Kind::Signature))),
        SignatureEncoding::Binary => Dearmor::Disabled,
    };
    // Sequoia reads the first armor and drops the rest, and takes bare base64 too: other readers might not.
    if encoding == SignatureEncoding::Armored && !is_one_armor(bytes) {
        return Err(SignatureFault::Malformed);
    }
    let packets = flat_packets(bytes, dearmor).ok_or(SignatureFault::Malformed)?;
    match <[Packet; 1]>::try_from(packets) {
        Ok([Packet::Signature(signature)]) => Ok(signature),
        _ => Err(SignatureFault::Malformed),
    }
}

/// Tells whether a text holds exactly one armor, and that of a signature.
fn is_one_armor(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    text.matches("-----BEGIN PGP ").count() == 1 && text.contains("-----BEGIN PGP SIGNATURE-----")
}

/// Verifies a signature with the keys of one certificate that it names as issuer.
fn verify_by(
    signature: &Signature,
    issuers: &[KeyHandle],
    document: &[u8],
    signer: &Certificate,
    policy: &dyn Policy,
    at: SystemTime,
) -> Result<(), SignatureFault> {
    let is_issuer = |handle: KeyHandle| issuers.iter().any(|issuer| issuer.aliases(&handle));
    if !signer.keys().any(|key| is_issuer(key.key().key_handle())) {
        return Err(SignatureFault::UnknownSigner);
    }
    signer.check_valid(policy, at).map_err(|_| SignatureFault::UnusableKey)?;
    let signing = KeyFlags::empty().set_signing();
    let mut fault = SignatureFault::UnusableKey;
    for key in signer.usable_keys(policy, at, &signing).filter(|key| is_issuer(key.key().key_handle())) {
        if signature.verify_message(key.key(), document).is_err() {
            fault = SignatureFault::Bad;
            continue;
        }
        // A signature made after `at` is fine: the caller's terms bound when it may have been made.
        let judged_at = signature.signature_creation_time().map_or(at, |made| made.max(at));
        let acceptable = policy.signature(signature, HashAlgoSecurity::CollisionResistance).is_ok()
            && signature.signature_alive(judged_at, std::time::Duration::ZERO).is_ok();
        return if acceptable { Ok(()) } else { Err(SignatureFault::Unacceptable) };
    }
    Err(fault)
}
