//! The tables of messages: one redb file for each day, so that retention deletes files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use redb::{Database, ReadableDatabase as _, TableDefinition, TableError};

use super::pending::Generation;
use super::record::{
    FetchedKey, ItemKey, ItemValue, MessageKey, fetched_key, id_of, item_key, item_of, item_value, message_key,
};
use crate::store::{IdRange, StoreError};

const MESSAGES: TableDefinition<'static, MessageKey, &[u8]> = TableDefinition::new("message");
const ITEMS: TableDefinition<'static, ItemKey, ItemValue> = TableDefinition::new("mailbox");
const FETCHED: TableDefinition<'static, FetchedKey, ()> = TableDefinition::new("fetched");

/// Bytes of pages that each day's file keeps in memory, at most.
const CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(u64);

impl Day {
    pub(super) const fn of(time: UnixMillis) -> Self {
        Self(time.0 / DAY)
    }
}

/// The files of all days.
pub(super) struct Tables {
    directory: PathBuf,
    days: RwLock<BTreeMap<Day, Arc<Database>>>,
}

pub(super) fn engine(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Corrupt(what),
        other => StoreError::Unavailable(Box::new(other)),
    }
}

impl Tables {
    /// Opens the files of a directory.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut days = BTreeMap::new();
        let entries = std::fs::read_dir(directory).map_err(|error| StoreError::Unavailable(error.into()))?;
        for entry in entries {
            let path = entry.map_err(|error| StoreError::Unavailable(error.into()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            let day = name.strip_prefix("day-").and_then(|rest| rest.strip_suffix(".redb"));
            if let Some(day) = day.and_then(|day| day.parse().ok()) {
                days.insert(Day(day), Arc::new(open_file(&path)?));
            }
        }
        Ok(Self { directory: directory.to_owned(), days: RwLock::new(days) })
    }

    fn path(&self, day: Day) -> PathBuf {
        self.directory.join(format!("day-{:06}.redb", day.0))
    }

    fn day(&self, day: Day) -> Option<Arc<Database>> {
        self.days.read().unwrap_or_else(PoisonError::into_inner).get(&day).cloned()
    }

    fn day_or_new(&self, day: Day) -> Result<Arc<Database>, StoreError> {
        if let Some(held) = self.day(day) {
            return Ok(held);
        }
        let database = Arc::new(open_file(&self.path(day))?);
        self.days.write().unwrap_or_else(PoisonError::into_inner).insert(day, Arc::clone(&database));
        Ok(database)
    }

    /// Writes a generation. When this returns, all of it is durable in the tables. Rows older than `oldest` are left
    /// out: retention has dropped their day already.
    pub(super) fn merge(&self, generation: &Generation, oldest: Day) -> Result<(), StoreError> {
        let mut rows: BTreeMap<Day, DayRows<'_>> = BTreeMap::new();
        for (key, record) in &generation.messages {
            // Of a message's key the id comes first.
            let id = key.first_chunk().and_then(|id| MessageId::from_bytes(*id).ok());
            if let Some(id) = id {
                rows.entry(Day::of(id.time())).or_default().messages.push((key, record.as_ref()));
            }
        }
        for (key, item) in &generation.items {
            rows.entry(Day::of(item.id.time())).or_default().items.push((key, item));
        }
        for key in &generation.fetched {
            if let Some(id) = id_of(key) {
                rows.entry(Day::of(id.time())).or_default().fetched.push(key);
            }
        }
        for (day, rows) in rows.into_iter().filter(|(day, _)| *day >= oldest) {
            write_day(&*self.day_or_new(day)?, &rows).map_err(engine)?;
        }
        Ok(())
    }

    pub(super) fn message(&self, organization: OrganizationId, id: MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(database) = self.day(Day::of(id.time())) else { return Ok(None) };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let Some(table) = existing(database.begin_read()?.open_table(MESSAGES))? else { return Ok(None) };
            Ok(table.get(message_key(organization, id))?.map(|record| record.value().to_vec()))
        };
        read().map_err(engine)
    }

    pub(super) fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let first = item_key(organization, user, range.first_bytes());
        let last = item_key(organization, user, range.last_bytes());
        let mut items = Vec::new();
        for database in self.days_of(range) {
            let mut read = || -> Result<bool, redb::Error> {
                let Some(table) = existing(database.begin_read()?.open_table(ITEMS))? else { return Ok(true) };
                for row in table.range(first..=last)?.take(limit - items.len()) {
                    let (key, value) = row?;
                    let Some(item) = item_of(&key.value(), &value.value()) else { return Ok(false) };
                    items.push(item);
                }
                Ok(true)
            };
            if !read().map_err(engine)? {
                return Err(StoreError::Corrupt("a mailbox row cannot be read".to_owned()));
            }
            if items.len() == limit {
                break;
            }
        }
        Ok(items)
    }

    pub(super) fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let (first, last) = (fetched_key(client, range.first_bytes()), fetched_key(client, range.last_bytes()));
        let mut ids = Vec::new();
        for database in self.days_of(range) {
            let mut read = || -> Result<(), redb::Error> {
                let Some(table) = existing(database.begin_read()?.open_table(FETCHED))? else { return Ok(()) };
                for row in table.range(first..=last)?.take(limit - ids.len()) {
                    ids.extend(id_of(&row?.0.value()));
                }
                Ok(())
            };
            read().map_err(engine)?;
            if ids.len() == limit {
                break;
            }
        }
        Ok(ids)
    }

    /// Returns those of `ids` that are here, in their order, which is ascending.
    pub(super) fn fetched_among(
        &self,
        client: &ClientAddress,
        ids: &[MessageId],
    ) -> Result<Vec<MessageId>, StoreError> {
        let mut held = Vec::new();
        for ids in ids.chunk_by(|one, next| Day::of(one.time()) == Day::of(next.time())) {
            let Some(database) = ids.first().and_then(|id| self.day(Day::of(id.time()))) else { continue };
            let mut read = || -> Result<(), redb::Error> {
                let Some(table) = existing(database.begin_read()?.open_table(FETCHED))? else { return Ok(()) };
                for id in ids {
                    if table.get(fetched_key(client, *id.as_bytes()))?.is_some() {
                        held.push(*id);
                    }
                }
                Ok(())
            };
            read().map_err(engine)?;
        }
        Ok(held)
    }

    fn days_of(&self, range: IdRange) -> Vec<Arc<Database>> {
        let (first, last) = range.times();
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        days.range(Day::of(first)..=Day::of(last)).map(|(_, database)| Arc::clone(database)).collect()
    }

    /// Deletes the files of days before `oldest`, and returns how many. Readers that are in one finish; then its disk
    /// space is free.
    pub(super) fn drop_before(&self, oldest: Day) -> Result<usize, StoreError> {
        let expired: Vec<Day> = {
            let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
            let kept = days.split_off(&oldest);
            std::mem::replace(&mut *days, kept).into_keys().collect()
        };
        for day in &expired {
            std::fs::remove_file(self.path(*day)).map_err(|error| StoreError::Unavailable(error.into()))?;
        }
        Ok(expired.len())
    }
}

/// The rows of one day, each in the order of its table.
#[derive(Default)]
struct DayRows<'a> {
    messages: Vec<(&'a MessageKey, &'a [u8])>,
    items: Vec<(&'a ItemKey, &'a Item)>,
    fetched: Vec<&'a FetchedKey>,
}

fn write_day(database: &Database, rows: &DayRows<'_>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Without it, a file that was not closed takes seconds a gigabyte to open.
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(MESSAGES)?;
        for (key, record) in &rows.messages {
            table.insert(*key, *record)?;
        }
        let mut table = transaction.open_table(ITEMS)?;
        for (key, item) in &rows.items {
            table.insert(*key, item_value(item))?;
        }
        let mut table = transaction.open_table(FETCHED)?;
        for key in &rows.fetched {
            table.insert(*key, ())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn open_file(path: &Path) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(engine)
}

/// A table that nothing was written to yet is not there.
pub(super) fn existing<T>(opened: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
