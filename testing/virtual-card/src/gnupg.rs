//! A GnuPG home whose keys may be on the virtual card.
//!
//! Owns: the folder, its configuration, the script that types PINs, and the daemons that GnuPG starts for it.
//! Refuses to know: what GnuPG is used for.
//!
//! PINs are asked for as a person is asked: by gpg-agent through a pinentry program. It types what the files `pin`
//! and
//! `admin-pin` say, and writes down what it was asked.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::error::Error;
use crate::pcscd::{READER, VirtualCard, private_folder};

const PINENTRY: &str = include_str!("pinentry.sh");

/// What `gpg --edit-key` is answered, to move the primary key and the first subkey to the card: the primary to slot
/// 1, to sign; the subkey to slot 2, to decrypt. `save` leaves no secret key on the disk.
const MOVE_KEYS: &str = "keytocard\ny\n1\nkey 1\nkeytocard\n2\nsave\n";

/// What `gpg --card-edit` is answered, to make keys on the card: no copy on the disk, no expiry.
const GENERATE_ON_CARD: &str = "admin\nkey-attr\n2\n1\n2\n1\n2\n1\ngenerate\nn\n0\n";

/// A GnuPG home that uses a virtual card. Its daemons end and its folder is removed when this is dropped.
#[derive(Debug)]
pub struct GnupgHome {
    folder: TempDir,
    socket: (&'static str, PathBuf),
}

impl GnupgHome {
    /// Makes an empty home in a folder of its own. The PINs that it types are those of a new card.
    ///
    /// # Errors
    /// Where scdaemon is missing, or the folder cannot be written.
    pub fn create(card: &VirtualCard) -> Result<Self, Error> {
        let folder = private_folder("countersign-gnupg.")?;
        Self::configure(folder.path())?;
        let (variable, socket) = card.environment();
        Ok(Self { folder, socket: (variable, socket.to_owned()) })
    }

    /// Makes any GnuPG home use the virtual card and the script that types PINs. Daemons that already run for it have
    /// to be ended, and started again where [`VirtualCard::environment`] is set.
    ///
    /// # Errors
    /// Where scdaemon is missing, the folder cannot be written, or it has a configuration already: it may be
    /// somebody's own.
    pub fn configure(folder: &Path) -> Result<(), Error> {
        if !scdaemon()?.is_file() {
            return Err(Error::Missing { program: "scdaemon", package: "scdaemon" });
        }
        let pinentry = folder.join("pinentry");
        let quoted = format!("'{}'", folder.display().to_string().replace('\'', r"'\''"));
        let files = [
            // Not the reader inside scdaemon, which would look for real cards at USB.
            ("scdaemon.conf", format!("disable-ccid\nreader-port {READER}\n")),
            ("gpg-agent.conf", format!("pinentry-program {}\n", pinentry.display())),
            ("pin", "123456\n".to_owned()),
            ("admin-pin", "12345678\n".to_owned()),
            ("pinentry", PINENTRY.replace("@FOLDER@", &quoted)),
        ];
        for (name, content) in &files {
            let file = folder.join(name);
            let is_configuration = file.extension().is_some_and(|extension| extension == "conf");
            if is_configuration && fs::read_to_string(&file).is_ok_and(|present| present != *content) {
                return Err(Error::file(file)(io::ErrorKind::AlreadyExists.into()));
            }
        }
        for (name, content) in files {
            let file = folder.join(name);
            fs::write(&file, content).map_err(Error::file(file))?;
        }
        fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o700)).map_err(Error::file(&pinentry))
    }

    /// The folder: `GNUPGHOME`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The variables that a program needs for this home and its card.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("GNUPGHOME", self.folder()), (self.socket.0, &self.socket.1)]
    }

    /// GnuPG for this home, asking nothing but PINs, with messages in English.
    #[must_use]
    pub fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.envs(self.environment()).env("LC_ALL", "C.UTF-8");
        command.args(["--batch", "--no-tty", "--trust-model", "always"]).stdin(Stdio::null());
        command
    }

    /// Sets the PIN that is typed from now on.
    ///
    /// # Errors
    /// Where its file cannot be written.
    pub fn set_typed_pin(&self, pin: &str) -> Result<(), Error> {
        let file = self.folder().join("pin");
        fs::write(&file, format!("{pin}\n")).map_err(Error::file(file))
    }

    /// What a person would have been asked so far: a line for each question, with the kind of it in front (`PIN`, or
    /// `CONFIRM` for anything else).
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.folder().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// Makes a key on the disk, without a passphrase: Ed25519 to sign, and Curve25519 to decrypt. Returns its
    /// fingerprint.
    ///
    /// # Errors
    /// What GnuPG says.
    pub fn generate_key(&self, name: &str) -> Result<String, Error> {
        self.generate_key_of(name, "Key-Type: eddsa\nKey-Curve: ed25519", "Subkey-Type: ecdh\nSubkey-Curve: cv25519")
    }

    /// Makes an RSA key on the disk, without a passphrase. Returns its fingerprint.
    ///
    /// # Errors
    /// What GnuPG says.
    pub fn generate_rsa_key(&self, name: &str, bits: u16) -> Result<String, Error> {
        let primary = format!("Key-Type: rsa\nKey-Length: {bits}");
        self.generate_key_of(name, &primary, &format!("Subkey-Type: rsa\nSubkey-Length: {bits}"))
    }

    fn generate_key_of(&self, name: &str, primary: &str, subkey: &str) -> Result<String, Error> {
        let parameters = format!(
            "%no-protection\n{primary}\nKey-Usage: sign\n{subkey}\nSubkey-Usage: encrypt\nName-Real: {name}\n%commit\n"
        );
        let mut command = self.gpg();
        command.args(["--status-fd", "1", "--generate-key"]);
        let output = run(&mut command, parameters.as_bytes())?;
        created_key(&output)
    }

    /// Makes keys on the card itself, where they stay, and returns the fingerprint of the certificate.
    ///
    /// # Errors
    /// What GnuPG says.
    pub fn generate_key_on_card(&self, name: &str) -> Result<String, Error> {
        let mut command = self.dialogue();
        command.arg("--card-edit");
        let output = run(&mut command, format!("{GENERATE_ON_CARD}{name}\n\n\nquit\n").as_bytes())?;
        created_key(&output)
    }

    /// Moves a key that was made here to the card, so that no secret key is left on the disk.
    ///
    /// # Errors
    /// What GnuPG says.
    pub fn move_to_card(&self, fingerprint: &str) -> Result<(), Error> {
        let mut command = self.dialogue();
        command.args(["--edit-key", fingerprint]);
        let output = run(&mut command, MOVE_KEYS.as_bytes())?;
        // GnuPG goes on, and succeeds, after a command of the dialogue that failed.
        let said = String::from_utf8_lossy(&output.stdout);
        let stubs = self.secret_keys()?.lines().filter(|line| is_on_card(line)).count();
        if stubs < 2 {
            return Err(Error::Gnupg {
                command: "keytocard".to_owned(),
                said: format!("{said}{}", said_by(&output)),
            });
        }
        Ok(())
    }

    /// GnuPG's own list of secret keys, one a line, with colons. In the 15th field stands the card that has it.
    ///
    /// # Errors
    /// What GnuPG says.
    pub fn secret_keys(&self) -> Result<String, Error> {
        let mut command = self.gpg();
        command.args(["--with-colons", "--list-secret-keys"]);
        Ok(String::from_utf8_lossy(&run(&mut command, b"")?.stdout).into_owned())
    }

    /// GnuPG as it talks with a person, where the person's answers come from standard input.
    fn dialogue(&self) -> Command {
        let mut command = Command::new("gpg");
        command.envs(self.environment()).env("LC_ALL", "C.UTF-8");
        command.args(["--no-tty", "--expert", "--status-fd", "1", "--command-fd", "0"]);
        command
    }
}

impl Drop for GnupgHome {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command.envs(self.environment()).args(["--kill", "all"]);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Where this GnuPG has its scdaemon.
fn scdaemon() -> Result<PathBuf, Error> {
    let mut command = Command::new("gpgconf");
    command.args(["--list-dirs", "libexecdir"]);
    let output = run(&mut command, b"")?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("scdaemon"))
}

fn is_on_card(line: &str) -> bool {
    let fields: Vec<&str> = line.split(':').collect();
    matches!(fields.first(), Some(&("sec" | "ssb"))) && fields.get(14).is_some_and(|card| card.len() == 32)
}

fn created_key(output: &Output) -> Result<String, Error> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED ")?.split(' ').nth(1).map(str::to_owned))
        .ok_or_else(|| Error::Gnupg { command: "making a key".to_owned(), said: said_by(output) })
}

fn said_by(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a program to its end with that input, and refuses its failure.
fn run(command: &mut Command, input: &[u8]) -> Result<Output, Error> {
    let cannot_run = |source| Error::Run { program: "gnupg", source };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot_run)?;
    // The input is short, so it fits into the pipe at once. Where the program ends without reading it, it says why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(cannot_run)?;
    if output.status.success() {
        return Ok(output);
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let program = command.get_program().to_string_lossy();
    Err(Error::Gnupg { command: format!("{program} {}", words.join(" ")), said: said_by(&output) })
}
