//! Changes on their way: a statement that still collects signatures, as a small text that people hand to each other.
//!
//! Owns: that text. What it says in words is always made from the statement itself, never read from the text around it.

use countersign_protocol::log::LogEntry;
use countersign_protocol::statement::{InvalidStatement, Statement};

const FIRST_LINE: &str = "# Countersign change, version 1";

/// A change that is not submitted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeDraft {
    entry: LogEntry,
    statement: Statement,
}

/// A text that is no change.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChange {
    /// It begins otherwise.
    #[error("this is not a drafted change: it begins with {FIRST_LINE:?}")]
    Beginning,
    /// Its JSON is not that of a statement with signatures.
    #[error("the drafted change cannot be read; it may have been cut")]
    Json(#[source] serde_json::Error),
    /// The statement in it is none.
    #[error("the drafted change cannot be read")]
    Statement(#[source] InvalidStatement),
}

impl ChangeDraft {
    /// Takes a statement, not signed yet.
    ///
    /// # Errors
    /// [`InvalidStatement`].
    pub fn new(statement: String) -> Result<Self, InvalidStatement> {
        let parsed = Statement::parse(&statement)?;
        Ok(Self { entry: LogEntry { statement, signatures: Vec::new() }, statement: parsed })
    }

    /// Returns the statement.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Returns the statement's text with its signatures.
    #[must_use]
    pub const fn entry(&self) -> &LogEntry {
        &self.entry
    }

    /// Adds an armored signature.
    pub fn add_signature(&mut self, signature: String) {
        self.entry.signatures.push(signature);
    }

    /// Tells whether a text looks like a drafted change.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.trim_start().starts_with(FIRST_LINE)
    }

    /// Writes the text. `words` says what the change is, for whoever opens the file in an editor.
    ///
    /// # Panics
    /// Never: an entry can be written as JSON.
    #[must_use]
    pub fn to_text(&self, words: &[String]) -> String {
        let mut text = format!("{FIRST_LINE}\n#\n");
        for line in words {
            text.push_str("#   ");
            text.push_str(&crate::words::printable(line));
            text.push('\n');
        }
        text.push_str("#\n# What counts is below. See what it says, and sign it, with:\n");
        text.push_str("#   countersign change show <this file>\n#   countersign change sign <this file>\n");
        let json = serde_json::to_string_pretty(&self.entry).expect("an entry has nothing that JSON cannot hold");
        text.push_str(&json);
        text.push('\n');
        text
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`InvalidChange`].
    pub fn parse(text: &str) -> Result<Self, InvalidChange> {
        if !Self::is_one(text) {
            return Err(InvalidChange::Beginning);
        }
        let json: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let entry: LogEntry = serde_json::from_str(&json.join("\n")).map_err(InvalidChange::Json)?;
        let statement = Statement::parse(&entry.statement).map_err(InvalidChange::Statement)?;
        Ok(Self { entry, statement })
    }
}

#[cfg(test)]
mod tests {
    use countersign_protocol::digest::Sha256Digest;
    use countersign_protocol::id::{OrganizationId, UserId};
    use countersign_protocol::statement::Change;
    use countersign_protocol::time::UnixMicros;

    use super::*;

    fn draft() -> ChangeDraft {
        let change = Change::UpdateUser {
            user: UserId::from_bytes([2; 16]),
            certificate: None,
            administrator: Some(true),
            active: None,
            client_limit: None,
        };
        let organization = OrganizationId::from_bytes([1; 16]);
        let time = UnixMicros(1_795_400_000_000_000);
        let statement = Statement::compose(organization, 3, Some(Sha256Digest::of(b"x")), time, change);
        ChangeDraft::new(statement).unwrap()
    }

    #[test]
    fn a_change_is_read_as_it_was_written_and_its_bytes_stay() {
        let mut written = draft();
        written.add_signature("-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n".to_owned());
        let text = written.to_text(&["makes Bob an administrator\u{1b}[2J".to_owned()]);
        assert!(!text.contains('\u{1b}'));
        let read = ChangeDraft::parse(&text).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.statement().hash, Sha256Digest::of(written.entry().statement.as_bytes()));
    }

    #[test]
    fn words_around_a_change_cannot_change_it() {
        let text = draft().to_text(&["\n{\"statement\": \"other\", \"signatures\": []}".to_owned()]);
        assert_eq!(ChangeDraft::parse(&text).unwrap(), draft());
        assert!(matches!(ChangeDraft::parse("hello"), Err(InvalidChange::Beginning)));
        let cut = text.trim_end().trim_end_matches('}');
        assert!(matches!(ChangeDraft::parse(cut), Err(InvalidChange::Json(_))));
    }
}
