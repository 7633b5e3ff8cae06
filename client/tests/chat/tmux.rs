//! A terminal of its own for each interface: tmux on a socket of its own, which ends with the test.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::Person;

/// How long a screen may take. It is not a figure of how long it should take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a screen of which a part is there already may take.
const SETTLING: Duration = Duration::from_secs(10);

const CONFIGURATION: &str = "\
set -g status off
set -g escape-time 0
set -g default-terminal tmux-256color
";

/// A terminal in which a person runs the interface.
pub(crate) struct Terminal {
    folder: TempDir,
    /// Says that something was written to the terminal.
    written: Receiver<()>,
}

impl Terminal {
    /// Opens `countersign chat` in a terminal of this size.
    pub(crate) fn chat(person: &Person, (width, height): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("t").tempdir().unwrap();
        let configuration = folder.path().join("tmux.conf");
        std::fs::write(&configuration, CONFIGURATION).unwrap();
        let pipe = folder.path().join("written");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let chat = person.command(&["chat"]);
        let mut tmux = Self::tmux(folder.path());
        // The server hands its own environment on to what runs in it.
        for (name, value) in chat.get_envs() {
            tmux.env(name, value.unwrap());
        }
        tmux.envs([("LANG", "C.UTF-8"), ("TZ", "UTC"), ("SHELL", "/bin/sh")]).envs(variables.iter().copied());
        tmux.arg("-f").arg(&configuration);
        tmux.args(["new-session", "-d", "-x", &width.to_string(), "-y", &height.to_string(), "-c"]);
        tmux.arg(person.folder());
        // Not before everything that it writes is heard; its end is told and stays on the screen.
        tmux.args(["sh", "-c", "read -r _; \"$@\"; echo \"ended with $?\"; read -r _", "chat"])
            .arg(chat.get_program())
            .args(chat.get_args());
        let started = tmux.output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let (tell, written) = channel();
        let terminal = Self { folder, written };
        terminal.run(&["pipe-pane", &format!("exec cat > '{}'", pipe.display())]);
        std::thread::spawn(move || {
            let mut pipe = File::open(pipe).unwrap();
            let mut buffer = vec![0; 64 * 1024];
            while pipe.read(&mut buffer).is_ok_and(|read| read > 0) && tell.send(()).is_ok() {}
        });
        terminal.keys(&["Enter"]);
        terminal
    }

    fn tmux(folder: &Path) -> Command {
        let mut command = Command::new("tmux");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .arg("-u")
            .arg("-S")
            .arg(folder.join("socket"));
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Self::tmux(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    pub(crate) fn text(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
    }

    /// Pastes a text, as a terminal does that brackets it.
    pub(crate) fn paste(&self, text: &str) {
        self.run(&["set-buffer", text]);
        self.run(&["paste-buffer", "-p"]);
    }

    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Returns what stands on the screen.
    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits for a screen of which something is true, and returns it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_true: impl Fn(&str) -> bool) -> String {
        self.wait_at_most(PATIENCE, is_true)
            .unwrap_or_else(|screen| panic!("{what} did not come to the screen:\n{screen}"))
    }

    /// Waits for a screen of which something is true. Returns the last one as an error if it does not come.
    fn wait_at_most(&self, patience: Duration, is_true: impl Fn(&str) -> bool) -> Result<String, String> {
        let end = now() + patience;
        loop {
            let screen = self.screen();
            if is_true(&screen) {
                return Ok(screen);
            }
            if self.written.recv_timeout(end.saturating_duration_since(now())).is_err() {
                return Err(screen);
            }
            while self.written.try_recv().is_ok() {}
        }
    }

    /// Waits for a text on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until a text is not on the screen any more.
    #[track_caller]
    pub(crate) fn wait_without(&self, text: &str) -> String {
        self.wait(&format!("a screen without {text:?}"), |screen| !screen.contains(text))
    }

    /// Waits until the interface has ended well, and has left the terminal as it was.
    #[track_caller]
    pub(crate) fn ended(&self) {
        let screen = self.wait_for("ended with");
        assert!(screen.contains("ended with 0"), "{screen}");
        assert!(!screen.contains("Conversations"), "{screen}");
        let modes = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(modes, "0 1\n", "neither the other screen nor a hidden cursor stays behind");
    }

    /// Waits for the screen that is kept, without the times and ids in it.
    #[track_caller]
    pub(crate) fn assert_screen(&self, name: &str) {
        let masked = |screen: &str| without_ids(&without_times(screen));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/chat/screens/{name}.txt"));
        if std::env::var_os("COUNTERSIGN_UPDATE_SCREENS").is_some() {
            std::fs::write(&path, masked(&self.screen())).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        // A screen may be half drawn at first.
        if let Err(screen) = self.wait_at_most(SETTLING, |screen| masked(screen) == kept) {
            panic!("{} is another screen; it was\n{kept}\nand is\n{}", path.display(), masked(&screen));
        }
        if let Some(folder) = std::env::var_os("COUNTERSIGN_PICTURES") {
            let colours = self.run(&["capture-pane", "-p", "-e", "-N"]);
            std::fs::write(Path::new(&folder).join(format!("{name}.ansi")), colours).unwrap();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Self::tmux(self.folder.path()).arg("kill-server").output();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that waits for ever says nothing; no figure is compared")]
fn now() -> Instant {
    Instant::now()
}

/// Puts 00:00 in the place of each time of day, and nothing in the place of each date.
fn without_times(screen: &str) -> String {
    let mut masked = String::new();
    for line in screen.lines() {
        let dated =
            ["──", "--"].into_iter().find_map(|rule| Some((rule, line.split_once(&format!("{rule} Today, "))?)));
        let line = match dated {
            Some((rule, (before, rest))) => {
                let after =
                    rest.trim_start_matches(|letter: char| letter.is_alphanumeric() || " ,─-".contains(letter));
                format!("{before}{rule} Today {rule}{after}")
            }
            None => line.to_owned(),
        };
        let letters: Vec<char> = line.chars().collect();
        let is_time = |at: usize| {
            let digit = |offset: usize| letters.get(at + offset).is_some_and(char::is_ascii_digit);
            digit(0) && digit(1) && letters.get(at + 2) == Some(&':') && digit(3) && digit(4)
        };
        let mut at = 0;
        while let Some(letter) = letters.get(at) {
            if is_time(at) {
                masked.push_str("00:00");
                at += 5;
            } else {
                masked.push(*letter);
                at += 1;
            }
        }
        masked.push('\n');
    }
    masked
}

/// Puts x in the place of fingerprints, hashes and ids, and one moment in the place of each timestamp.
fn without_ids(screen: &str) -> String {
    let masked = |word: &str| {
        let core = word.trim_matches(['(', ')', ',', ';']);
        let is_id = core.len() >= 36 && core.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_id {
            word.replace(|letter: char| letter.is_ascii_hexdigit(), "x")
        } else if core.len() == 20 && core.contains("T00:00:") && core.ends_with('Z') {
            word.replace(core, "2000-01-01T00:00:00Z")
        } else {
            word.to_owned()
        }
    };
    screen
        .split_inclusive([' ', '\n'])
        .map(|word| {
            let end = word.trim_end_matches([' ', '\n']);
            masked(end) + word.get(end.len()..).unwrap_or_default()
        })
        .collect()
}
