//! The people of the benchmark: OpenPGP keys, made once and kept in the cache folder.
//!
//! They are test keys with secrets in the clear, and of the kind that GnuPG makes by default: an Ed25519 key that
//! certifies and signs, and a Curve25519 subkey that decrypts.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_protocol::time::UnixMicros;
use sequoia_openpgp::cert::{CertBuilder, CertParser};
use sequoia_openpgp::crypto::{KeyPair, SessionKey};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::{PKESK, SKESK};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::{Serialize as _, SerializeInto as _};
use sequoia_openpgp::types::{KeyFlags, SignatureType, SymmetricAlgorithm};
use sequoia_openpgp::{Cert, KeyHandle, Packet, armor};

use crate::clock::wall;

/// A person with a key.
pub(crate) struct Person {
    /// The armored certificate.
    pub(crate) certificate: String,
    signing: KeyPair,
    decryption: KeyPair,
}

impl Person {
    fn new(cert: &Cert) -> Result<Self> {
        let policy = StandardPolicy::new();
        let pair = |flags: KeyFlags| -> Result<KeyPair> {
            let mut keys = cert.keys().unencrypted_secret().with_policy(&policy, None).key_flags(flags);
            let key = keys.next().context("a cached key lacks a part; remove the cache folder's bench-keys")?;
            key.key().clone().into_keypair()
        };
        Ok(Self {
            certificate: String::from_utf8(cert.armored().to_vec()?)?,
            signing: pair(KeyFlags::empty().set_signing())?,
            decryption: pair(KeyFlags::empty().set_transport_encryption())?,
        })
    }

    /// Signs a document, detached and binary, at a time.
    pub(crate) fn sign(&self, document: &[u8], time: UnixMicros) -> Result<Vec<u8>> {
        let mut signer = self.signing.clone();
        let signature = SignatureBuilder::new(SignatureType::Binary)
            .set_signature_creation_time(time)?
            .sign_message(&mut signer, document)?;
        Packet::from(signature).to_vec()
    }

    /// Signs a document, detached and armored, at a time.
    pub(crate) fn sign_armored(&self, document: &[u8], time: UnixMicros) -> Result<String> {
        let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature)?;
        std::io::Write::write_all(&mut writer, &self.sign(document, time)?)?;
        Ok(String::from_utf8(writer.finalize()?)?)
    }

    /// Decrypts a binary message.
    pub(crate) fn decrypt(&self, message: &[u8]) -> Result<Vec<u8>> {
        let policy = StandardPolicy::new();
        let helper = Reader(self.decryption.clone());
        let mut decryptor = DecryptorBuilder::from_bytes(message)?.with_policy(&policy, None, helper)?;
        let mut plaintext = Vec::new();
        decryptor.read_to_end(&mut plaintext)?;
        Ok(plaintext)
    }
}

struct Reader(KeyPair);

impl VerificationHelper for Reader {
    fn get_certs(&mut self, _: &[KeyHandle]) -> Result<Vec<Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, _: MessageStructure<'_>) -> Result<()> {
        Ok(())
    }
}

impl DecryptionHelper for Reader {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> Result<Option<Cert>> {
        for pkesk in pkesks {
            if let Some((algorithm, key)) = pkesk.decrypt(&mut self.0, algorithm)
                && decrypt(algorithm, &key)
            {
                break;
            }
        }
        Ok(None)
    }
}

/// Returns `count` people, the same in every run; those who are not in the cache yet are made.
pub(crate) fn people(count: usize) -> Result<Vec<Arc<Person>>> {
    let folder = cache_folder()?;
    let file = folder.join(format!("ed25519-{count}.pgp"));
    if !file.exists() {
        std::fs::create_dir_all(&folder)?;
        let mut keys = Vec::new();
        for number in 0..count {
            make(number)?.as_tsk().serialize(&mut keys)?;
        }
        let partial = folder.join(format!("ed25519-{count}.pgp.{}", std::process::id()));
        std::fs::write(&partial, keys)?;
        std::fs::rename(partial, &file)?;
    }
    let certs = CertParser::from_file(&file)?.collect::<Result<Vec<Cert>>>()?;
    ensure!(certs.len() == count, "{} is not whole: remove it", file.display());
    certs.iter().map(|cert| Ok(Arc::new(Person::new(cert)?))).collect()
}

fn make(number: usize) -> Result<Cert> {
    let yesterday = wall().0.saturating_sub(24 * 3600 * 1_000_000);
    let (cert, _) = CertBuilder::new()
        .add_userid(format!("Person {number} <person{number}@example.org>"))
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .add_subkey(KeyFlags::empty().set_transport_encryption().set_storage_encryption(), None::<Duration>, None)
        .set_creation_time(std::time::SystemTime::from(UnixMicros(yesterday)))
        .generate()?;
    Ok(cert)
}

fn cache_folder() -> Result<PathBuf> {
    let cache = std::env::var_os("COUNTERSIGN_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/countersign"));
    Ok(cache.or(home).context("neither COUNTERSIGN_CACHE nor HOME is set")?.join("bench-keys"))
}
