//! Somebody whose secret keys are on a smart card, and nowhere else: real gpg, scdaemon and pcscd, with a card in software.

use countersign_virtual_card::{GnupgHome, OpenPgpCard, VirtualCard};

use crate::support::{Key, Person, World};

/// A person, their GnuPG home and their card. Dropped in this order: GnuPG's daemons before the reader's.
struct CardHolder {
    person: Person,
    home: GnupgHome,
    card: VirtualCard,
}

impl CardHolder {
    fn new(name: &str) -> Self {
        let card = VirtualCard::start(OpenPgpCard::new(1)).unwrap();
        let home = GnupgHome::create(&card).unwrap();
        let fingerprint = home.generate_key(name).unwrap();
        home.move_to_card(&fingerprint).unwrap();
        let exported = home.gpg().args(["--armor", "--export", &fingerprint]).output().unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let certificate = String::from_utf8(exported.stdout).unwrap();
        let key = Key { home: home.folder().to_owned(), fingerprint, certificate };
        Self { person: Person::with_card(&key, &home), home, card }
    }

    /// How often the card has signed and decrypted.
    fn uses(&self) -> (u32, u32) {
        (self.card.signatures(), self.card.decryptions())
    }
}

#[test]
fn a_card_signs_and_decrypts_all_that_a_client_does() {
    let world = World::new();
    let mut dave = CardHolder::new("Dave");
    for line in dave.home.secret_keys().unwrap().lines().filter(|line| line.starts_with("ssb:")) {
        assert!(line.split(':').nth(14).is_some_and(|card| card.len() == 32), "on the disk: {line}");
    }

    // A session key: the request is signed and the key decrypted by the card.
    World::add(&world.alice, &mut dave.person);
    let joined = dave.uses();
    assert!(joined.0 >= 1 && joined.1 >= 1, "{joined:?}");

    // A message to them, and the receipt for it.
    let number = world.alice.send(&["dave"], "The meeting is at noon.");
    assert_eq!(dave.person.texts(), ["The meeting is at noon."]);
    let read = dave.uses();
    assert!(read.0 > joined.0 && read.1 > joined.1, "{joined:?}, then {read:?}");
    assert_eq!(world.alice.received_by(number), std::slice::from_ref(&dave.person.user));

    // A message from them.
    dave.person.send(&["alice"], "I shall be there.");
    assert!(dave.uses().0 > read.0);
    let inbox = world.alice.json(&["inbox"]);
    assert_eq!(inbox["messages"][0]["text"], "I shall be there.");
    assert_eq!(inbox["messages"][0]["state"], "verified");

    // Without the card nothing is signed, so nothing is sent; with it, all goes on.
    dave.card.remove();
    let without = dave.person.run(&["send", "alice", "--message", "And without my card?"]).expect(77);
    assert!(without.stderr.contains("GnuPG"), "{}", without.stderr);
    dave.card.insert();
    dave.person.send(&["alice"], "Here it is again.");
    assert_eq!(world.alice.texts(), ["I shall be there.", "Here it is again."]);
}
