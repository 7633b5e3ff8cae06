//! GnuPG with its keys on the virtual card: real gpg, gpg-agent, scdaemon and pcscd.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use countersign_virtual_card::{GnupgHome, OpenPgpCard, VirtualCard};

const TEXT: &str = "The meeting is at noon.";

/// A person with a GnuPG home, and a card in the reader.
struct Person {
    // Fields are dropped in this order: GnuPG's daemons before pcscd.
    home: GnupgHome,
    card: VirtualCard,
}

impl Person {
    fn with_card(serial: u32) -> Self {
        let card = VirtualCard::start(OpenPgpCard::new(serial)).unwrap();
        let home = GnupgHome::create(&card).unwrap();
        Self { home, card }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.folder().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// Runs GnuPG, and says whether it succeeded and what it said.
    fn gpg(&self, arguments: &[&str], file: &Path) -> Output {
        self.home.gpg().args(["--yes"]).args(arguments).arg(file).output().unwrap()
    }

    /// Signs a text, and returns what GnuPG said. The signature is in `text.sig` where it succeeded.
    fn sign(&self) -> Output {
        let text = self.write("text", TEXT);
        self.gpg(&["--detach-sign"], &text)
    }

    fn verify(&self) -> Output {
        let text = self.file("text");
        self.home.gpg().arg("--verify").arg(self.file("text.sig")).arg(text).output().unwrap()
    }

    /// Encrypts a text to a key, which needs no secret.
    fn encrypt(&self, key: &str) -> PathBuf {
        let text = self.write("secret", TEXT);
        let output = self.gpg(&["--encrypt", "--recipient", key], &text);
        assert!(output.status.success(), "{}", said(&output));
        self.file("secret.gpg")
    }

    fn decrypt(&self, file: &Path) -> Output {
        self.gpg(&["--decrypt"], file)
    }

    /// Signs and decrypts, and shows by the card's own counters that the card did it.
    fn sign_and_decrypt(&self, key: &str) {
        let (signatures, decryptions) = (self.card.signatures(), self.card.decryptions());

        let signed = self.sign();
        assert!(signed.status.success(), "{}", said(&signed));
        let verified = self.verify();
        assert!(verified.status.success(), "{}", said(&verified));
        assert!(said(&verified).contains("Good signature"), "{}", said(&verified));
        assert_eq!(self.card.signatures(), signatures + 1);

        let encrypted = self.encrypt(key);
        let decrypted = self.decrypt(&encrypted);
        assert_eq!(String::from_utf8_lossy(&decrypted.stdout), TEXT, "{}", said(&decrypted));
        assert_eq!(self.card.decryptions(), decryptions + 1);
    }

    /// The files in which gpg-agent keeps secret keys, or notes which card has one.
    fn key_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.file("private-keys-v1.d")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn card_status(&self) -> Output {
        self.home.gpg().arg("--card-status").output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_key_moved_to_the_card_signs_and_decrypts_from_there_alone() {
    let person = Person::with_card(1);
    let key = person.home.generate_key("Alice").unwrap();
    person.home.move_to_card(&key).unwrap();

    for file in person.key_files() {
        let content = fs::read(&file).unwrap();
        let content = String::from_utf8_lossy(&content);
        assert!(content.contains("shadowed-private-key"), "{} has a secret key", file.display());
    }
    let secret_keys = person.home.secret_keys().unwrap();
    assert!(secret_keys.contains(&person.card.application_identifier()), "{secret_keys}");
    person.sign_and_decrypt(&key);

    // As on another machine: nothing but the certificate is there, and GnuPG learns of the keys from the card.
    for file in person.key_files() {
        fs::remove_file(file).unwrap();
    }
    let status = person.card_status();
    assert!(status.status.success(), "{}", said(&status));
    person.sign_and_decrypt(&key);
}

#[test]
fn keys_made_on_the_card_work_as_well() {
    let person = Person::with_card(2);
    let key = person.home.generate_key_on_card("Bob").unwrap();

    // The card signed the certificate itself: the user id, and the subkey.
    assert!(person.card.signatures() >= 2);
    for file in person.key_files() {
        let content = fs::read(&file).unwrap();
        assert!(String::from_utf8_lossy(&content).contains("shadowed-private-key"), "{}", file.display());
    }

    person.sign_and_decrypt(&key);
}

#[test]
fn an_rsa_key_on_the_card_signs_and_decrypts() {
    let person = Person::with_card(3);
    let key = person.home.generate_rsa_key("Carol", 2048).unwrap();
    person.home.move_to_card(&key).unwrap();

    person.sign_and_decrypt(&key);
}

#[test]
fn the_card_refuses_a_wrong_pin_and_blocks_after_three() {
    let person = Person::with_card(4);
    let key = person.home.generate_key("Dave").unwrap();
    person.home.move_to_card(&key).unwrap();
    let encrypted = person.encrypt(&key);
    person.home.set_typed_pin("654321").unwrap();

    for _ in 0..2 {
        let signed = person.sign();
        assert!(!signed.status.success());
        assert!(said(&signed).contains("Bad PIN"), "{}", said(&signed));
    }
    let decrypted = person.decrypt(&encrypted);
    assert!(!decrypted.status.success());
    assert_eq!((person.card.signatures(), person.card.decryptions()), (0, 0));

    // The right one comes too late.
    person.home.set_typed_pin("123456").unwrap();
    let signed = person.sign();
    assert!(!signed.status.success());
    assert!(said(&signed).contains("PIN blocked"), "{}", said(&signed));
    assert_eq!(person.card.signatures(), 0);
}

#[test]
fn the_pin_is_asked_for_once_until_the_card_is_pulled() {
    let person = Person::with_card(5);
    let key = person.home.generate_key("Erin").unwrap();
    person.home.move_to_card(&key).unwrap();
    let pins = || person.home.questions().iter().filter(|asked| asked.contains("unlock the card")).count();
    let before = pins();

    assert!(person.sign().status.success());
    assert!(person.sign().status.success());
    assert_eq!(pins(), before + 1, "{:?}", person.home.questions());

    person.card.remove();
    // scdaemon hears of it by pcscd in its own time; asked for the card, it looks.
    assert!(!person.card_status().status.success());
    person.card.insert();
    let signed = person.sign();
    assert!(signed.status.success(), "{}", said(&signed));
    assert_eq!(pins(), before + 2, "{:?}", person.home.questions());
}

#[test]
fn without_the_card_gnupg_asks_for_it_and_refuses() {
    let person = Person::with_card(6);
    let key = person.home.generate_key("Frank").unwrap();
    person.home.move_to_card(&key).unwrap();
    let encrypted = person.encrypt(&key);
    person.card.remove();

    let status = person.card_status();
    assert!(!status.status.success());
    assert!(said(&status).contains("OpenPGP card not available: No such device"), "{}", said(&status));

    // Whoever wants to go on is asked for the card; the script that answers has none, and cancels.
    let signed = person.sign();
    assert!(!signed.status.success());
    assert!(said(&signed).contains("signing failed: Operation cancelled"), "{}", said(&signed));
    let decrypted = person.decrypt(&encrypted);
    assert!(!decrypted.status.success());
    assert!(said(&decrypted).contains("decryption failed: Operation cancelled"), "{}", said(&decrypted));
    assert_eq!(decrypted.stdout, b"");
    let questions = person.home.questions();
    let asked = questions.iter().filter(|question| {
        question.starts_with("CONFIRM Please insert the card with serial number")
            && question.contains("FFFF 00000006")
    });
    assert_eq!(asked.count(), 2, "{questions:?}");
    assert_eq!((person.card.signatures(), person.card.decryptions()), (0, 0));

    person.card.insert();
    person.sign_and_decrypt(&key);
}

#[test]
fn its_folders_are_private_and_nothing_is_left_of_them() {
    let person = Person::with_card(7);
    assert!(person.card_status().status.success());
    let (_, socket) = person.card.environment();
    let folders = [socket.parent().unwrap().to_owned(), person.home.folder().to_owned()];
    for folder in &folders {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{} is for others too", folder.display());
    }
    drop(person);

    for folder in folders {
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[test]
fn a_home_with_a_configuration_of_its_own_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("gpg-agent.conf"), "default-cache-ttl 60\n").unwrap();

    let error = GnupgHome::configure(home.path()).unwrap_err();

    assert!(error.to_string().contains("gpg-agent.conf"), "{error}");
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["gpg-agent.conf"]);
}
