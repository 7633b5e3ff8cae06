//! Encryption to a certificate.

use std::io::Write as _;

use sequoia_openpgp::KeyHandle;
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use sequoia_openpgp::types::Features;

use super::{Certificate, policy, system_time};
use crate::time::UnixMicros;

/// Why nothing can be encrypted to a certificate.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionFault {
    /// It has no usable encryption key at the time.
    #[error("the certificate has no usable encryption key")]
    NoEncryptionKey,
    /// Sequoia could not encrypt.
    #[error("the encryption failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Certificate {
    /// Encrypts to every encryption key that is usable at `time`, and returns a binary `OpenPGP` message: whichever
    /// of its owner's devices holds one of the keys can read it.
    ///
    /// # Errors
    /// [`EncryptionFault`].
    pub fn encrypt(&self, plaintext: &[u8], time: UnixMicros) -> Result<Vec<u8>, EncryptionFault> {
        encrypt_packets(&[self], time, |message| {
            let mut message = LiteralWriter::new(message).build()?;
            message.write_all(plaintext)?;
            message.finalize()
        })
    }
}

/// Encrypts what `write` writes to every usable encryption key of each certificate. `write` finalizes the message.
pub(super) fn encrypt_packets<C: AsRef<Certificate>>(
    recipients: &[C],
    time: UnixMicros,
    write: impl for<'a> FnOnce(Message<'a>) -> sequoia_openpgp::Result<()>,
) -> Result<Vec<u8>, EncryptionFault> {
    let at = system_time(time);
    let policy = policy(at);
    let mut keys: Vec<Recipient<'_>> = Vec::new();
    for recipient in recipients {
        let before = keys.len();
        // The encryption of RFC 4880, whatever a certificate says it understands: GnuPG reads no other kind.
        let features = Features::empty().set_seipdv1();
        keys.extend(recipient.as_ref().encryption_keys(&policy, at).into_iter().map(|key| {
            let key = key.key();
            Recipient::new(features.clone(), KeyHandle::from(key.keyid()), key)
        }));
        if keys.len() == before {
            return Err(EncryptionFault::NoEncryptionKey);
        }
    }
    if keys.is_empty() {
        return Err(EncryptionFault::NoEncryptionKey);
    }
    let mut ciphertext = Vec::new();
    let encrypted = Encryptor::for_recipients(Message::new(&mut ciphertext), keys).build().and_then(write);
    encrypted.map_err(|error| EncryptionFault::Failed(error.into()))?;
    Ok(ciphertext)
}

impl AsRef<Certificate> for Certificate {
    fn as_ref(&self) -> &Certificate {
        self
    }
}
