//! When GnuPG would ask for a PIN or a pass phrase in this very terminal.
//!
//! A pinentry with a window of its own needs nothing from us. One in the terminal would draw over the interface and fight
//! with it for the keys. So with such a one the interface works with GnuPG only while GnuPG need not ask, and gives the
//! terminal away for the one time in which it asks.
//!
//! Refuses to know: pass phrases, and how they are asked for.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use countersign_client::gnupg::{Gnupg, GnupgError};
use countersign_protocol::openpgp::{Certificate, seal};
use countersign_protocol::time::UnixMicros;
use tokio::process::Command;

/// The person's keys, and how GnuPG asks for what opens them.
#[derive(Debug)]
pub(super) struct Pinentry {
    in_terminal: bool,
    /// GnuPG's names for the secret keys that sign and decrypt.
    keygrips: BTreeSet<String>,
    /// Those that were open after GnuPG was last allowed to ask: if one of them closes, it must ask again.
    opened: Option<BTreeSet<String>>,
}

/// What gpg-agent says of one secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// It can be used without asking.
    Open,
    /// It is on the disk, and its pass phrase is not known.
    Closed,
    /// It is on a card. Whether the card wants its PIN is not known before it is used.
    Card,
}

impl Pinentry {
    /// Finds out how GnuPG asks.
    pub(super) async fn find(gpg: &Path, certificate: &Certificate, environment: impl Fn(&str) -> bool) -> Self {
        let in_terminal = is_in_terminal(&program().await, environment("DISPLAY") || environment("WAYLAND_DISPLAY"));
        let fingerprint = certificate.fingerprint().to_string();
        let arguments = ["--batch", "--with-colons", "--with-keygrip", "--list-secret-keys", &fingerprint];
        let listing = if in_terminal { run(gpg.as_os_str(), &arguments).await } else { String::new() };
        Self { in_terminal, keygrips: keygrips(&listing), opened: None }
    }

    /// Tells whether GnuPG would ask in this terminal before it signs or decrypts.
    pub(super) async fn would_ask(&self) -> bool {
        if !self.in_terminal || self.keygrips.is_empty() {
            return false;
        }
        let answer = run(OsStr::new("gpg-connect-agent"), &["KEYINFO --list", "/bye"]).await;
        self.judge(&answer)
    }

    fn judge(&self, answer: &str) -> bool {
        let watched = self.opened.as_ref().unwrap_or(&self.keygrips);
        watched.iter().any(|keygrip| match (protection(answer, keygrip), &self.opened) {
            (Protection::Open, _) | (Protection::Card, Some(_)) => false,
            (Protection::Closed, _) | (Protection::Card, None) => true,
        })
    }

    /// Lets GnuPG ask: signs something and decrypts something, both of no use to anybody. Whoever calls this has given the
    /// terminal away.
    pub(super) async fn ask(
        &mut self,
        gnupg: &Gnupg,
        certificate: &Arc<Certificate>,
        now: UnixMicros,
    ) -> Result<(), GnupgError> {
        let document = b"countersign chat: are the keys open?\n";
        let signature = gnupg.sign(certificate, document, now).await?;
        // An own certificate that nothing can be encrypted to has nothing to open either.
        if let Ok(sealed) = seal(document, &signature, &[Arc::clone(certificate)], now) {
            gnupg.message_key(&sealed).await?;
        }
        let answer = run(OsStr::new("gpg-connect-agent"), &["KEYINFO --list", "/bye"]).await;
        let is_open = |keygrip: &&String| protection(&answer, keygrip) != Protection::Closed;
        self.opened = Some(self.keygrips.iter().filter(is_open).cloned().collect());
        Ok(())
    }
}

/// Returns the path of the pinentry that gpg-agent starts.
async fn program() -> PathBuf {
    let home = run(OsStr::new("gpgconf"), &["--list-dirs", "homedir"]).await;
    let configuration = std::fs::read_to_string(Path::new(home.trim()).join("gpg-agent.conf")).unwrap_or_default();
    let configured = configuration.lines().find_map(|line| line.trim().strip_prefix("pinentry-program"));
    let path = if let Some(path) = configured {
        path.trim().trim_matches('"').to_owned()
    } else {
        let components = run(OsStr::new("gpgconf"), &["--list-components"]).await;
        let line = components.lines().find(|line| line.starts_with("pinentry:")).unwrap_or_default();
        line.split(':').nth(2).unwrap_or("pinentry").to_owned()
    };
    // Distributions choose one by a link.
    std::fs::canonicalize(&path).unwrap_or_else(|_| path.into())
}

fn is_in_terminal(program: &Path, has_display: bool) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    // Those with windows fall back to the terminal where there is no display.
    let needs_terminal = name.contains("curses") || name.contains("tty") || !has_display;
    needs_terminal && !name.contains("mac") && !name.contains("loopback")
}

/// Reads the keygrips of the keys that sign or decrypt out of gpg's listing.
fn keygrips(listing: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_used = false;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        match field(1) {
            // Small letters are what the key itself can do; `#` marks one whose secret part is not here.
            "sec" | "ssb" => {
                is_used = field(12).contains(['s', 'e']) && !matches!(field(2), "r" | "e") && field(15) != "#";
            }
            "grp" if is_used => drop(found.insert(field(10).to_owned())),
            _ => {}
        }
    }
    found
}

/// Reads what gpg-agent says of a key: `S KEYINFO keygrip type serial id cached protection …`.
fn protection(answer: &str, keygrip: &str) -> Protection {
    let line = answer.lines().find_map(|line| line.strip_prefix("S KEYINFO ")?.strip_prefix(keygrip));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    match fields.as_slice() {
        ["T", ..] => Protection::Card,
        ["D", _, _, cached, protection, ..] if *cached != "1" && *protection != "C" => Protection::Closed,
        _ => Protection::Open,
    }
}

/// Runs a program of GnuPG and returns what it printed; nothing if it cannot be run.
async fn run(program: &OsStr, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.output().await.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
sec:u:255:22:226AA2BF78E78538:1795578589:::u:::scESC:::+::ed25519:::0:
fpr:::::::::F5D5EED1B0D70362ED420C0A226AA2BF78E78538:
grp:::::::::F5CE:
uid:u::::1795578589::3B191B7851D3E8982A00A779BCE38ED2879E6B37::Pia <pia@example.org>::::::::::0:
ssb:u:255:18:0F59D1642FD1B5E6:1795578592::::::e:::+::cv25519::
grp:::::::::A949:
ssb:e:255:18:0F59D1642FD1B5E7:1795578592::::::e:::+::cv25519::
grp:::::::::0LD:
ssb:u:255:22:0F59D1642FD1B5E8:1795578592::::::a:::+::ed25519::
grp:::::::::AUTH:
";

    fn pinentry(opened: Option<&[&str]>) -> Pinentry {
        let opened = opened.map(|grips| grips.iter().map(|&grip| grip.to_owned()).collect());
        Pinentry { in_terminal: true, keygrips: keygrips(LISTING), opened }
    }

    #[test]
    fn keys_that_sign_and_decrypt_are_watched() {
        assert_eq!(keygrips(LISTING).into_iter().collect::<Vec<_>>(), ["A949", "F5CE"]);
    }

    #[test]
    fn gnupg_asks_for_what_is_protected_and_not_cached() {
        let state = |signing: &str, decrypting: &str| {
            format!("S KEYINFO A949 {decrypting}\nS KEYINFO F5CE {signing}\nS KEYINFO AUTH D - - - P - - -\nOK\n")
        };
        let (closed, cached, plain, card) =
            ("D - - - P - - -", "D - - 1 P - - -", "D - - - C - - -", "T D276 OPENPGP.1 - - - - -");
        assert!(pinentry(None).judge(&state(closed, closed)));
        assert!(pinentry(None).judge(&state(cached, closed)));
        assert!(!pinentry(None).judge(&state(cached, cached)));
        assert!(!pinentry(None).judge(&state(plain, plain)));
        // A card says only by being used whether it wants its PIN.
        assert!(pinentry(None).judge(&state(card, card)));
        assert!(!pinentry(Some(&["A949", "F5CE"])).judge(&state(card, card)));
        // What was open and closed again must be asked for again.
        assert!(pinentry(Some(&["A949", "F5CE"])).judge(&state(closed, cached)));
        assert!(!pinentry(Some(&["F5CE"])).judge(&state(cached, closed)));
    }

    #[test]
    fn only_a_pinentry_without_a_window_needs_the_terminal() {
        for (program, display, expected) in [
            ("/usr/bin/pinentry-curses", true, true),
            ("/usr/bin/pinentry-tty", true, true),
            ("/usr/bin/pinentry-gnome3", true, false),
            ("/usr/bin/pinentry-qt", false, true),
            ("/usr/bin/pinentry-mac", false, false),
            ("pinentry", false, true),
        ] {
            assert_eq!(is_in_terminal(Path::new(program), display), expected, "{program} {display}");
        }
    }
}
