//! The logs that are shipped: within the program, so that an experiment needs no file beside it.

use std::io::Cursor;

use super::stream::{ReadError, Reader};

/// A log that is shipped.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name: that of its file in `loadtest/conversations`, without the ending.
    pub name: &'static str,
    /// The whole log.
    pub text: &'static str,
}

/// One log of more than 10 000 messages, whose replay lasts longest, and two shorter ones.
pub const SHIPPED: [Shipped; 3] = [
    Shipped { name: "team", text: include_str!("../../conversations/team.jsonl") },
    Shipped { name: "club", text: include_str!("../../conversations/club.jsonl") },
    Shipped { name: "family", text: include_str!("../../conversations/family.jsonl") },
];

impl Shipped {
    /// Opens the log of a name; none if no such log is shipped.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SHIPPED.into_iter().find(|shipped| shipped.name == name)
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn open(&self) -> Result<Reader<Cursor<&'static str>>, ReadError> {
        Reader::open(Cursor::new(self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Summary;
    use super::*;

    #[test]
    fn shipped_logs_are_what_their_drawings_make() {
        for shipped in SHIPPED {
            let drawing = shipped.open().unwrap().head().drawing.expect("a shipped log says what it was drawn from");
            let mut drawn = Vec::new();
            drawing.write(&mut drawn).unwrap();

            assert!(drawn == shipped.text.as_bytes(), "{}: draw it again, see loadtest/conversations", shipped.name);
        }
    }

    #[test]
    fn one_shipped_log_has_over_ten_thousand_messages() {
        let lengths = SHIPPED.map(|shipped| Summary::of(shipped.open().unwrap()).unwrap().messages);

        assert!(lengths[0] > 10_000);
        assert!(lengths[1] < lengths[0] / 2 && lengths[2] < lengths[1]);
        assert!(Shipped::named("family").is_some() && Shipped::named("nobody").is_none());
    }
}
