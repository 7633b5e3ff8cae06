//! The journal: what makes a write durable. Records are appended to a file, synced in groups, and replayed at start.
//!
//! A segment is a file `journal-<number>`. A frame of it is: magic (4 bytes), length of the record (4), CRC-32 of the
//! record (4), record. A segment whose records are all in the tables is deleted.
//!
//! Invariant: a frame is acknowledged only after a sync that followed it. So what stands after the last whole frame
//! was never acknowledged, and is cut off; but a broken frame *before* a whole one is damage, and is never skipped in
//! silence.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

const MAGIC: [u8; 4] = *b"CSJ1";
const HEADER: usize = 12;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// There are whole records after a broken one: the disk or someone damaged the file.
    #[error(
        "{path} is damaged at byte {offset}; restore it from a backup, or move it away to go on without its records"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: usize,
    },
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    length: u64,
    group: Vec<u8>,
}

impl Segment {
    /// Creates a segment. Its name is durable when this returns.
    pub(super) fn create(directory: &Path, number: u64) -> Result<Self, JournalError> {
        let path = directory.join(format!("journal-{number:016}"));
        let file = OpenOptions::new().create_new(true).write(true).open(&path).map_err(io("create", &path))?;
        sync_directory(directory)?;
        Ok(Self { number, path, file, length: 0, group: Vec::new() })
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Adds a record to the group.
    pub(super) fn push(&mut self, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("records are smaller than 4 GiB, as contents are");
        self.group.extend_from_slice(&MAGIC);
        self.group.extend_from_slice(&length.to_be_bytes());
        self.group.extend_from_slice(&crc32fast::hash(record).to_be_bytes());
        self.group.extend_from_slice(record);
    }

    /// Writes and syncs the group. When this returns, all of it is durable.
    ///
    /// # Errors
    /// [`CommitError::Refused`] if nothing of the group is in the file, so that another can be tried;
    /// [`CommitError::Unknown`] if it cannot be known what the disk holds: nothing may be appended any more.
    pub(super) fn commit(&mut self) -> Result<(), CommitError> {
        let outcome = self.file.write_all(&self.group).map_err(io("append to", &self.path));
        let written = self.group.len() as u64;
        self.group.clear();
        if self.group.capacity() > 16 * 1024 * 1024 {
            self.group.shrink_to(1024 * 1024);
        }
        if let Err(error) = outcome {
            // A full disk, most likely. Half a group must not stay, since whole ones would follow it.
            return match self.cut() {
                Ok(()) => Err(CommitError::Refused(error)),
                Err(_) => Err(CommitError::Unknown(error)),
            };
        }
        // After a failed sync the system may have dropped the pages: a second one that succeeds would prove nothing.
        self.file.sync_data().map_err(io("sync", &self.path)).map_err(CommitError::Unknown)?;
        self.length += written;
        Ok(())
    }

    fn cut(&mut self) -> std::io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_data()
    }
}

/// How a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    Refused(JournalError),
    Unknown(JournalError),
}

/// Finds the segments of a directory, oldest first.
pub(super) fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
        let path = entry.map_err(io("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_prefix("journal-")).and_then(|text| text.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads all whole records of a segment, in order.
pub(super) fn replay(path: &Path, mut each: impl FnMut(Bytes)) -> Result<(), JournalError> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io("read", path))?;
    let bytes = Bytes::from(bytes);
    let mut offset = 0;
    while let Some(end) = frame(&bytes, offset) {
        each(bytes.slice(offset + HEADER..end));
        offset = end;
    }
    let mut later = offset + 1..bytes.len();
    if later.any(|start| bytes[start..].starts_with(&MAGIC) && frame(&bytes, start).is_some()) {
        return Err(JournalError::Damaged { path: path.to_owned(), offset });
    }
    Ok(())
}

/// Returns where the whole frame ends that begins at an offset; none if there is none.
fn frame(bytes: &[u8], offset: usize) -> Option<usize> {
    let rest = bytes.get(offset..)?;
    let (magic, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let record = rest.get(..length)?;
    let whole = *magic == MAGIC && crc32fast::hash(record) == u32::from_be_bytes(*checksum);
    whole.then_some(offset + HEADER + length)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(io("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(records: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(directory.path(), 1).unwrap();
        for record in records {
            segment.push(record);
            segment.commit().map_err(|_| ()).unwrap();
        }
        let path = segment.path;
        (directory, path)
    }

    fn read(path: &Path) -> Result<Vec<Bytes>, JournalError> {
        let mut records = Vec::new();
        replay(path, |record| records.push(record)).map(|()| records)
    }

    #[test]
    fn records_are_replayed_in_order() {
        let (directory, path) = written(&[b"one", b"", b"three"]);

        assert_eq!(read(&path).unwrap(), [&b"one"[..], b"", b"three"]);
        assert_eq!(segments(directory.path()).unwrap(), [(1, path)]);
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_tears() {
        let (_directory, path) = written(&[b"one", b"two"]);
        let whole = std::fs::read(&path).unwrap();

        for length in 15..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path).unwrap(), [&b"one"[..]], "torn at {length}");
        }
    }

    #[test]
    fn damage_before_a_whole_record_is_never_skipped() {
        let (_directory, path) = written(&[b"one", b"two", b"three"]);
        let whole = std::fs::read(&path).unwrap();

        for byte in 0..30 {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(read(&path), Err(JournalError::Damaged { .. })), "byte {byte}");
        }
    }
}
