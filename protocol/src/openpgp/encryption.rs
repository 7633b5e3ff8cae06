//! Encryption to a certificate.

use std::io::Write as _;

use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};

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
        let at = system_time(time);
        let policy = policy(at);
        let recipients: Vec<Recipient<'_>> =
            self.encryption_keys(&policy, at).into_iter().map(Recipient::from).collect();
        if recipients.is_empty() {
            return Err(EncryptionFault::NoEncryptionKey);
        }
        let mut ciphertext = Vec::new();
        let write = |sink: &mut Vec<u8>| -> sequoia_openpgp::Result<()> {
            let message = Encryptor::for_recipients(Message::new(sink), recipients).build()?;
            let mut message = LiteralWriter::new(message).build()?;
            message.write_all(plaintext)?;
            message.finalize()
        };
        write(&mut ciphertext).map_err(|error| EncryptionFault::Failed(error.into()))?;
        Ok(ciphertext)
    }
}

impl AsRef<Certificate> for Certificate {
    fn as_ref(&self) -> &Certificate {
        self
    }
}
