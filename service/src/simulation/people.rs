//! The people of every story: their keys, and the log that their organization begins with.
//!
//! Keys are made anew in each process. Their bytes decide nothing in a story.

use std::io::Read as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::crypto::{KeyPair, SessionKey};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::{PKESK, SKESK};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::{KeyFlags, SignatureType, SymmetricAlgorithm};
use sequoia_openpgp::{Cert, KeyHandle, Packet, armor};

use super::environment::BEGINNING;

pub(crate) const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
/// How many users there are. The first two are administrators.
pub(crate) const USERS: usize = 3;

/// Somebody with a key.
pub(crate) struct Person {
    certificate: String,
    signing: KeyPair,
    decryption: KeyPair,
}

impl Person {
    fn new(name: &str) -> Self {
        let (cert, _) = CertBuilder::new()
            .add_userid(name)
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .add_subkey(KeyFlags::empty().set_transport_encryption(), None::<Duration>, None)
            .set_creation_time(std::time::SystemTime::from(BEGINNING.minus(Duration::from_secs(3_600))))
            .generate()
            .unwrap();
        let policy = StandardPolicy::new();
        let pair = |flags: KeyFlags| -> KeyPair {
            let at = std::time::SystemTime::from(BEGINNING);
            let mut keys = cert.keys().unencrypted_secret().with_policy(&policy, at).key_flags(flags);
            keys.next().unwrap().key().clone().into_keypair().unwrap()
        };
        Self {
            certificate: String::from_utf8(cert.armored().to_vec().unwrap()).unwrap(),
            signing: pair(KeyFlags::empty().set_signing()),
            decryption: pair(KeyFlags::empty().set_transport_encryption()),
        }
    }

    /// Signs a document, detached and binary.
    pub(crate) fn sign(&self, document: &[u8], time: UnixMicros) -> Vec<u8> {
        let builder = SignatureBuilder::new(SignatureType::Binary).set_signature_creation_time(time).unwrap();
        let signature = builder.sign_message(&mut self.signing.clone(), document).unwrap();
        Packet::from(signature).to_vec().unwrap()
    }

    fn sign_armored(&self, document: &[u8], time: UnixMicros) -> String {
        let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature).unwrap();
        std::io::Write::write_all(&mut writer, &self.sign(document, time)).unwrap();
        String::from_utf8(writer.finalize().unwrap()).unwrap()
    }

    /// Decrypts a binary message.
    pub(crate) fn decrypt(&self, message: &[u8], time: UnixMicros) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let time = std::time::SystemTime::from(time);
        let reader = Reader(self.decryption.clone());
        let decryptor = DecryptorBuilder::from_bytes(message).unwrap().with_policy(&policy, time, reader);
        let mut plaintext = Vec::new();
        decryptor.unwrap().read_to_end(&mut plaintext).unwrap();
        plaintext
    }

    fn parsed(&self) -> Arc<Certificate> {
        Arc::new(Certificate::parse(&self.certificate).unwrap())
    }
}

struct Reader(KeyPair);

impl VerificationHelper for Reader {
    fn get_certs(&mut self, _: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, _: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
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
    ) -> sequoia_openpgp::Result<Option<Cert>> {
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

/// Everybody, and the organization's first statements.
pub(crate) struct People {
    pub(crate) users: Vec<Person>,
    pub(crate) super_administrators: Vec<Arc<Certificate>>,
    pub(crate) first_entries: Vec<LogEntry>,
}

/// Returns the user of a number.
pub(crate) fn user(number: usize) -> UserId {
    UserId::from_bytes([0x10 + u8::try_from(number).unwrap(); 16])
}

/// The people of this process.
pub(crate) static PEOPLE: LazyLock<People> = LazyLock::new(People::new);

impl People {
    fn new() -> Self {
        let supers = [Person::new("Super One"), Person::new("Super Two")];
        let users: Vec<Person> = ["Alice", "Bob", "Carol"].into_iter().map(Person::new).collect();
        let mut entries: Vec<LogEntry> = Vec::new();
        for (number, person) in users.iter().enumerate() {
            let certificate = person.certificate.clone();
            let change = if number == 0 {
                Change::CreateOrganization { user: user(0), certificate }
            } else {
                let administrator = number == 1;
                Change::AddUser { user: user(number), certificate, administrator, client_limit: None }
            };
            let signers: Vec<&Person> = match number {
                0 => supers.iter().collect(),
                1 => vec![&users[0]],
                _ => vec![&users[0], &users[1]],
            };
            let previous = entries.last().map(|entry| Statement::parse(&entry.statement).unwrap());
            entries.push(signed(previous.as_ref(), BEGINNING, change, &signers));
        }
        let super_administrators = supers.iter().map(Person::parsed).collect();
        Self { users, super_administrators, first_entries: entries }
    }

    /// Returns a change of a user that both administrators sign, after a statement.
    pub(crate) fn change(&self, previous: &Statement, time: UnixMicros, change: Change) -> LogEntry {
        signed(Some(previous), time.max(previous.time), change, &[&self.users[0], &self.users[1]])
    }
}

fn signed(previous: Option<&Statement>, time: UnixMicros, change: Change, signers: &[&Person]) -> LogEntry {
    let sequence = previous.map_or(0, |previous| previous.sequence + 1);
    let statement = Statement::compose(ORGANIZATION, sequence, previous.map(|previous| previous.hash), time, change);
    let signatures = signers.iter().map(|signer| signer.sign_armored(statement.as_bytes(), time)).collect();
    LogEntry { statement, signatures }
}
