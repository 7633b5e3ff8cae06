//! A file that is only appended to, one line a record, and synced in groups.
//!
//! Invariants of a [`Keeping::Durable`] book: a record is with the operating system when [`Book::append`] returns, so it
//! outlives this process; it is on disk when [`Book::synced`] returns. Of a [`Keeping::Buffered`] one: what was appended is
//! with the operating system after [`Book::flush`], and nothing is waited for. A record that could not be written ends the
//! run: a ledger with holes proves nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// How well records are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// They outlive this process, and promises the machine: for chaos, and for runs of which nothing may be forgotten.
    #[default]
    Durable,
    /// They are written in large pieces: for load, where the disk of the generator is not to be what is measured.
    Buffered,
}

/// Bytes that a buffered book collects.
const BUFFER: usize = 256 * 1024;

/// A file of records.
#[derive(Debug)]
pub struct Book {
    file: Mutex<BufWriter<File>>,
    keeping: Keeping,
    written: watch::Sender<u64>,
    synced: watch::Receiver<Result<u64, Arc<io::Error>>>,
}

impl Book {
    /// Opens a file to append to, and starts to sync it. Must be called within a runtime.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path, keeping: Keeping) -> io::Result<Self> {
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        end_last_line(&mut file)?;
        let syncing = file.try_clone()?;
        let (written, mut asked) = watch::channel(0_u64);
        let (done, synced) = watch::channel(Ok(0));
        tokio::spawn(async move {
            let syncing = Arc::new(syncing);
            // Ends with the book, whose sender is dropped.
            while asked.changed().await.is_ok() {
                let until = *asked.borrow_and_update();
                let file = Arc::clone(&syncing);
                let outcome = tokio::task::spawn_blocking(move || file.sync_data()).await;
                let outcome = outcome.unwrap_or_else(|error| Err(io::Error::other(error)));
                let failed = outcome.is_err();
                let _ = done.send_replace(outcome.map(|()| until).map_err(Arc::new));
                if failed {
                    return;
                }
            }
        });
        Ok(Self { file: Mutex::new(BufWriter::with_capacity(BUFFER, file)), keeping, written, synced })
    }

    /// Appends a record and returns its place, for [`Self::synced`].
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&self, record: &impl Serialize) -> io::Result<u64> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)?;
        if self.keeping == Keeping::Buffered {
            return Ok(0);
        }
        file.flush()?;
        let mut place = 0;
        self.written.send_modify(|written| {
            *written += 1;
            place = *written;
        });
        Ok(place)
    }

    /// Hands over to the operating system what was appended.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).flush()
    }

    /// Waits until a record is on disk; of a buffered book, for nothing.
    ///
    /// # Errors
    /// If it cannot be written there.
    pub async fn synced(&self, place: u64) -> io::Result<()> {
        if self.keeping == Keeping::Buffered {
            return Ok(());
        }
        let mut synced = self.synced.clone();
        let reached = |outcome: &Result<u64, Arc<io::Error>>| outcome.as_ref().map_or(true, |until| *until >= place);
        let outcome = synced.wait_for(reached).await.map_err(|_| io::Error::other("the book is closed"))?;
        match &*outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), Arc::clone(error))),
        }
    }

    /// Appends a record and waits until it is on disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn append_synced(&self, record: &impl Serialize) -> io::Result<()> {
        let place = self.append(record)?;
        self.synced(place).await
    }
}

/// A process that was killed while it wrote leaves half a line, which must not become part of the next one.
fn end_last_line(file: &mut File) -> io::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// Reads all records of a file. Lines that a killed process left unfinished are counted and left out: what they would
/// have said was not relied on by anybody yet.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read_records<T: DeserializeOwned>(path: &Path) -> io::Result<(Vec<T>, usize)> {
    let text = std::fs::read_to_string(path)?;
    let mut torn = 0;
    let mut records = Vec::new();
    for line in text.lines() {
        if let Ok(record) = serde_json::from_str(line) {
            records.push(record);
        } else {
            torn += 1;
        }
    }
    Ok((records, torn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_appended_is_read_again_and_half_a_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.jsonl");
        let book = Book::open(&path, Keeping::Durable).unwrap();
        book.append(&"one").unwrap();
        book.append_synced(&"two").await.unwrap();
        drop(book);
        // As a process leaves it that is killed while it writes.
        File::options().append(true).open(&path).unwrap().write_all(b"\"thr").unwrap();

        let book = Book::open(&path, Keeping::Durable).unwrap();
        book.append_synced(&"four").await.unwrap();

        let (records, torn) = read_records::<String>(&path).unwrap();
        assert_eq!(records, ["one", "two", "four"]);
        assert_eq!(torn, 1);
    }
}
