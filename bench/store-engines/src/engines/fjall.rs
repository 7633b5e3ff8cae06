//! fjall: an LSM tree. One database; one keyspace for each table and day.
//!
//! Durability: `WriteBatch::durability(SyncData)` writes the journal and calls `fdatasync`
//! before the batch becomes visible, so a commit is durable when it returns.

use super::days::Days;
use crate::engine::*;
use anyhow::Result;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    PersistMode,
    config::{CompressionPolicy, FilterPolicy},
};
use std::{path::Path, sync::Arc};

pub struct Fjall {
    db: Database,
    days: Days<Tables>,
    separate: bool,
}

struct Tables {
    content: Keyspace,
    mailbox: Keyspace,
    fetched: Keyspace,
}

impl Fjall {
    /// `separate`: key-value separation, so that compaction never rewrites contents.
    pub fn open(dir: &Path, separate: bool) -> Result<Self> {
        let db = Database::builder(dir)
            .cache_size(512 << 20)
            .max_journaling_size(256 << 20) // bounds replay after a crash
            .worker_threads(2)
            .open()?;
        Ok(Self { db, days: Days::new(), separate })
    }

    fn day(&self, day: Day) -> Result<Arc<Tables>> {
        // Contents are ciphertext and ids are random: nothing compresses.
        let plain = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        let content = || {
            plain().max_memtable_size(64 << 20).with_kv_separation(self.separate.then(|| {
                KvSeparationOptions::default()
                    .compression(CompressionType::None)
                    .separation_threshold(512)
            }))
        };
        // Only ever read by range, which can't use a bloom filter.
        let ranged = || plain().max_memtable_size(16 << 20).filter_policy(FilterPolicy::disabled());
        self.days.get(day, || {
            Ok(Tables {
                content: self.db.keyspace(&format!("content-{day}"), content)?,
                mailbox: self.db.keyspace(&format!("mailbox-{day}"), ranged)?,
                fetched: self.db.keyspace(&format!("fetched-{day}"), ranged)?,
            })
        })
    }
}

impl Engine for Fjall {
    fn commit(&self, day: Day, batch: &[Op]) -> Result<()> {
        let tables = self.day(day)?;
        let mut write = self.db.batch().durability(Some(PersistMode::SyncData));
        for op in batch {
            match op {
                Op::Send { content_key, content, mailbox_key, mailbox } => {
                    write.insert(&tables.content, content_key.as_slice(), &content[..]);
                    write.insert(&tables.mailbox, mailbox_key.as_slice(), mailbox.as_slice());
                }
                Op::Confirm { fetched } => {
                    for key in fetched {
                        write.insert(&tables.fetched, key.as_slice(), [].as_slice());
                    }
                }
            }
        }
        Ok(write.commit()?)
    }

    fn check(&self, day: Day, check: &Check, rows: &mut Rows) -> Result<()> {
        let tables = self.day(day)?;
        let (low, high) = check.mailbox_bounds();
        for row in tables.mailbox.range(low..=high) {
            let (key, value) = row.into_inner()?;
            rows.push_mailbox(&key, &value);
        }
        let (low, high) = check.fetched_bounds();
        for row in tables.fetched.range(low..=high) {
            rows.push_fetched(&row.key()?);
        }
        Ok(())
    }

    fn content(&self, day: Day, key: &[u8; CONTENT_KEY]) -> Result<Option<Vec<u8>>> {
        Ok(self.day(day)?.content.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, day: Day, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.day(day)?.content.iter() {
            let (key, value) = row.into_inner()?;
            visit(&key, &value);
        }
        Ok(())
    }

    fn drop_day(&self, day: Day) -> Result<()> {
        self.day(day)?;
        let Some(tables) = self.days.take(day) else { return Ok(()) };
        for keyspace in [&tables.content, &tables.mailbox, &tables.fetched] {
            self.db.delete_keyspace(keyspace.clone())?;
        }
        Ok(())
    }

    fn hold_reader(&self, day: Day) -> Result<HeldReader> {
        let mut iter = self.day(day)?.mailbox.iter();
        Ok(Box::new(move || {
            let mut read = 0;
            for row in iter.by_ref().take(100) {
                row.key()?;
                read += 1;
            }
            Ok(read)
        }))
    }
}
