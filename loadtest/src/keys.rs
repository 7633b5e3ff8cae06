//! `OpenPGP` keys in this process: made once, kept in a folder, and used to sign and to decrypt.
//!
//! The only home of sequoia beside the protocol crate, which refuses to know secret keys. GnuPG, which the client uses,
//! would be an agent and some processes for each of thousands of users (docs/decisions/0012-keys-of-the-load-tester.md).
//!
//! These are test keys with secrets in the clear, of the kind that GnuPG makes by default: an Ed25519 key that certifies
//! and signs, and a Curve25519 subkey that decrypts.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
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

use crate::clock::Clock;

/// A person with a key.
pub struct Person {
    cert: Cert,
    certificate: String,
    signing: KeyPair,
    decryption: KeyPair,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Person({})", self.cert.fingerprint())
    }
}

impl Person {
    fn new(cert: Cert) -> Result<Self> {
        let policy = StandardPolicy::new();
        let pair = |flags: KeyFlags| -> Result<KeyPair> {
            let mut keys = cert.keys().unencrypted_secret().with_policy(&policy, None).key_flags(flags);
            let key = keys.next().context("the secret key lacks a part, or is under a passphrase")?;
            key.key().clone().into_keypair()
        };
        let (signing, decryption) =
            (pair(KeyFlags::empty().set_signing())?, pair(KeyFlags::empty().set_transport_encryption())?);
        let certificate = String::from_utf8(cert.armored().to_vec()?)?;
        Ok(Self { cert, certificate, signing, decryption })
    }

    /// Returns the armored certificate.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a document, detached and binary, at a time.
    ///
    /// # Errors
    /// If sequoia cannot.
    pub fn sign(&self, document: &[u8], time: UnixMicros) -> Result<Vec<u8>> {
        let mut signer = self.signing.clone();
        let signature = SignatureBuilder::new(SignatureType::Binary)
            .set_signature_creation_time(time)?
            .sign_message(&mut signer, document)?;
        Packet::from(signature).to_vec()
    }

    /// Signs a document, detached and armored, at a time.
    ///
    /// # Errors
    /// If sequoia cannot.
    pub fn sign_armored(&self, document: &[u8], time: UnixMicros) -> Result<String> {
        let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature)?;
        std::io::Write::write_all(&mut writer, &self.sign(document, time)?)?;
        Ok(String::from_utf8(writer.finalize()?)?)
    }

    /// Decrypts a binary message. Nobody is asked to have signed it.
    ///
    /// # Errors
    /// If it is none, or not for this person.
    pub fn decrypt(&self, message: &[u8]) -> Result<Vec<u8>> {
        let policy = StandardPolicy::new();
        let reader = Reader(self.decryption.clone());
        let mut decryptor = DecryptorBuilder::from_bytes(message)?.with_policy(&policy, None, reader)?;
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

/// The two who create organizations.
#[derive(Clone, Debug)]
pub struct SuperAdministrators(pub [Arc<Person>; 2]);

impl SuperAdministrators {
    /// Takes the first two of a file with secret keys.
    ///
    /// # Errors
    /// If there are not two, or they are under a passphrase.
    pub fn read(file: &Path) -> Result<Self> {
        let mut people = read_people(file)?.into_iter();
        let (Some(one), Some(other)) = (people.next(), people.next()) else {
            bail!("{} has fewer than two secret keys", file.display());
        };
        Ok(Self([one, other]))
    }

    /// Returns both certificates, as the service's setting wants them.
    #[must_use]
    pub fn certificates(&self) -> String {
        self.0.iter().map(|person| person.certificate()).collect()
    }
}

/// Reads secret keys from a file, armored or not.
///
/// # Errors
/// If it cannot be read, or a key is under a passphrase.
pub fn read_people(file: &Path) -> Result<Vec<Arc<Person>>> {
    let certs = CertParser::from_file(file)
        .and_then(Iterator::collect::<Result<Vec<Cert>>>)
        .with_context(|| format!("cannot read secret keys from {}", file.display()))?;
    certs
        .into_iter()
        .map(|cert| Ok(Arc::new(Person::new(cert).with_context(|| format!("of {}", file.display()))?)))
        .collect()
}

/// Writes people's secret keys to a file that only its owner can read.
///
/// # Errors
/// If it cannot be written.
pub fn write_people<'a>(file: &Path, people: impl IntoIterator<Item = &'a Arc<Person>>) -> Result<()> {
    let mut bytes = Vec::new();
    for person in people {
        person.cert.as_tsk().serialize(&mut bytes)?;
    }
    let written = || -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let partial = file.with_extension("partial");
        let mut opened = std::fs::OpenOptions::new();
        let opened = opened.write(true).create(true).truncate(true).mode(0o600).open(&partial);
        std::io::Write::write_all(&mut opened?, &bytes)?;
        std::fs::rename(partial, file)
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}

/// A folder of keys that all runs share.
#[derive(Debug)]
pub struct KeyFolder {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl KeyFolder {
    /// Takes a folder, which is made where it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: PathBuf, clock: Arc<dyn Clock>) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, clock })
    }

    /// Returns the folder that is used where none is named: under `COUNTERSIGN_CACHE` or `~/.cache/countersign`.
    ///
    /// # Errors
    /// If neither is known.
    pub fn default_folder(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf> {
        let cache = variable("COUNTERSIGN_CACHE").map(PathBuf::from);
        let home = variable("HOME").map(|home| PathBuf::from(home).join(".cache/countersign"));
        let cache = cache.or(home).context("neither COUNTERSIGN_CACHE nor HOME is set; name a folder with --keys")?;
        Ok(cache.join("loadtest-keys"))
    }

    /// Returns the two super-administrators, the same in every run.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn super_administrators(&self) -> Result<SuperAdministrators> {
        let people = self.at_least("super-administrators", 2, |_| {})?;
        let [one, other] = <[Arc<Person>; 2]>::try_from(people).ok().context("there are more than two")?;
        Ok(SuperAdministrators([one, other]))
    }

    /// Returns `count` people, the same in every run; those who are not there yet are made.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn people(&self, count: usize) -> Result<Vec<Arc<Person>>> {
        self.people_telling(count, |_| {})
    }

    /// Returns `count` people as [`Self::people`] does, and tells after each that is made how many there are.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn people_telling(&self, count: usize, tell: impl Fn(usize)) -> Result<Vec<Arc<Person>>> {
        let mut people = self.at_least("people", count, tell)?;
        people.truncate(count);
        Ok(people)
    }

    fn at_least(&self, name: &str, count: usize, tell: impl Fn(usize)) -> Result<Vec<Arc<Person>>> {
        // Of two processes at once, the second finds what the first made.
        let lock = File::create(self.folder.join("lock")).context("cannot lock the folder of keys")?;
        lock.lock().context("cannot lock the folder of keys")?;
        let file = self.folder.join(format!("{name}.pgp"));
        let mut people = if file.exists() { read_people(&file)? } else { Vec::new() };
        if people.len() < count {
            for number in people.len()..count {
                people.push(Arc::new(Person::new(self.make(name, number)?)?));
                tell(people.len());
            }
            write_people(&file, &people)?;
        }
        Ok(people)
    }

    fn make(&self, name: &str, number: usize) -> Result<Cert> {
        // Yesterday, so that it is valid whatever the service's clock says.
        let yesterday = self.clock.now().minus(Duration::from_hours(24));
        let (cert, _) = CertBuilder::new()
            .add_userid(format!("Load test {name} {number} <{name}{number}@example.org>"))
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .add_subkey(KeyFlags::empty().set_transport_encryption().set_storage_encryption(), None::<Duration>, None)
            .set_creation_time(std::time::SystemTime::from(yesterday))
            .generate()?;
        Ok(cert)
    }
}

/// Returns the one person of a file with a secret key.
///
/// # Errors
/// If there is not exactly one.
pub fn read_person(file: &Path) -> Result<Arc<Person>> {
    let mut people = read_people(file)?;
    ensure!(people.len() == 1, "{} has {} secret keys, and not one", file.display(), people.len());
    let Some(person) = people.pop() else { bail!("{} has no secret key", file.display()) };
    Ok(person)
}

#[cfg(test)]
mod tests {
    use countersign_client::clock::ManualClock;
    use countersign_protocol::openpgp::Certificate;

    use super::*;

    #[test]
    fn keys_are_the_same_in_every_run_and_do_what_the_protocol_wants() {
        let folder = tempfile::tempdir().unwrap();
        let now = UnixMicros(1_795_400_000_000_000);
        let open = || KeyFolder::open(folder.path().to_owned(), Arc::new(ManualClock::at(now))).unwrap();

        let first = open().people(2).unwrap();
        let second = open().people(3).unwrap();

        assert_eq!(first[1].certificate(), second[1].certificate());
        assert_ne!(second[1].certificate(), second[2].certificate());
        let certificate = Certificate::parse(first[0].certificate()).unwrap();
        let encrypted = certificate.encrypt(b"hello", now).unwrap();
        assert_eq!(second[0].decrypt(&encrypted).unwrap(), b"hello");
        assert!(second[1].decrypt(&encrypted).is_err());
        assert_eq!(open().super_administrators().unwrap().certificates().matches("BEGIN PGP PUBLIC").count(), 2);
    }
}
