//! GnuPG asks for a pass phrase in the same terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Key, Person, World};
use crate::tmux::Terminal;

const PASS_PHRASE: &str = "correct horse";

/// A key with a pass phrase, in a home whose pinentry needs the terminal.
struct Protected {
    key: Key,
    _folder: tempfile::TempDir,
}

impl Protected {
    fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("p").tempdir().unwrap();
        let home = folder.path().to_owned();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let pinentry = "pinentry-program /usr/bin/pinentry-curses\nauto-expand-secmem 0x30000\n";
        std::fs::write(home.join("gpg-agent.conf"), pinentry).unwrap();
        let mut key = Key { home, fingerprint: String::new(), certificate: String::new() };
        let with = ["--passphrase", PASS_PHRASE];
        let id = "Pia <pia@example.org>";
        key.gpg(&[&with[..], &["--quick-generate-key", id, "ed25519", "cert,sign", "never"]].concat(), b"");
        let listing = String::from_utf8(key.gpg(&["--with-colons", "--list-keys"], b"")).unwrap();
        let fingerprint = listing.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':');
        fingerprint.clone_into(&mut key.fingerprint);
        key.gpg(&[&with[..], &["--quick-add-key", fingerprint, "cv25519", "encr", "never"]].concat(), b"");
        key.certificate = String::from_utf8(key.gpg(&["--armor", "--export"], b"")).unwrap();
        Self { key, _folder: folder }
    }

    /// Lets GnuPG know the pass phrase, for now.
    fn open(&self) {
        self.key.gpg(&["--passphrase", PASS_PHRASE, "--detach-sign"], b"open");
        let sealed = self.key.gpg(&["--encrypt", "--recipient", &self.key.fingerprint], b"open");
        self.key.gpg(&["--passphrase", PASS_PHRASE, "--decrypt"], &sealed);
    }

    /// Makes GnuPG forget it.
    fn close(&self) {
        let reload =
            Command::new("gpgconf").arg("--homedir").arg(&self.key.home).args(["--reload", "gpg-agent"]).status();
        assert!(reload.unwrap().success());
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.key.home).args(["--kill", "all"]).status();
    }
}

#[test]
fn gnupg_asks_in_the_terminal_and_gives_it_back() {
    let world = World::new();
    let protected = Protected::make();
    let mut pia = Person::new(&protected.key);
    protected.open();
    World::add(&world.alice, &mut pia);
    world.alice.send(&["pia"], "Welcome!");
    protected.close();

    let terminal = Terminal::chat(&pia, (80, 24), &[]);
    terminal.wait_for("GnuPG would ask");
    terminal.assert_screen("locked-key");
    terminal.keys(&["C-g"]);
    terminal.wait_for("Passphrase");
    terminal.text(PASS_PHRASE);
    terminal.keys(&["Enter"]);
    terminal.wait_for("● online");
    terminal.wait_for("Welcome!");
    terminal.wait_without("GnuPG would ask");

    // When it has forgotten it, sending asks again.
    terminal.keys(&["Enter"]);
    terminal.wait_for(" To Alice ");
    protected.close();
    terminal.wait_for("GnuPG would ask");
    terminal.text("Thank you!");
    terminal.keys(&["Enter"]);
    terminal.wait_for("Passphrase");
    // Whoever does not answer loses nothing.
    terminal.keys(&["Tab", "Tab", "Enter"]);
    terminal.wait_for("Not sent:");
    terminal.wait_for("Thank you!");
    terminal.keys(&["Enter"]);
    terminal.wait_for("Passphrase");
    terminal.text(PASS_PHRASE);
    terminal.keys(&["Enter"]);
    terminal.wait_for("✓ sent");
    terminal.keys(&["C-q"]);
    terminal.ended();
    assert_eq!(world.alice.texts(), ["Thank you!"]);
}
