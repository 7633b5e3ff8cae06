//! Not a candidate: the least any engine must do. Appends each batch to a log, `fdatasync`s it
//! and keeps the keys in ordered maps in memory (contents stay in the log). What it costs is
//! what the harness and the device cost.

use super::days::{Days, present};
use crate::engine::*;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

pub struct Floor {
    dir: PathBuf,
    days: Days<Log>,
}

struct Log {
    file: File,
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    end: u64,
    content: BTreeMap<[u8; CONTENT_KEY], u64>,
    mailbox: BTreeMap<[u8; MAILBOX_KEY], [u8; MAILBOX_VALUE]>,
    fetched: BTreeSet<[u8; FETCHED_KEY]>,
}

const SEND: u8 = 1;
const CONFIRM: u8 = 2;

impl Floor {
    pub fn open(dir: &Path) -> Result<Self> {
        let engine = Self { dir: dir.into(), days: Days::new() };
        for day in present(dir, "log")? {
            engine.day(day)?;
        }
        Ok(engine)
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(format!("{day}.log"))
    }

    fn day(&self, day: Day) -> Result<Arc<Log>> {
        self.days.get(day, || {
            let mut options = File::options();
            let path = self.path(day);
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            let index = replay(&file)?;
            Ok(Log { file, index: RwLock::new(index) })
        })
    }
}

/// Rebuilds the index from the log; a torn record ends it.
fn replay(file: &File) -> Result<Index> {
    let mut index = Index::default();
    let mut log = std::io::BufReader::with_capacity(1 << 20, file);
    let mut record = [0; CONTENT_KEY + MAILBOX_KEY + MAILBOX_VALUE + CONTENT_VALUE];
    loop {
        let mut kind = [0];
        let size = match log.read_exact(&mut kind).map(|()| kind[0]) {
            Ok(SEND) => record.len(),
            Ok(CONFIRM) => FETCHED_KEY,
            _ => return Ok(index),
        };
        let record = &mut record[..size];
        if log.read_exact(record).is_err() {
            return Ok(index);
        }
        if size == FETCHED_KEY {
            index.fetched.insert((&*record).try_into()?);
        } else {
            let (content_key, rest) = record.split_at(CONTENT_KEY);
            let (mailbox_key, rest) = rest.split_at(MAILBOX_KEY);
            index.content.insert(content_key.try_into()?, index.end + 1);
            index.mailbox.insert(mailbox_key.try_into()?, rest[..MAILBOX_VALUE].try_into()?);
        }
        index.end += 1 + size as u64;
    }
}

impl Engine for Floor {
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()> {
        let log = self.day(day)?;
        let start = log.index.read().expect("index").end;
        let mut bytes = Vec::with_capacity(batch.len() * 1400);
        for op in batch {
            match op {
                Op::Send { content_key, content, mailbox_key, mailbox } => {
                    bytes.push(SEND);
                    for part in [&content_key[..], mailbox_key, mailbox, content] {
                        bytes.extend_from_slice(part);
                    }
                }
                Op::Confirm { fetched } => {
                    for key in fetched {
                        bytes.push(CONFIRM);
                        bytes.extend_from_slice(key);
                    }
                }
            }
        }
        log.file.write_all_at(&bytes, start)?;
        log.file.sync_data()?;
        let mut index = log.index.write().expect("index");
        for op in batch {
            match op {
                Op::Send { content_key, content, mailbox_key, mailbox } => {
                    let at = index.end + 1;
                    index.content.insert(*content_key, at);
                    index.mailbox.insert(*mailbox_key, *mailbox);
                    index.end = at + (CONTENT_KEY + MAILBOX_KEY + MAILBOX_VALUE + content.len()) as u64;
                }
                Op::Confirm { fetched } => {
                    index.end += (fetched.len() * (1 + FETCHED_KEY)) as u64;
                    index.fetched.extend(fetched);
                }
            }
        }
        Ok(())
    }

    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()> {
        let log = self.day(day)?;
        let index = log.index.read().expect("index");
        let (low, high) = check.mailbox_bounds();
        for (key, value) in index.mailbox.range(low..=high) {
            rows.push_mailbox(key, value);
        }
        let (low, high) = check.fetched_bounds();
        for key in index.fetched.range(low..=high) {
            rows.push_fetched(key);
        }
        Ok(())
    }

    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>> {
        let log = self.day(day)?;
        let at = log.index.read().expect("index").content.get(key).copied();
        let Some(at) = at else { return Ok(None) };
        let mut value = vec![0; CONTENT_VALUE];
        let header = (CONTENT_KEY + MAILBOX_KEY + MAILBOX_VALUE) as u64;
        log.file.read_exact_at(&mut value, at + header)?;
        Ok(Some(value))
    }

    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let keys: Vec<_> =
            self.day(day)?.index.read().expect("index").content.keys().copied().collect();
        for key in keys {
            visit(&key, &self.content(day, &key)?.unwrap_or_default());
        }
        Ok(())
    }

    fn drop_day(&self, day: Day) -> Result<()> {
        drop(self.days.take(day));
        Ok(std::fs::remove_file(self.path(day))?)
    }

    fn hold_reader(&self, day: Day) -> Result<HeldReader> {
        let log = self.day(day)?;
        Ok(Box::new(move || Ok(log.index.read().expect("index").mailbox.len().min(100))))
    }
}
