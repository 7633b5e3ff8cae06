//! SQLite through rusqlite. One database file a day, in WAL mode.
//!
//! Durability: `synchronous=FULL` calls `fdatasync` on the WAL in every commit.

use super::days::{Days, present};
use crate::engine::*;
use anyhow::Result;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub struct Sqlite {
    dir: PathBuf,
    days: Days<File>,
}

struct File {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle reading connections; one is taken out for each read.
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    pub fn open(dir: &Path) -> Result<Self> {
        let engine = Self { dir: dir.into(), days: Days::new() };
        for day in present(dir, "sqlite")? {
            engine.day(day)?;
        }
        Ok(engine)
    }

    fn day(&self, day: Day) -> Result<Arc<File>> {
        self.days.get(day, || File::open(self.dir.join(format!("{day}.sqlite"))))
    }
}

impl File {
    fn open(path: PathBuf) -> Result<Self> {
        let writer = connect(&path, OpenFlags::SQLITE_OPEN_CREATE)?;
        // 8 KiB pages: with 4 KiB ones a content of a WITHOUT ROWID table overflows into a
        // page of its own.
        writer.execute_batch(
            "PRAGMA page_size = 8192;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 8192;
             PRAGMA cache_size = -524288;
             CREATE TABLE IF NOT EXISTS content (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS mailbox (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS fetched (k BLOB PRIMARY KEY) WITHOUT ROWID;",
        )?;
        Ok(Self { path, writer: Mutex::new(writer), readers: Mutex::default() })
    }

    fn reader<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().expect("readers").pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::empty())?,
        };
        let result = read(&connection);
        self.readers.lock().expect("readers").push(connection);
        result
    }
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more,
    )?;
    connection.execute_batch("PRAGMA mmap_size = 17179869184; PRAGMA cache_size = -65536;")?;
    Ok(connection)
}

impl Engine for Sqlite {
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()> {
        let file = self.day(day)?;
        let mut writer = file.writer.lock().expect("writer");
        let write = writer.transaction()?;
        {
            let mut contents = write.prepare_cached("INSERT INTO content VALUES (?1, ?2)")?;
            let mut mailboxes = write.prepare_cached("INSERT INTO mailbox VALUES (?1, ?2)")?;
            let mut fetcheds = write.prepare_cached("INSERT OR IGNORE INTO fetched VALUES (?1)")?;
            for op in batch {
                match op {
                    Op::Send { content_key, content, mailbox_key, mailbox } => {
                        contents.execute(params![&content_key[..], &content[..]])?;
                        mailboxes.execute(params![&mailbox_key[..], &mailbox[..]])?;
                    }
                    Op::Confirm { fetched } => {
                        for key in fetched {
                            fetcheds.execute(params![&key[..]])?;
                        }
                    }
                }
            }
        }
        Ok(write.commit()?)
    }

    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()> {
        self.day(day)?.reader(|connection| {
            let (low, high) = check.mailbox_bounds();
            let mut query = connection
                .prepare_cached("SELECT k, v FROM mailbox WHERE k BETWEEN ?1 AND ?2 ORDER BY k")?;
            let mut found = query.query(params![&low[..], &high[..]])?;
            while let Some(row) = found.next()? {
                rows.push_mailbox(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            }
            let (low, high) = check.fetched_bounds();
            let mut query = connection
                .prepare_cached("SELECT k FROM fetched WHERE k BETWEEN ?1 AND ?2 ORDER BY k")?;
            let mut found = query.query(params![&low[..], &high[..]])?;
            while let Some(row) = found.next()? {
                rows.push_fetched(row.get_ref(0)?.as_blob()?);
            }
            Ok(())
        })
    }

    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>> {
        self.day(day)?.reader(|connection| {
            let mut query = connection.prepare_cached("SELECT v FROM content WHERE k = ?1")?;
            Ok(query.query_row(params![&key[..]], |row| row.get(0)).optional()?)
        })
    }

    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        self.day(day)?.reader(|connection| {
            let mut query = connection.prepare("SELECT k, v FROM content")?;
            let mut found = query.query([])?;
            while let Some(row) = found.next()? {
                visit(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            }
            Ok(())
        })
    }

    fn drop_day(&self, day: Day) -> Result<()> {
        // Closing the last connection checkpoints the WAL first: unlink before closing.
        let file = self.dir.join(format!("{day}.sqlite"));
        for ending in ["", "-wal", "-shm"] {
            let mut path = file.clone().into_os_string();
            path.push(ending);
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        drop(self.days.take(day));
        Ok(())
    }

    fn hold_reader(&self, day: Day) -> Result<HeldReader> {
        let file = self.day(day)?;
        let connection = connect(&file.path, OpenFlags::empty())?;
        connection.execute_batch("BEGIN")?;
        let read = move || {
            let mut query = connection.prepare_cached("SELECT k FROM mailbox LIMIT 100")?;
            let mut found = query.query([])?;
            let mut read = 0;
            while found.next()?.is_some() {
                read += 1;
            }
            Ok(read)
        };
        read()?; // the snapshot begins with the first read
        Ok(Box::new(read))
    }
}
