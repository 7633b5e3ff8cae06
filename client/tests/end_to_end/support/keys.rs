//! Real GnuPG homes, one for each person, made once and thrown away with this process, however it ends.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A person's GnuPG home, with one key pair in it.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) home: PathBuf,
    pub(crate) fingerprint: String,
    pub(crate) certificate: String,
}

/// Everyone's keys.
pub(crate) struct Keys {
    /// Both super-administrators, in one home each.
    pub(crate) supers: [Key; 2],
    pub(crate) alice: Key,
    /// RSA-3072; the others are Ed25519.
    pub(crate) bob: Key,
    pub(crate) carol: Key,
    /// Whose key the lying server has.
    pub(crate) mallory: Key,
    /// When it closes, a guardian stops the agents and deletes the homes.
    _guardian: std::process::ChildStdin,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(Keys::make)
}

impl Keys {
    /// Returns both super-administrators' certificates, as one text.
    pub(crate) fn super_certificates(&self) -> String {
        self.supers.iter().map(|key| key.certificate.as_str()).collect()
    }

    #[expect(clippy::zombie_processes, reason = "the guardian outlives this process")]
    fn make() -> Self {
        // Short, since agents' sockets are in it and a socket's path has at most 107 characters.
        let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap().keep();
        let script =
            r#"cat >/dev/null; for home in "$0"/*; do gpgconf --homedir "$home" --kill all; done; rm -rf "$0""#;
        let mut guardian = Command::new("sh")
            .args(["-c", script])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = guardian.stdin.take().unwrap();
        let made: Vec<Key> = std::thread::scope(|scope| {
            let folder = &folder;
            let make = |name: &'static str, algorithm: &'static str, encryption: &'static str| {
                scope.spawn(move || Key::make(folder, name, algorithm, encryption))
            };
            let names = ["Super One", "Super Two", "Alice", "Carol", "Mallory"];
            let mut running: Vec<_> = names.iter().map(|name| make(name, "ed25519", "cv25519")).collect();
            running.push(make("Bob", "rsa3072", "rsa3072"));
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let [one, two, alice, carol, mallory, bob] = made.try_into().unwrap();
        Self { supers: [one, two], alice, bob, carol, mallory, _guardian: stdin }
    }
}

impl Key {
    fn make(folder: &Path, name: &str, algorithm: &str, encryption: &str) -> Self {
        let short = name.to_lowercase().replace(' ', "");
        let home = folder.join(&short);
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(home.join("gpg-agent.conf"), "auto-expand-secmem 0x30000\n").unwrap();
        let id = format!("{name} <{short}@example.org>");
        run(&home, &["--passphrase", "", "--quick-generate-key", &id, algorithm, "cert,sign", "never"], b"");
        let listing = String::from_utf8(run(&home, &["--with-colons", "--list-keys"], b"")).unwrap();
        let fingerprint = listing.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':');
        run(&home, &["--passphrase", "", "--quick-add-key", fingerprint, encryption, "encr", "never"], b"");
        let certificate = String::from_utf8(run(&home, &["--armor", "--export"], b"")).unwrap();
        Self { fingerprint: fingerprint.to_owned(), home, certificate }
    }

    /// Runs gpg as this person.
    pub(crate) fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        run(&self.home, arguments, input)
    }
}

fn run(home: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut gpg = Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback"])
        .args(["--trust-model", "always", "--no-auto-check-trustdb"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gpg is installed");
    let mut stdin = gpg.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        gpg.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
