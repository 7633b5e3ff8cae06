//! GnuPG: the only one who knows secret keys.
//!
//! Owns: running `gpg` to sign, to take the key out of an encrypted message, and to export certificates. Whatever GnuPG
//! can do (smart cards, pass phrases, a touch on a YubiKey) works, since GnuPG does it.
//!
//! Refuses to know: secret keys, and GnuPG's opinion on signatures. Who signed is judged by the certificates that the
//! organization's log pins, never by a keyring.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use countersign_protocol::openpgp::{Certificate, CertificateFault, Fingerprint, MessageKey};
use countersign_protocol::time::UnixMicros;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// How to reach GnuPG.
#[derive(Clone, Debug)]
pub struct Gnupg {
    program: OsString,
    home: Option<PathBuf>,
    /// One `gpg` at a time: a card can do no more, and a person answers one question after the other.
    one_at_a_time: Arc<Mutex<()>>,
}

/// A key pair of which GnuPG has the secret part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// The primary key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The first user id, such as `Alice <alice@example.org>`.
    pub user_id: String,
    /// The primary key and the subkeys of which the secret part is here or on a card.
    pub available: Vec<Fingerprint>,
    /// The serial number of the smart card that has it, if one does.
    pub card: Option<String>,
}

/// What GnuPG could not do.
#[derive(Debug, thiserror::Error)]
pub enum GnupgError {
    /// There is no such program.
    #[error("cannot run {program}; install GnuPG, or name it in COUNTERSIGN_GPG")]
    Missing {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No secret key for this.
    #[error("GnuPG has no secret key for {0}; is the card plugged in, and GNUPGHOME the right one?")]
    NoSecretKey(String),
    /// The person said no, or did not answer.
    #[error("GnuPG was not allowed to use the key: the PIN or pass phrase was not given")]
    Cancelled,
    /// It is not encrypted to any key here, or not readable.
    #[error("GnuPG cannot decrypt it: {0}")]
    Undecryptable(String),
    /// Something else.
    #[error("GnuPG could not {action}: {message}")]
    Failed {
        /// What was asked.
        action: &'static str,
        /// What it said.
        message: String,
    },
    /// GnuPG has a certificate that cannot be used.
    #[error("GnuPG's certificate of {key} cannot be used")]
    Certificate {
        /// Whose.
        key: String,
        /// Why.
        #[source]
        source: CertificateFault,
    },
}

struct Output {
    success: bool,
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<String>,
}

impl Output {
    /// Returns the arguments of the status lines of a kind.
    fn status(&self, keyword: &str) -> impl Iterator<Item = &str> {
        self.stderr.lines().filter_map(move |line| {
            let rest = line.strip_prefix("[GNUPG:] ")?.strip_prefix(keyword)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
        })
    }

    /// Returns what GnuPG said to people, on one line.
    fn message(&self) -> String {
        let said = self.stderr.lines().filter_map(|line| line.strip_prefix("gpg: "));
        let ours = ["session key:", "WARNING: running with faked system time"];
        let said: Vec<&str> = said.filter(|line| !ours.iter().any(|start| line.starts_with(start))).collect();
        if said.is_empty() { "it did not say why".to_owned() } else { said.join("; ") }
    }

    fn cancelled(&self) -> bool {
        // 99 is "Operation cancelled", 177 is "No pinentry", 62 "Timeout"; the low 16 bits of a status code.
        let code =
            |text: &str| text.split(' ').nth(1).and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xffff);
        ["FAILURE", "ERROR"]
            .iter()
            .any(|keyword| self.status(keyword).filter_map(code).any(|code| matches!(code, 99 | 177 | 62 | 85)))
            || self.stderr.contains("Operation cancelled")
    }
}

impl Gnupg {
    /// Takes the `gpg` of the system, with the `GNUPGHOME` of the environment.
    #[must_use]
    pub fn system() -> Self {
        Self::new("gpg", None)
    }

    /// Takes a program, and a home in place of `GNUPGHOME`.
    #[must_use]
    pub fn new(program: impl Into<OsString>, home: Option<PathBuf>) -> Self {
        Self { program: program.into(), home, one_at_a_time: Arc::default() }
    }

    /// Returns the version line, such as `gpg (GnuPG) 2.2.40`.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn version(&self) -> Result<String, GnupgError> {
        let output = self.run(&["--version"], b"").await?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Lists the keys of which GnuPG has the secret part.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn secret_keys(&self) -> Result<Vec<SecretKey>, GnupgError> {
        let output = self.run(&["--with-colons", "--list-secret-keys"], b"").await?;
        Ok(read_secret_keys(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Finds the one secret key that a text means: a fingerprint, a key id, or part of a user id.
    ///
    /// # Errors
    /// [`GnupgError`]; a text that means several is a failure.
    pub async fn find_secret_key(&self, text: &str) -> Result<SecretKey, GnupgError> {
        let plain = text.strip_prefix("0x").unwrap_or(text).replace(' ', "").to_ascii_uppercase();
        let lower = text.to_lowercase();
        let means = |key: &SecretKey| {
            let is_hex = plain.len() >= 8 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
            (is_hex && key.fingerprint.to_string().ends_with(&plain)) || key.user_id.to_lowercase().contains(&lower)
        };
        let mut found: Vec<SecretKey> = self.secret_keys().await?.into_iter().filter(means).collect();
        match (found.pop(), found.is_empty()) {
            (Some(key), true) => Ok(key),
            (None, _) => Err(GnupgError::NoSecretKey(text.to_owned())),
            (Some(_), false) => Err(GnupgError::Failed {
                action: "choose a key",
                message: format!("{text:?} means several; name one by its fingerprint"),
            }),
        }
    }

    /// Exports the certificate of a key, without any secret.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn certificate(&self, fingerprint: &Fingerprint) -> Result<Certificate, GnupgError> {
        let key = fingerprint.to_string();
        let output = self.run(&["--armor", "--export-options", "export-minimal", "--export", &key], b"").await?;
        let armored = String::from_utf8_lossy(&output.stdout);
        Certificate::parse(&armored).map_err(|source| GnupgError::Certificate { key, source })
    }

    /// Signs with a key of this certificate that may sign at `time` and whose secret part is here: a detached binary
    /// signature, as raw packets. It says that it was made at `time`, whatever this machine's clock says: others refuse a
    /// signature from the future.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn sign(
        &self,
        certificate: &Certificate,
        document: &[u8],
        time: UnixMicros,
    ) -> Result<Vec<u8>, GnupgError> {
        self.sign_with(certificate, document, time, &[]).await.map(|signature| signature.to_vec())
    }

    /// The same, in ASCII armor.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn sign_armored(
        &self,
        certificate: &Certificate,
        document: &[u8],
        time: UnixMicros,
    ) -> Result<String, GnupgError> {
        let signature = self.sign_with(certificate, document, time, &["--armor"]).await?;
        Ok(String::from_utf8_lossy(&signature).into_owned())
    }

    async fn sign_with(
        &self,
        certificate: &Certificate,
        document: &[u8],
        time: UnixMicros,
        options: &[&str],
    ) -> Result<Zeroizing<Vec<u8>>, GnupgError> {
        let owner = certificate.fingerprint().to_string();
        let candidates = certificate.signing_keys(time);
        let keys = self.secret_keys().await?;
        let here = |key: &&Fingerprint| keys.iter().any(|secret| secret.available.contains(key));
        // Exactly this one: GnuPG might choose a newer subkey that the organization's log does not know.
        let key = candidates.iter().find(here).ok_or_else(|| GnupgError::NoSecretKey(owner.clone()))?;
        let key = format!("{key}!");
        let faked = format!("{}!", time.to_seconds());
        let arguments =
            [options, &["--faked-system-time", &faked, "--no-textmode", "--local-user", &key, "--detach-sign"]]
                .concat();
        let output = self.run(&arguments, document).await?;
        if output.success && !output.stdout.is_empty() {
            return Ok(output.stdout);
        }
        Err(if output.cancelled() {
            GnupgError::Cancelled
        } else {
            GnupgError::Failed { action: "sign", message: output.message() }
        })
    }

    /// Takes the key out of an encrypted message, with whichever secret key of this user fits. Only that message can be
    /// read with it.
    ///
    /// # Errors
    /// [`GnupgError`].
    pub async fn message_key(&self, message: &[u8]) -> Result<MessageKey, GnupgError> {
        let arguments =
            ["--show-session-key", "--skip-verify", "--no-auto-key-retrieve", "--output", "/dev/null", "--decrypt"];
        let output = self.run(&arguments, message).await?;
        if let Some(key) = output.status("SESSION_KEY").next() {
            return key.parse().map_err(|_| GnupgError::Failed {
                action: "decrypt",
                message: "it showed a session key of an unknown form".to_owned(),
            });
        }
        if output.cancelled() {
            return Err(GnupgError::Cancelled);
        }
        if output.status("NO_SECKEY").next().is_some() {
            return Err(GnupgError::NoSecretKey("this message".to_owned()));
        }
        Err(GnupgError::Undecryptable(output.message()))
    }

    async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output, GnupgError> {
        let _one = self.one_at_a_time.lock().await;
        let mut command = Command::new(&self.program);
        if let Some(home) = &self.home {
            command.arg("--homedir").arg(home);
        }
        command
            .args(["--batch", "--yes", "--quiet", "--status-fd", "2", "--no-auto-check-trustdb", "--no-emit-version"])
            // Where this machine's clock is behind, keys seem to be from the future; else they would lose their bindings.
            .arg("--ignore-time-conflict")
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A pinentry in the terminal must know which one; GnuPG itself sees only our pipes.
        if std::env::var_os("GPG_TTY").is_none()
            && let Some(terminal) = terminal()
        {
            command.env("GPG_TTY", terminal);
        }
        let missing = |source| GnupgError::Missing { program: self.program.to_string_lossy().into_owned(), source };
        let mut child = command.spawn().map_err(missing)?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // GnuPG may end before it has read everything; its status says why.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output.map_err(missing)?;
        Ok(Output {
            success: output.status.success(),
            stdout: Zeroizing::new(output.stdout),
            stderr: Zeroizing::new(String::from_utf8_lossy(&output.stderr).into_owned()),
        })
    }
}

/// Returns the name of the terminal that this process has, if it has one.
fn terminal() -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let name = |result: rustix::io::Result<std::ffi::CString>| result.ok().map(std::ffi::CString::into_bytes);
    let stdin = name(rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new()));
    let stderr = || name(rustix::termios::ttyname(rustix::stdio::stderr(), Vec::new()));
    stdin.or_else(stderr).map(OsString::from_vec)
}

/// Reads `--list-secret-keys --with-colons`.
fn read_secret_keys(listing: &str) -> Vec<SecretKey> {
    let mut keys: Vec<SecretKey> = Vec::new();
    // Whether the key of the last `sec` or `ssb` line is here or on a card: field 15 is `#` if it is not.
    let mut here = false;
    let mut is_primary = false;
    let mut card = None;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        match field(1) {
            kind @ ("sec" | "ssb") => {
                is_primary = kind == "sec";
                here = field(15) != "#" && !matches!(field(2), "r" | "e");
                card = Some(field(15)).filter(|token| token.len() > 16).map(str::to_owned);
            }
            "fpr" => {
                let Ok(fingerprint) = field(10).parse::<Fingerprint>() else {
                    continue;
                };
                if is_primary {
                    let (user_id, available) = (String::new(), Vec::new());
                    keys.push(SecretKey { fingerprint: fingerprint.clone(), user_id, available, card: None });
                    is_primary = false;
                }
                if let Some(key) = keys.last_mut() {
                    key.card = key.card.take().or_else(|| card.take());
                    if here {
                        key.available.push(fingerprint);
                    }
                }
            }
            "uid" => {
                if let Some(key) = keys.last_mut().filter(|key| key.user_id.is_empty()) {
                    key.user_id = unescape(field(10));
                }
            }
            _ => {}
        }
    }
    keys
}

/// Undoes the `\x3a` of the colon format.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(br"\x").and_then(|tail| tail.split_first_chunk::<2>());
        let decoded = escaped.and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        let (byte, tail) = decoded.unwrap_or((first, after));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
sec:u:255:22:0F54DB72BD46B09C:1795574314:1858646314::u:::scESC:::#::ed25519:::0:
fpr:::::::::186457F069D8ED69800F9AF90F54DB72BD46B09C:
grp:::::::::E75977771109BDED05ACFBD288C9C742A282DB27:
uid:u::::1795574314::B9D68DFF1D657C4443518F75A4152485E7BCAD86::Ali\\x3ace <a@example.org>::::::::::0:
ssb:u:255:18:B20EFC9B5B79DE4D:1795574314::::::e:::D2760001240103040006123456780000::cv25519::
fpr:::::::::E5D1D6EAB69E518C2B1CE9F0B20EFC9B5B79DE4D:
";

    #[test]
    fn a_listing_says_what_is_here_and_what_is_on_a_card() {
        let keys = read_secret_keys(LISTING);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].user_id, "Ali:ce <a@example.org>");
        assert_eq!(keys[0].fingerprint.to_string(), "186457F069D8ED69800F9AF90F54DB72BD46B09C");
        let available: Vec<String> = keys[0].available.iter().map(ToString::to_string).collect();
        assert_eq!(available, ["E5D1D6EAB69E518C2B1CE9F0B20EFC9B5B79DE4D"]);
        assert_eq!(keys[0].card.as_deref(), Some("D2760001240103040006123456780000"));
    }
}
