//! Reading and writing logs, a line at a time.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use thiserror::Error;

use super::record::{Entry, EntryError, FORMAT, Head, VERSION};

/// The longest line that is read. A hundred recipients take a tenth of it.
const LINE_MAX: u64 = 16 * 1024;

/// Why a log cannot be read. Lines are counted from 1.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file, not what is in it.
    #[error("line {line} cannot be read")]
    Io {
        /// The line.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line that is no record.
    #[error("line {line}: {what}; it should be such as {}", example(*line))]
    Form {
        /// The line.
        line: u64,
        /// What is wrong, and where in the line.
        what: String,
    },
    /// A line longer than any record.
    #[error("line {line} is longer than {LINE_MAX} bytes; each message has a line of its own")]
    Long {
        /// The line.
        line: u64,
    },
    /// No first line.
    #[error("the file is empty; its first line should be such as {}", example(1))]
    Empty,
    /// Another kind of file.
    #[error("the first line says \"format\":\"{0}\", and conversation logs say \"{FORMAT}\"")]
    Format(String),
    /// A version that is not known here.
    #[error("the log is of version {0} of the format; this program reads version {VERSION}")]
    Version(u32),
    /// A log of nobody.
    #[error("the first line says {0} users; a conversation needs two")]
    Users(u32),
    /// A message that cannot be replayed.
    #[error("line {line} cannot be replayed")]
    Entry {
        /// The line.
        line: u64,
        /// Why.
        #[source]
        source: EntryError,
    },
}

/// Returns what a line could look like.
const fn example(line: u64) -> &'static str {
    if line == 1 {
        r#"{"format":"countersign-conversation","version":1,"users":2}"#
    } else {
        r#"{"at":0.25,"from":0,"to":[1],"bytes":400}"#
    }
}

/// Reads a log, without keeping it. Empty lines are passed over. After an error there is nothing more.
#[derive(Debug)]
pub struct Reader<R> {
    lines: R,
    head: Head,
    line: u64,
    before: Duration,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// If it is not that of a conversation log of this version.
    pub fn open(mut lines: R) -> Result<Self, ReadError> {
        let text = next_line(&mut lines, 1)?.ok_or(ReadError::Empty)?;
        let head: Head = parse(&text, 1)?;
        if head.format != FORMAT {
            return Err(ReadError::Format(head.format));
        }
        if head.version != VERSION {
            return Err(ReadError::Version(head.version));
        }
        if head.users < 2 {
            return Err(ReadError::Users(head.users));
        }
        Ok(Self { lines, head, line: 1, before: Duration::ZERO, ended: false })
    }

    /// Returns what the first line says.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            let line = self.line + 1;
            let Some(text) = next_line(&mut self.lines, line)? else { return Ok(None) };
            self.line = line;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let entry: Entry = parse(&text, line)?;
            entry.check(self.head.users, self.before).map_err(|source| ReadError::Entry { line, source })?;
            self.before = entry.at;
            return Ok(Some(entry));
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &[u8], line: u64) -> Result<T, ReadError> {
    serde_json::from_slice(text).map_err(|error| {
        // It counts lines within what it is given, which is one.
        let what = error.to_string().replace(" at line 1 column ", " at column ");
        ReadError::Form { line, what }
    })
}

/// Returns the next line; none at the end.
fn next_line(lines: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let mut text = Vec::new();
    let mut limited = io::Read::take(&mut *lines, LINE_MAX + 1);
    let read = limited.read_until(b'\n', &mut text).map_err(|source| ReadError::Io { line, source })?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LINE_MAX {
        return Err(ReadError::Long { line });
    }
    Ok((read > 0).then_some(text))
}

/// Writes a log.
#[derive(Debug)]
pub struct Writer<W> {
    lines: W,
    users: u32,
    before: Duration,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(mut lines: W, head: &Head) -> io::Result<Self> {
        write_line(&mut lines, head)?;
        Ok(Self { lines, users: head.users, before: Duration::ZERO })
    }

    /// Writes a message.
    ///
    /// # Errors
    /// If it cannot be written, or could not be replayed.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        entry.check(self.users, self.before).map_err(io::Error::other)?;
        self.before = entry.at;
        write_line(&mut self.lines, entry)
    }

    /// Writes out what waits, and returns what it was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.lines.flush()?;
        Ok(self.lines)
    }
}

fn write_line(lines: &mut impl Write, record: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(record).map_err(io::Error::other)?;
    line.push(b'\n');
    lines.write_all(&line)
}

/// What a log amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many users there are.
    pub users: u32,
    /// How many of them write.
    pub writers: usize,
    /// Messages.
    pub messages: u64,
    /// Messages, each as often as it has recipients.
    pub deliveries: u64,
    /// Bytes of all contents.
    pub bytes: u64,
    /// Messages of the user who writes the most.
    pub most_of_one: u64,
    /// When the last message is sent.
    pub duration: Duration,
}

impl Summary {
    /// Reads a log to its end.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn of(reader: Reader<impl BufRead>) -> Result<Self, ReadError> {
        let mut summary = Self { users: reader.head().users, ..Self::default() };
        let mut by_user: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
        for entry in reader {
            let entry = entry?;
            summary.messages += 1;
            summary.deliveries += u64::try_from(entry.to.len()).unwrap_or(u64::MAX);
            summary.bytes += u64::from(entry.bytes);
            summary.duration = entry.at;
            *by_user.entry(entry.from).or_default() += 1;
        }
        summary.writers = by_user.len();
        summary.most_of_one = by_user.into_values().max().unwrap_or(0);
        Ok(summary)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { users, writers, messages, deliveries, bytes, most_of_one, duration } = self;
        writeln!(formatter, "users       {users}, of whom {writers} write")?;
        writeln!(formatter, "messages    {messages}, of which one user wrote {most_of_one}")?;
        writeln!(formatter, "deliveries  {deliveries}")?;
        writeln!(formatter, "bytes       {bytes}")?;
        write!(formatter, "duration    {:.3} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::CONTENT_MAX;
    use super::*;

    const HEAD: &str = r#"{"format":"countersign-conversation","version":1,"users":3}"#;

    fn read(text: &str) -> Result<Vec<Entry>, ReadError> {
        Reader::open(text.as_bytes())?.collect()
    }

    /// Returns an error's whole chain, as a user sees it.
    fn said(error: ReadError) -> String {
        format!("{:#}", anyhow::Error::from(error))
    }

    #[test]
    fn a_log_is_read_line_by_line() {
        let text = format!(
            "{HEAD}\n{{\"at\":0,\"from\":0,\"to\":[1,2],\"bytes\":400}}\n\n{{\"at\":1.25,\"from\":2,\"to\":[0],\"bytes\":1}}"
        );

        let entries = read(&text).unwrap();

        let second = Entry { at: Duration::from_millis(1_250), from: 2, to: vec![0], bytes: 1 };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1], second);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = [
            (r#"{"at":0,"from":0,"to":[3],"bytes":1}"#, "there is no user 3"),
            (r#"{"at":0,"from":7,"to":[1],"bytes":1}"#, "there is no user 7"),
            (r#"{"at":0,"from":0,"to":[],"bytes":1}"#, "names nobody"),
            (r#"{"at":0,"from":0,"to":[1,1],"bytes":1}"#, "user 1 twice"),
            (r#"{"at":0,"from":0,"to":[1],"bytes":0}"#, "1 to 1048576 bytes"),
            (r#"{"at":0,"from":0,"to":[1],"bytes":2000000}"#, "1 to 1048576 bytes"),
            (r#"{"at":-1,"from":0,"to":[1],"bytes":1}"#, "0 or more"),
            (r#"{"at":0,"from":0,"to":[1],"bytes":1,"text":"hello"}"#, "unknown field `text`"),
            (r#"{"at":0,"from":0,"to":[1]"#, "EOF while parsing"),
        ];
        for (line, says) in wrong {
            let said = said(read(&format!("{HEAD}\n\n{line}\n")).unwrap_err());

            assert!(said.contains("line 3"), "{said}");
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn times_do_not_go_back() {
        let text = format!(
            "{HEAD}\n{}\n{}\n{}\n",
            r#"{"at":2,"from":0,"to":[1],"bytes":1}"#,
            r#"{"at":2,"from":0,"to":[1],"bytes":1}"#,
            r#"{"at":1.5,"from":0,"to":[1],"bytes":1}"#
        );

        let said = said(read(&text).unwrap_err());

        assert!(said.contains("line 4") && said.contains("1.500") && said.contains("2.000"), "{said}");
    }

    #[test]
    fn other_files_are_no_logs() {
        assert!(matches!(read("").unwrap_err(), ReadError::Empty));
        assert!(matches!(read("not JSON").unwrap_err(), ReadError::Form { line: 1, .. }));
        let other = HEAD.replace("countersign-conversation", "another");
        assert!(matches!(read(&other).unwrap_err(), ReadError::Format(_)));
        let newer = HEAD.replace("\"version\":1", "\"version\":2");
        assert!(matches!(read(&newer).unwrap_err(), ReadError::Version(2)));
        let lonely = HEAD.replace("\"users\":3", "\"users\":1");
        assert!(matches!(read(&lonely).unwrap_err(), ReadError::Users(1)));
        assert!(matches!(read(&" ".repeat(100_000)).unwrap_err(), ReadError::Long { line: 1 }));
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut reader =
            Reader::open(format!("{HEAD}\nwrong\n{{\"at\":0,\"from\":0,\"to\":[1],\"bytes\":1}}").as_bytes())
                .unwrap()
                .map(|read| read.is_ok())
                .collect::<Vec<_>>();

        assert_eq!(reader.pop(), Some(false));
        assert_eq!(reader.pop(), None);
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let mut writer = Writer::create(Vec::new(), &Head::new(2, None)).unwrap();

        let error = writer.write(&Entry { at: Duration::ZERO, from: 0, to: vec![2], bytes: 1 }).unwrap_err();

        assert!(error.to_string().contains("no user 2"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec((0_u32..100_000, 0_u32..50, prop::collection::btree_set(0_u32..50, 1..20), 1..CONTENT_MAX), 0..50)
        ) {
            let mut at = Duration::ZERO;
            let entries: Vec<Entry> = entries.into_iter().map(|(after, from, to, bytes)| {
                at += Duration::from_millis(u64::from(after));
                Entry { at, from, to: to.into_iter().collect(), bytes }
            }).collect();

            let mut writer = Writer::create(Vec::new(), &Head::new(50, None)).unwrap();
            for entry in &entries {
                writer.write(entry).unwrap();
            }
            let written = writer.finish().unwrap();
            let read: Vec<Entry> = Reader::open(&*written).unwrap().collect::<Result<_, _>>().unwrap();

            prop_assert_eq!(read, entries);
        }
    }
}
