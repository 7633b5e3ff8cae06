//! redb: a copy-on-write B-tree. One file a day.
//!
//! Durability: `Durability::Immediate` (the default) calls `fdatasync` once in `commit`.

use super::days::{Days, present};
use crate::engine::*;
use anyhow::Result;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Table<const K: usize> = TableDefinition<'static, &'static [u8; K], &'static [u8]>;
const CONTENT: Table<CONTENT_KEY> = TableDefinition::new("content");
const MAILBOX: Table<MAILBOX_KEY> = TableDefinition::new("mailbox");
const FETCHED: Table<FETCHED_KEY> = TableDefinition::new("fetched");

pub struct Redb {
    dir: PathBuf,
    days: Days<Database>,
    quick_repair: bool,
}

impl Redb {
    /// `quick_repair`: saves the allocator state with every commit (and syncs twice), so that
    /// opening after a crash needn't walk the file.
    pub fn open(dir: &Path, quick_repair: bool) -> Result<Self> {
        let engine = Self { dir: dir.into(), days: Days::new(), quick_repair };
        for day in present(dir, "redb")? {
            engine.day(day)?;
        }
        Ok(engine)
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(format!("{day}.redb"))
    }

    fn day(&self, day: Day) -> Result<Arc<Database>> {
        self.days.get(day, || {
            let db = Database::builder().set_cache_size(512 << 20).create(self.path(day))?;
            let write = db.begin_write()?;
            write.open_table(CONTENT)?;
            write.open_table(MAILBOX)?;
            write.open_table(FETCHED)?;
            write.commit()?;
            Ok(db)
        })
    }
}

impl Engine for Redb {
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()> {
        let db = self.day(day)?;
        let mut write = db.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        write.set_quick_repair(self.quick_repair);
        {
            let mut contents = write.open_table(CONTENT)?;
            let mut mailboxes = write.open_table(MAILBOX)?;
            let mut fetcheds = write.open_table(FETCHED)?;
            for op in batch {
                match op {
                    Op::Send { content_key, content, mailbox_key, mailbox } => {
                        contents.insert(content_key, &content[..])?;
                        mailboxes.insert(mailbox_key, mailbox.as_slice())?;
                    }
                    Op::Confirm { fetched } => {
                        for key in fetched {
                            fetcheds.insert(key, [].as_slice())?;
                        }
                    }
                }
            }
        }
        Ok(write.commit()?)
    }

    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()> {
        let db = self.day(day)?;
        let read = db.begin_read()?;
        let (low, high) = check.mailbox_bounds();
        for row in read.open_table(MAILBOX)?.range::<&[u8; MAILBOX_KEY]>(&low..=&high)? {
            let (key, value) = row?;
            rows.push_mailbox(key.value(), value.value());
        }
        let (low, high) = check.fetched_bounds();
        for row in read.open_table(FETCHED)?.range::<&[u8; FETCHED_KEY]>(&low..=&high)? {
            rows.push_fetched(row?.0.value());
        }
        Ok(())
    }

    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>> {
        let read = self.day(day)?.begin_read()?;
        let table = read.open_table(CONTENT)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let read = self.day(day)?.begin_read()?;
        for row in read.open_table(CONTENT)?.iter()? {
            let (key, value) = row?;
            visit(key.value(), value.value());
        }
        Ok(())
    }

    fn drop_day(&self, day: Day) -> Result<()> {
        drop(self.days.take(day));
        Ok(std::fs::remove_file(self.path(day))?)
    }

    fn hold_reader(&self, day: Day) -> Result<HeldReader> {
        let db = self.day(day)?;
        let table = db.begin_read()?.open_table(MAILBOX)?;
        Ok(Box::new(move || {
            let _open = &db;
            let mut read = 0;
            for row in table.iter()?.take(100) {
                row?;
                read += 1;
            }
            Ok(read)
        }))
    }
}
