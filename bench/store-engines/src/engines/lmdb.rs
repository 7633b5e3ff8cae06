//! LMDB through heed: a copy-on-write B-tree in a memory map. One environment a day.
//!
//! Durability: the default flags; a commit writes the pages, calls `fdatasync`, then writes
//! the meta page through an `O_DSYNC` descriptor: two waits for the device.

use super::days::{Days, present};
use crate::engine::*;
use anyhow::Result;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, WithoutTls, types::Bytes};
use std::ops::Bound::Included;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Table = Database<'static, Bytes, Bytes>;

pub struct Lmdb {
    dir: PathBuf,
    days: Days<DayEnv>,
}

struct DayEnv {
    content: Table,
    mailbox: Table,
    fetched: Table,
    env: Env<WithoutTls>,
}

impl Lmdb {
    pub fn open(dir: &Path) -> Result<Self> {
        let engine = Self { dir: dir.into(), days: Days::new() };
        for day in present(dir, "lmdb")? {
            engine.day(day)?;
        }
        Ok(engine)
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(format!("{day}.lmdb"))
    }

    fn day(&self, day: Day) -> Result<Arc<DayEnv>> {
        self.days.get(day, || {
            let path = self.path(day);
            std::fs::create_dir_all(&path)?;
            let mut options = EnvOpenOptions::new().read_txn_without_tls();
            options.map_size(64 << 30).max_dbs(3).max_readers(1024);
            // SAFETY: nobody else touches the files; a day is only deleted after it closes
            // or stays mapped until its last reader lets go (an unlinked file keeps its pages).
            let env = unsafe { options.open(&path)? };
            let [content, mailbox, fetched] = env
                .create_databases_and_commit(env.write_txn()?, |opener, txn| {
                    let mut create = |name| opener.create_database(txn, Some(name));
                    Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit([
                        create("content")?,
                        create("mailbox")?,
                        create("fetched")?,
                    ]))
                })?
                .unwrap_commit();
            Ok(DayEnv { content, mailbox, fetched, env })
        })
    }
}

impl Engine for Lmdb {
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()> {
        let tables = self.day(day)?;
        let mut write = tables.env.write_txn()?;
        for op in batch {
            match op {
                Op::Send { content_key, content, mailbox_key, mailbox } => {
                    tables.content.put(&mut write, content_key, content)?;
                    tables.mailbox.put(&mut write, mailbox_key, mailbox)?;
                }
                Op::Confirm { fetched } => {
                    for key in fetched {
                        tables.fetched.put(&mut write, key, &[])?;
                    }
                }
            }
        }
        Ok(write.commit()?)
    }

    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()> {
        let tables = self.day(day)?;
        let read = tables.env.read_txn()?;
        let (low, high) = check.mailbox_bounds();
        for row in tables.mailbox.range(&read, &(Included(&low[..]), Included(&high[..])))? {
            let (key, value) = row?;
            rows.push_mailbox(key, value);
        }
        let (low, high) = check.fetched_bounds();
        for row in tables.fetched.range(&read, &(Included(&low[..]), Included(&high[..])))? {
            rows.push_fetched(row?.0);
        }
        Ok(())
    }

    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>> {
        let tables = self.day(day)?;
        let read = tables.env.read_txn()?;
        Ok(tables.content.get(&read, key)?.map(<[u8]>::to_vec))
    }

    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let tables = self.day(day)?;
        let read = tables.env.read_txn()?;
        for row in tables.content.iter(&read)? {
            let (key, value) = row?;
            visit(key, value);
        }
        Ok(())
    }

    fn drop_day(&self, day: Day) -> Result<()> {
        drop(self.days.take(day));
        Ok(std::fs::remove_dir_all(self.path(day))?)
    }

    fn hold_reader(&self, day: Day) -> Result<HeldReader> {
        let tables = self.day(day)?;
        let read = tables.env.clone().static_read_txn()?;
        Ok(Box::new(move || {
            let mut count = 0;
            for row in tables.mailbox.iter(&read)?.take(100) {
                row?;
                count += 1;
            }
            Ok(count)
        }))
    }
}
