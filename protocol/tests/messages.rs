//! Messages that are signed inside their encryption: sealing, and opening with the key that somebody took out.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

use std::time::SystemTime;

use countersign_protocol::openpgp::{
    Author, Certificate, MessageKey, OpenFault, OpenedMessage, open, recipient_keys, seal,
};
use countersign_protocol::time::UnixMicros;
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::packet::{PKESK, Packet};
use sequoia_openpgp::parse::{PacketParser, PacketParserResult, Parse as _};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient, Signer};
use sequoia_openpgp::types::Features;
use sequoia_openpgp::{Cert, KeyHandle, PacketPile};

/// 2026-11-23T05:30:01Z.
const NOW: UnixMicros = UnixMicros(1_795_411_801_000_000);

struct Person {
    secret: Cert,
    certificate: Certificate,
}

fn person(name: &str) -> Person {
    let (secret, _) = CertBuilder::general_purpose(Some(name))
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_creation_time(SystemTime::from(UnixMicros(NOW.0 - 60_000_000)))
        .generate()
        .unwrap();
    let armored = String::from_utf8(secret.armored().to_vec().unwrap()).unwrap();
    Person { secret, certificate: Certificate::parse(&armored).unwrap() }
}

impl Person {
    fn sign(&self, document: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let policy = StandardPolicy::at(SystemTime::from(NOW));
        let keys = self.secret.keys().secret().with_policy(&policy, SystemTime::from(NOW)).for_signing();
        let pair = keys.map(|key| key.key().clone().into_keypair().unwrap()).next().unwrap();
        let mut signature = Vec::new();
        let signer = Signer::new(Message::new(&mut signature), pair).unwrap().detached();
        let mut signer = signer.creation_time(SystemTime::from(NOW)).build().unwrap();
        signer.write_all(document).unwrap();
        signer.finalize().unwrap();
        signature
    }

    /// Takes the key out of a message, as GnuPG does.
    fn message_key(&self, message: &[u8]) -> Option<MessageKey> {
        let mut result = PacketParser::from_bytes(message).unwrap();
        while let PacketParserResult::Some(parser) = result {
            if let Packet::PKESK(packet) = &parser.packet
                && let Some(key) = self.decrypt(packet)
            {
                return Some(key);
            }
            result = parser.next().unwrap().1;
        }
        None
    }

    fn decrypt(&self, packet: &PKESK) -> Option<MessageKey> {
        self.secret.keys().secret().find_map(|key| {
            let mut pair = key.key().clone().into_keypair().ok()?;
            let (algorithm, key) = packet.decrypt(&mut pair, None)?;
            format!("{}:{}", u8::from(algorithm?), hex::encode_upper(&key)).parse().ok()
        })
    }
}

#[test]
fn every_recipient_opens_a_message_and_learns_who_signed_it() {
    let [alice, bob, carol] = ["Alice", "Bob", "Carol"].map(person);
    let content = b"The meeting is at noon.\n\0\xff";
    let message = seal(content, &alice.sign(content), &[&bob.certificate, &carol.certificate], NOW).unwrap();

    for reader in [&bob, &carol] {
        let key = reader.message_key(&message).unwrap();
        let signers = [&bob.certificate, &alice.certificate];
        let opened = open(&message, &key, &signers, NOW, 1000).unwrap();
        assert_eq!(opened, OpenedMessage { content: content.to_vec(), author: Author::Signer(1) });
        let opened = open(&message, &key, &[&bob.certificate], NOW, 1000).unwrap();
        assert_eq!(opened.author, Author::Unknown);
    }
    assert!(alice.message_key(&message).is_none());
}

#[test]
fn a_message_names_the_keys_of_its_recipients() {
    let [alice, bob, carol] = ["Alice", "Bob", "Carol"].map(person);
    let message = seal(b"x", &alice.sign(b"x"), &[&bob.certificate, &carol.certificate], NOW).unwrap();

    let keys = recipient_keys(&message).unwrap();

    let has = |person: &Person| keys.iter().flatten().any(|key| person.certificate.has_key(key));
    assert_eq!((has(&alice), has(&bob), has(&carol)), (false, true, true));
    for nonsense in [&b""[..], b"hello", &alice.sign(b"x")] {
        assert!(matches!(recipient_keys(nonsense), Err(OpenFault::Malformed)));
    }
}

#[test]
fn a_signature_of_something_else_is_bad() {
    let [alice, bob] = ["Alice", "Bob"].map(person);
    let message = seal(b"one", &alice.sign(b"other"), &[&bob.certificate], NOW).unwrap();

    let opened = open(&message, &bob.message_key(&message).unwrap(), &[&alice.certificate], NOW, 1000).unwrap();

    assert_eq!(opened.author, Author::Bad);
    assert!(seal(b"one", b"no signature", &[&bob.certificate], NOW).is_err());
}

#[test]
fn nothing_of_an_altered_message_is_returned() {
    let [alice, bob] = ["Alice", "Bob"].map(person);
    let message = seal(b"content", &alice.sign(b"content"), &[&bob.certificate], NOW).unwrap();
    let key = bob.message_key(&message).unwrap();
    for place in [message.len() - 1, message.len() - 30, message.len() / 2 + 60] {
        let mut altered = message.clone();
        altered[place] ^= 1;
        assert!(open(&altered, &key, &[&alice.certificate], NOW, 1000).is_err(), "byte {place}");
    }
    let other = "9:000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F".parse().unwrap();
    assert!(open(&message, &other, &[&alice.certificate], NOW, 1000).is_err());
    assert!(matches!(open(&message, &key, &[&alice.certificate], NOW, 3), Err(OpenFault::TooLarge(3))));
}

#[test]
fn what_nobody_signed_says_so() {
    use std::io::Write as _;
    let bob = person("Bob");
    let policy = StandardPolicy::at(SystemTime::from(NOW));
    let keys = bob.secret.keys().with_policy(&policy, SystemTime::from(NOW)).for_transport_encryption();
    let v1 = Features::empty().set_seipdv1();
    let keys: Vec<_> =
        keys.map(|key| Recipient::new(v1.clone(), KeyHandle::from(key.key().keyid()), key.key())).collect();
    let mut message = Vec::new();
    let encryptor = Encryptor::for_recipients(Message::new(&mut message), keys).build().unwrap();
    let mut literal = LiteralWriter::new(encryptor).build().unwrap();
    literal.write_all(b"hello").unwrap();
    literal.finalize().unwrap();
    assert!(PacketPile::from_bytes(&message).is_ok());

    let opened = open(&message, &bob.message_key(&message).unwrap(), &[&bob.certificate], NOW, 1000).unwrap();

    assert_eq!(opened, OpenedMessage { content: b"hello".to_vec(), author: Author::Unsigned });
}

#[test]
fn a_certificate_is_the_same_as_raw_packets() {
    let alice = person("Alice <alice@example.org>");
    let again = Certificate::from_bytes(&alice.certificate.to_bytes()).unwrap();
    assert_eq!(again.fingerprint(), alice.certificate.fingerprint());
    assert_eq!(again.user_ids(NOW), ["Alice <alice@example.org>"]);
    assert_eq!(again.signing_keys(NOW).len(), 1);
    let secret = alice.secret.as_tsk().to_vec().unwrap();
    assert!(Certificate::from_bytes(&secret).is_err());
}
