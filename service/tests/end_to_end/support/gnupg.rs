//! Real GnuPG keys. All tests share one throw-away keyring, which is made at its first use.
//!
//! A small guardian process waits for the end of the test process, however it ends, and then stops the agent and
//! deletes the keyring.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tokio::sync::{OnceCell, Semaphore};

use super::time::now;

/// Commands at once: more would only queue in the agent.
const AT_ONCE: usize = 4;

/// A throw-away keyring.
pub(crate) struct Keyring {
    home: PathBuf,
    at_once: Semaphore,
    /// The guardian's standard input: when it closes, the guardian cleans up.
    _guardian: std::process::ChildStdin,
}

/// A certificate with its secret keys in the keyring.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The fingerprint, in upper-case hexadecimal.
    pub(crate) fingerprint: String,
    /// The armored certificate.
    pub(crate) certificate: String,
    /// Fingerprints of the subkeys.
    pub(crate) subkeys: Vec<String>,
}

/// The keys that tests use.
pub(crate) struct Keys {
    /// Ed25519. The super-administrators.
    pub(crate) supers: [Key; 3],
    /// Ed25519 with an X25519 subkey.
    pub(crate) alice: Key,
    /// RSA-3072, both primary key and subkey.
    pub(crate) bob: Key,
    /// A primary key that only certifies, two signing subkeys and two encryption subkeys.
    pub(crate) carol: Key,
    /// Ed25519, in no organization unless a test adds it.
    pub(crate) dave: Key,
    /// Ed25519, another one.
    pub(crate) erin: Key,
    /// Ed25519 that cannot be encrypted to.
    pub(crate) signing_only: Key,
    /// X25519 below a primary key that only certifies.
    pub(crate) encrypting_only: Key,
}

/// Returns the shared keyring.
pub(crate) fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(Keyring::new)
}

/// Returns the shared keys.
pub(crate) async fn keys() -> &'static Keys {
    static KEYS: OnceCell<Keys> = OnceCell::const_new();
    KEYS.get_or_init(|| async { tokio::task::spawn_blocking(Keys::make).await.unwrap() }).await
}

impl Keyring {
    #[expect(clippy::zombie_processes, reason = "the guardian outlives this process")]
    fn new() -> Self {
        // Short, since the agent's socket is in it and a socket's path has at most 107 characters.
        let home = tempfile::Builder::new().prefix("g").tempdir().unwrap().keep();
        std::fs::write(home.join("gpg-agent.conf"), "auto-expand-secmem 0x30000\n").unwrap();
        let script = r#"cat >/dev/null; gpgconf --homedir "$0" --kill all; rm -rf "$0""#;
        let mut guardian = Command::new("sh")
            .args(["-c", script])
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = guardian.stdin.take().unwrap();
        Self { home, at_once: Semaphore::new(AT_ONCE), _guardian: stdin }
    }

    /// Runs gpg.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg")
            .arg("--homedir")
            .arg(&self.home)
            .args(["--batch", "--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(["--trust-model", "always", "--no-auto-check-trustdb", "--no-emit-version"])
            .args(["--ignore-time-conflict", "--ignore-valid-from"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed");
        let mut stdin = gpg.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Gpg may end before it has read everything.
                let _ = stdin.write_all(input);
            });
            gpg.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    async fn run_async(&'static self, arguments: Vec<String>, input: Vec<u8>) -> Vec<u8> {
        let _permit = self.at_once.acquire().await.unwrap();
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.run(&arguments, &input)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    fn make(&self, name: &str, primary: (&str, &str), subkeys: &[(&str, &str)]) -> Key {
        // Older than any statement in a test.
        let long_ago = format!("{}!", compact(now().to_seconds() - 60 * 24 * 60 * 60));
        let past = ["--faked-system-time", &long_ago];
        let id = format!("{name} <{name}@example.org>");
        self.run(&[&past[..], &["--quick-generate-key", &id, primary.0, primary.1, "never"]].concat(), b"");
        let fingerprint = self.fingerprints(&format!("={id}")).swap_remove(0);
        for (algorithm, usage) in subkeys {
            self.run(&[&past[..], &["--quick-add-key", &fingerprint, algorithm, usage, "never"]].concat(), b"");
        }
        let subkeys = self.fingerprints(&fingerprint).split_off(1);
        let certificate = String::from_utf8(self.run(&["--armor", "--export", &fingerprint], b"")).unwrap();
        Key { fingerprint, certificate, subkeys }
    }

    fn fingerprints(&self, key: &str) -> Vec<String> {
        let listing = String::from_utf8(self.run(&["--with-colons", "--list-keys", key], b"")).unwrap();
        let fingerprints = listing.lines().filter_map(|line| line.strip_prefix("fpr:"));
        fingerprints.map(|fields| fields.trim_matches(':').to_owned()).collect()
    }
}

impl Keys {
    fn make() -> Self {
        let ring = keyring();
        let usual = [("cv25519", "encr")];
        let ed25519 = |name: &str| ring.make(name, ("ed25519", "cert,sign"), &usual);
        Self {
            supers: ["first", "second", "third"].map(ed25519),
            alice: ed25519("alice"),
            bob: ring.make("bob", ("rsa3072", "cert,sign"), &[("rsa3072", "encr")]),
            carol: ring.make(
                "carol",
                ("ed25519", "cert"),
                &[("ed25519", "sign"), ("ed25519", "sign"), ("cv25519", "encr"), ("cv25519", "encr")],
            ),
            dave: ed25519("dave"),
            erin: ed25519("erin"),
            signing_only: ring.make("signing", ("ed25519", "cert,sign"), &[]),
            encrypting_only: ring.make("encrypting", ("ed25519", "cert"), &usual),
        }
    }

    /// Returns the super-administrators' certificates, as their file has them.
    pub(crate) fn super_administrators(&self) -> String {
        self.supers.iter().map(|key| key.certificate.as_str()).collect()
    }
}

impl Key {
    /// Makes a detached binary signature.
    pub(crate) async fn sign(&self, document: &[u8]) -> Vec<u8> {
        sign(document, vec!["--local-user".into(), self.fingerprint.clone()]).await
    }

    /// Makes an armored detached signature.
    pub(crate) async fn sign_armored(&self, document: &str) -> String {
        self.sign_with(document, &["--armor"]).await
    }

    /// Makes an armored detached signature as if the clock showed `seconds`.
    pub(crate) async fn sign_at(&self, document: &str, seconds: u64) -> String {
        self.sign_with(document, &["--armor", "--faked-system-time", &format!("{}!", compact(seconds))]).await
    }

    /// Makes a signature with more options.
    pub(crate) async fn sign_with(&self, document: &str, options: &[&str]) -> String {
        let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        arguments.extend(["--local-user".to_owned(), self.fingerprint.clone()]);
        String::from_utf8(sign(document.as_bytes(), arguments).await).unwrap()
    }

    /// Makes a detached binary signature with one of the subkeys.
    pub(crate) async fn sign_with_subkey(&self, number: usize, document: &[u8]) -> Vec<u8> {
        sign(document, vec!["--local-user".into(), format!("{}!", self.subkeys[number])]).await
    }

    /// Returns the armored secret key.
    pub(crate) async fn secret(&self) -> String {
        let arguments = vec!["--armor".into(), "--export-secret-keys".into(), self.fingerprint.clone()];
        String::from_utf8(keyring().run_async(arguments, Vec::new()).await).unwrap()
    }
}

async fn sign(document: &[u8], mut arguments: Vec<String>) -> Vec<u8> {
    arguments.push("--detach-sign".to_owned());
    keyring().run_async(arguments, document.to_vec()).await
}

/// Decrypts with whichever secret key of the keyring fits.
pub(crate) async fn decrypt(message: &[u8]) -> Vec<u8> {
    keyring().run_async(vec!["--decrypt".into()], message.to_vec()).await
}

/// Encrypts to keys.
pub(crate) async fn encrypt(plaintext: &[u8], keys: &[&Key]) -> Vec<u8> {
    let mut arguments = vec!["--encrypt".to_owned()];
    for key in keys {
        arguments.extend(["--recipient".to_owned(), key.fingerprint.clone()]);
    }
    keyring().run_async(arguments, plaintext.to_vec()).await
}

/// Writes a time as GnuPG does: `20261123T045000`.
fn compact(seconds: u64) -> String {
    let time = countersign_protocol::time::UnixMicros(seconds * 1_000_000).to_string();
    time.chars().filter(|character| character.is_ascii_digit() || *character == 'T').collect()
}
