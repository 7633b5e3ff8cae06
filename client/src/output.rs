//! What people and programs read. With `--json` each command prints one JSON value, or one a line while it watches; all
//! else goes to standard error.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use countersign_client::Refused;
use serde::Serialize;
use serde_json::json;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

#[expect(clippy::unused_self, reason = "whoever writes has been handed where to")]
impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Tells whether a program reads.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one JSON value on a line.
    pub(crate) fn value<T: Serialize>(self, value: &T) {
        let text = serde_json::to_string(value).unwrap_or_default();
        self.line(&text);
    }

    /// Prints JSON for a program, and what `people` makes for people.
    pub(crate) fn either<T: Serialize>(self, value: &T, people: impl FnOnce(Self)) {
        if self.json { self.value(value) } else { people(self) }
    }

    /// Prints a line. Who stops reading early, such as `head`, is no reason to complain.
    pub(crate) fn line(self, text: &str) {
        let _ = writeln!(anstream::stdout(), "{text}");
    }

    /// Prints a note beside the result.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
    }

    /// Prints a warning.
    pub(crate) fn warn(self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{YELLOW}warning:{YELLOW:#} {text}");
    }

    /// Prints why a command failed.
    pub(crate) fn error(self, text: &str, code: u8) {
        if self.json {
            self.value(&json!({"error": text, "code": code}));
        } else {
            let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {text}");
        }
    }

    /// Prints what a server did that it must not do.
    pub(crate) fn refused(self, refused: &Refused) {
        if self.json {
            self.value(&json!({
                "error": refused.what.summary,
                "code": crate::exit::REFUSED,
                "kind": refused.what.kind,
                "details": refused.what.details,
                "evidence": refused.evidence,
            }));
            return;
        }
        let mut stderr = anstream::stderr();
        let _ = writeln!(stderr, "{RED}REFUSED:{RED:#} {BOLD}{}{BOLD:#}", refused.what.summary);
        for line in &refused.what.details {
            let _ = writeln!(stderr, "  {line}");
        }
        let number = refused.evidence;
        let _ = writeln!(stderr, "  The evidence is kept: countersign evidence {number}");
    }
}

/// Makes a text bold.
pub(crate) fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// Makes a text quiet.
pub(crate) fn dim(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}

/// Makes a text that something is good.
pub(crate) fn good(text: &str) -> String {
    format!("{GREEN}{text}{GREEN:#}")
}

/// Makes a text that something is doubtful.
pub(crate) fn doubtful(text: &str) -> String {
    format!("{YELLOW}{text}{YELLOW:#}")
}

/// Writes a size as people read it.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
