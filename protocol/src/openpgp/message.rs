//! Messages that are signed and then encrypted: what clients send each other.
//!
//! Owns: how a finished detached signature, its content and many recipients become one standard `OpenPGP` message, and
//! the way back with a message key that somebody else took out of it.
//!
//! Refuses to know: secret keys. The signature comes finished, and so does the key of a message to open: GnuPG makes
//! both, perhaps on a smart card.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use sequoia_openpgp::crypto::SessionKey as SequoiaKey;
use sequoia_openpgp::packet::{Literal, OnePassSig, PKESK, Packet, SKESK, Signature};
use sequoia_openpgp::parse::stream::{
    DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
};
use sequoia_openpgp::parse::{Dearmor, PacketParserBuilder, PacketParserResult, Parse as _};
use sequoia_openpgp::serialize::Serialize as _;
use sequoia_openpgp::types::{DataFormat, SymmetricAlgorithm};
use sequoia_openpgp::{Cert, KeyHandle};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::encryption::encrypt_packets;
use super::{
    Certificate, EncryptionFault, KeyName, PACKET_BYTES_MAX, PACKETS_MAX, flat_packets, policy, system_time,
};
use crate::time::UnixMicros;

/// Writes one `OpenPGP` message: `content` with its signature, encrypted to every encryption key of each recipient that
/// is usable at `time`. `signature` is a detached binary signature over `content`, as raw packets.
///
/// Any `OpenPGP` program reads it; `gpg --decrypt` shows the content and whose signature it has.
///
/// # Errors
/// [`EncryptionFault`]; a signature that is none counts as a failure too.
pub fn seal<C: AsRef<Certificate>>(
    content: &[u8],
    signature: &[u8],
    recipients: &[C],
    time: UnixMicros,
) -> Result<Vec<u8>, EncryptionFault> {
    let signature =
        single_signature(signature).ok_or_else(|| EncryptionFault::Failed("no single signature".into()))?;
    encrypt_packets(recipients, time, |mut message| {
        let mut announcement = OnePassSig::try_from(&signature)?;
        if let OnePassSig::V3(announcement) = &mut announcement {
            announcement.set_last(true);
        }
        Packet::from(announcement).serialize(&mut message)?;
        let mut literal = Literal::new(DataFormat::Binary);
        literal.set_body(content.to_vec());
        Packet::from(literal).serialize(&mut message)?;
        Packet::from(signature).serialize(&mut message)?;
        message.finalize()
    })
}

fn single_signature(bytes: &[u8]) -> Option<Signature> {
    match <[Packet; 1]>::try_from(flat_packets(bytes, Dearmor::Disabled)?) {
        Ok([Packet::Signature(signature)]) => Some(signature),
        _ => None,
    }
}

/// The symmetric key of one message. With it that message can be read and no other; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MessageKey {
    algorithm: u8,
    key: Vec<u8>,
}

/// A text that is not a message key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message key: <algorithm>:<hexadecimal digits>")]
pub struct InvalidMessageKey;

impl FromStr for MessageKey {
    type Err = InvalidMessageKey;

    /// Reads `9:63D7…`, as `gpg --show-session-key` writes it.
    fn from_str(text: &str) -> Result<Self, InvalidMessageKey> {
        let (algorithm, key) = text.split_once(':').ok_or(InvalidMessageKey)?;
        let key = hex::decode(key).map_err(|_| InvalidMessageKey)?;
        let algorithm = algorithm.parse().map_err(|_| InvalidMessageKey)?;
        if (16..=32).contains(&key.len()) { Ok(Self { algorithm, key }) } else { Err(InvalidMessageKey) }
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MessageKey(…)")
    }
}

/// Whose signature is over an opened message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The signature is good, and this certificate of those that were given made it.
    Signer(usize),
    /// There is no signature.
    Unsigned,
    /// There is a signature, by none of the given certificates.
    Unknown,
    /// There is a signature of one of the given certificates, and it is not good.
    Bad,
}

/// An opened message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedMessage {
    /// The content.
    pub content: Vec<u8>,
    /// Who signed it.
    pub author: Author,
}

/// Why a message cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// It is no encrypted `OpenPGP` message.
    #[error("it is not an encrypted OpenPGP message")]
    Malformed,
    /// The key is another's, or the message was altered.
    #[error("it does not decrypt: it was altered, or is of a kind that is not known here")]
    Undecryptable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds more than the caller takes.
    #[error("it holds more than {0} bytes")]
    TooLarge(usize),
}

/// Opens a message with its key, and says which of `signers` signed it. Nothing of an altered message is returned.
///
/// `time` is the reader's clock. A signature must have been good when it was made: a key that expired since does not
/// matter, a hard revocation does. At most `limit` bytes are unpacked.
///
/// # Errors
/// [`OpenFault`].
pub fn open<C: AsRef<Certificate>>(
    message: &[u8],
    key: &MessageKey,
    signers: &[C],
    time: UnixMicros,
    limit: usize,
) -> Result<OpenedMessage, OpenFault> {
    let at = system_time(time);
    let policy = policy(at);
    let certs = signers.iter().map(|signer| signer.as_ref().cert().clone()).collect();
    let helper = Opening { key, certs, author: Author::Unsigned };
    let undecryptable = |error: sequoia_openpgp::anyhow::Error| OpenFault::Undecryptable(error.into());
    let mut reader = DecryptorBuilder::from_bytes(message)
        .map_err(|_| OpenFault::Malformed)?
        .with_policy(&policy, Some(at), helper)
        .map_err(undecryptable)?;
    let mut content = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    (&mut reader).take(bound).read_to_end(&mut content).map_err(|error| undecryptable(error.into()))?;
    if content.len() > limit {
        return Err(OpenFault::TooLarge(limit));
    }
    let author = reader.into_helper().author;
    Ok(OpenedMessage { content, author })
}

/// Returns the names of the keys that a message says it is encrypted to, without opening it; none for a recipient who is
/// hidden.
///
/// # Errors
/// [`OpenFault::Malformed`].
pub fn recipient_keys(message: &[u8]) -> Result<Vec<Option<KeyName>>, OpenFault> {
    let malformed = |_| OpenFault::Malformed;
    let mut result = PacketParserBuilder::from_bytes(message)
        .map_err(malformed)?
        .max_recursion_depth(0)
        .max_packet_size(PACKET_BYTES_MAX)
        .drop_unread_content()
        .build()
        .map_err(malformed)?;
    let mut names = Vec::new();
    while let PacketParserResult::Some(parser) = result {
        match &parser.packet {
            Packet::PKESK(key) => {
                // A hidden recipient's key id is all zeros.
                let named =
                    key.recipient().filter(|handle| !matches!(handle, KeyHandle::KeyID(id) if id.is_wildcard()));
                names.push(named.map(KeyName));
            }
            Packet::SKESK(_) => {}
            Packet::SEIP(_) => return Ok(names),
            // A container of a kind that is not known here.
            Packet::Unknown(_) if !names.is_empty() => return Ok(names),
            _ => return Err(OpenFault::Malformed),
        }
        if names.len() > PACKETS_MAX {
            return Err(OpenFault::Malformed);
        }
        result = parser.next().map_err(malformed)?.1;
    }
    Err(OpenFault::Malformed)
}

/// What sequoia asks while it reads.
struct Opening<'a> {
    key: &'a MessageKey,
    certs: Vec<Cert>,
    author: Author,
}

impl VerificationHelper for Opening<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        Ok(self.certs.clone())
    }

    /// Never fails: who signed is the caller's to judge.
    fn check(&mut self, structure: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else {
                continue;
            };
            for result in results {
                let author = match result {
                    Ok(good) => {
                        let signer = good.ka.cert().fingerprint();
                        let place = self.certs.iter().position(|cert| cert.fingerprint() == signer);
                        place.map_or(Author::Unknown, Author::Signer)
                    }
                    Err(VerificationError::MissingKey { .. }) => Author::Unknown,
                    Err(_) => Author::Bad,
                };
                // One good signature is enough; a bad one says more than an unknown one.
                self.author = match (self.author, author) {
                    (Author::Signer(signer), _) | (_, Author::Signer(signer)) => Author::Signer(signer),
                    (Author::Bad, _) | (_, Author::Bad) => Author::Bad,
                    (_, author) => author,
                };
            }
        }
        Ok(())
    }
}

impl DecryptionHelper for Opening<'_> {
    fn decrypt(
        &mut self,
        _: &[PKESK],
        _: &[SKESK],
        _: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SequoiaKey) -> bool,
    ) -> sequoia_openpgp::Result<Option<Cert>> {
        let key = SequoiaKey::from(self.key.key.as_slice());
        decrypt(Some(SymmetricAlgorithm::from(self.key.algorithm)), &key);
        Ok(None)
    }
}
