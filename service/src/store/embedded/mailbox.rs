//! Messages: written to the journal in groups, merged into the tables in the background.
//!
//! One thread writes the journal: it takes all that waits, writes and syncs it once, makes it visible, and answers. Another
//! merges what has gathered into the tables, in large sorted batches, and then deletes the journal's segments. So a
//! write costs a part of one sequential sync, and the tables' random pages are written once for many rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_protocol::body::Item;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use tokio::sync::{mpsc, oneshot};

use super::journal::{CommitError, JournalError, Segment, replay, segments, sync_directory};
use super::pending::{Generation, Pending, Rows};
use super::record::{Record, decode, encode_fetched, encode_message};
use super::tables::{Day, Tables};
use crate::clock::Stopwatch;
use crate::store::{IdRange, Mailbox, StoreError, StoredMessage};

/// Writes that may wait for the journal; beyond it, callers wait to be let in.
const QUEUE: usize = 4096;
/// Records of one group, and bytes after which none is added: a group that takes long delays all in it.
const GROUP_RECORDS: usize = 1024;
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How long after one sync began the next one may. A sync costs some 100 µs of CPU, whatever it syncs, and wakes all who
/// wait for it; so there are at most 500 a second, and who writes alone waits for none but their own.
const SYNC_INTERVAL: Duration = Duration::from_millis(2);
/// Bytes of pending rows at which they are merged. Larger batches cost less for each row and more memory: twice this
/// much, while one is merged and the next one gathers.
const MERGE_BYTES: usize = 96 * 1024 * 1024;
/// How often a merge is tried that fails, as on a full disk, and how long it waits in between.
const MERGE_ATTEMPTS: u32 = 60;
const MERGE_PAUSE: Duration = Duration::from_secs(1);

/// Messages on this machine.
pub(super) struct EmbeddedMailbox {
    pending: Arc<Pending>,
    tables: Arc<Tables>,
    writes: mpsc::Sender<Command>,
}

enum Command {
    /// Write a record.
    Write(Write),
    /// Merge what has gathered, however little: so that retention finds it in the tables.
    Merge,
    /// Merge what has gathered, and end.
    Close,
}

struct Write {
    rows: Rows,
    record: Bytes,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The threads of the mailbox.
pub(super) struct Threads {
    commands: mpsc::Sender<Command>,
    writer: std::thread::JoinHandle<()>,
    merger: std::thread::JoinHandle<()>,
}

impl Threads {
    /// Has merged what has gathered so far, soon.
    pub(super) async fn merge(&self) {
        let _ = self.commands.send(Command::Merge).await;
    }

    /// Ends the threads, with everything merged. Writes are refused from now on.
    pub(super) fn close(self) {
        let _ = self.commands.blocking_send(Command::Close);
        let _ = self.writer.join();
        let _ = self.merger.join();
    }
}

/// Why a mailbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error("the journal cannot be used")]
    Journal(#[from] JournalError),
    /// The tables.
    #[error("the tables cannot be used")]
    Tables(#[from] StoreError),
    /// Something else about the directory.
    #[error("the directory cannot be used")]
    Directory(#[source] std::io::Error),
    /// Another process has it.
    #[error("another process uses this store")]
    InUse,
    /// A record of the journal is whole, but of no known kind.
    #[error("{0} holds records of an unknown kind: was it written by a newer version?")]
    UnknownRecord(PathBuf),
}

/// Opens the tables, replays the journal into them, and starts the threads.
pub(super) fn open(
    directory: &Path,
    oldest: Arc<dyn Fn() -> Day + Send + Sync>,
) -> Result<(EmbeddedMailbox, Arc<Tables>, Threads), OpenError> {
    let tables = Arc::new(Tables::open(directory)?);
    let number = recover(directory, &tables, oldest())?;
    let segment = Segment::create(directory, number)?;
    let pending = Arc::new(Pending::default());
    let (writes, queue) = mpsc::channel(QUEUE);
    // Of no capacity: a segment is handed over when the merger is free for it.
    let (merges, to_merge) = blocking::sync_channel(0);
    let writing = Writer { directory: directory.to_owned(), segment, pending: Arc::clone(&pending), merges };
    let merging = Merger {
        directory: directory.to_owned(),
        pending: Arc::clone(&pending),
        tables: Arc::clone(&tables),
        oldest,
        to_merge,
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let threads = Threads {
        commands: writes.clone(),
        writer: thread("journal").spawn(move || writing.run(queue)).map_err(OpenError::Directory)?,
        merger: thread("merge").spawn(move || merging.run()).map_err(OpenError::Directory)?,
    };
    Ok((EmbeddedMailbox { pending, tables: Arc::clone(&tables), writes }, tables, threads))
}

/// Merges what a journal of an earlier run holds, deletes it, and returns the number of the next segment.
fn recover(directory: &Path, tables: &Tables, oldest: Day) -> Result<u64, OpenError> {
    let found = segments(directory)?;
    let next = found.last().map_or(0, |(number, _)| number + 1);
    for (_, path) in &found {
        let mut generation = Generation::default();
        let mut unknown = false;
        replay(path, |record| match decode(&record) {
            Some(Record::Message(message)) => generation.insert(&Rows::of_message(&message), record),
            Some(Record::Fetched(client, ids)) => generation.insert(&Rows::Fetched(client, ids), record),
            None => unknown = true,
        })?;
        if unknown {
            return Err(OpenError::UnknownRecord(path.clone()));
        }
        if !generation.is_empty() {
            tracing::info!(
                messages = generation.messages.len(),
                "messages of the journal are merged into the tables"
            );
            tables.merge(&generation, oldest)?;
        }
        std::fs::remove_file(path).map_err(OpenError::Directory)?;
    }
    sync_directory(directory)?;
    Ok(next)
}

/// The thread that writes the journal.
struct Writer {
    directory: PathBuf,
    segment: Segment,
    pending: Arc<Pending>,
    /// The last segment whose records are all pending.
    merges: blocking::SyncSender<u64>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut group: Vec<Write> = Vec::with_capacity(GROUP_RECORDS);
        let mut broken = false;
        let mut closing = false;
        let mut last_sync = None;
        while !closing {
            let Some(first) = queue.blocking_recv() else { break };
            gather(last_sync.as_ref());
            let mut merge = false;
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Write(write) => {
                        bytes += write.record.len();
                        group.push(write);
                    }
                    Command::Merge => merge = true,
                    Command::Close => closing = true,
                }
                let room = group.len() < GROUP_RECORDS && bytes < GROUP_BYTES && !closing;
                next = if room { queue.try_recv().ok() } else { None };
            }
            if broken {
                group.drain(..).for_each(|write| write.refuse("the journal failed before; restart the service"));
            } else if !group.is_empty() {
                last_sync = Some(Stopwatch::start());
                match self.commit(&group) {
                    Ok(()) => merge |= self.publish(&mut group) >= MERGE_BYTES,
                    Err(error) => {
                        broken = matches!(error, CommitError::Unknown(_));
                        group.drain(..).for_each(|write| write.refuse("the journal cannot be written"));
                    }
                }
            }
            if merge || closing {
                self.hand_over();
            }
        }
    }

    fn commit(&mut self, group: &[Write]) -> Result<(), CommitError> {
        for write in group {
            self.segment.push(&write.record);
        }
        self.segment.commit().inspect_err(|failure| match failure {
            CommitError::Refused(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "the journal refused a group");
            }
            CommitError::Unknown(error) => tracing::error!(
                error = error as &dyn std::error::Error,
                "the journal is in an unknown state: nothing is written any more until the service restarts"
            ),
        })
    }

    /// Makes a durable group visible, and answers. In this order: who was answered sees it. Returns how many bytes
    /// are pending.
    fn publish(&mut self, group: &mut Vec<Write>) -> usize {
        let bytes = self.pending.insert(group.iter().map(|write| (&write.rows, write.record.clone())));
        for write in group.drain(..) {
            let _ = write.done.send(Ok(()));
        }
        bytes
    }

    /// Begins a new segment and hands the one before to the merger. Waits while the merger is at an earlier one: then
    /// writers are faster than the disk, and wait too.
    fn hand_over(&mut self) {
        if self.segment.length() == 0 {
            return;
        }
        match Segment::create(&self.directory, self.segment.number() + 1) {
            Ok(next) => {
                let last = std::mem::replace(&mut self.segment, next);
                let _ = self.merges.send(last.number());
            }
            // The old segment goes on; what has gathered is merged the next time.
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no new segment of the journal");
            }
        }
    }
}

/// Waits until so much time has passed since the last sync began that another one is due.
fn gather(last_sync: Option<&Stopwatch>) {
    let left = last_sync.and_then(|last| SYNC_INTERVAL.checked_sub(last.elapsed()));
    if let Some(left) = left {
        std::thread::sleep(left);
    }
}

impl Write {
    fn refuse(self, why: &'static str) {
        let _ = self.done.send(Err(StoreError::Unavailable(why.into())));
    }
}

/// The thread that merges.
struct Merger {
    directory: PathBuf,
    pending: Arc<Pending>,
    tables: Arc<Tables>,
    oldest: Arc<dyn Fn() -> Day + Send + Sync>,
    to_merge: blocking::Receiver<u64>,
}

impl Merger {
    fn run(self) {
        while let Ok(last_segment) = self.to_merge.recv() {
            // It may hold records of the next segment too. They are merged twice, which changes nothing.
            let generation = self.pending.freeze();
            let mut attempts = 0;
            while let Err(error) = self.tables.merge(&generation, (self.oldest)()) {
                tracing::error!(error = &error as &dyn std::error::Error, "pending rows cannot be merged yet");
                attempts += 1;
                if attempts == MERGE_ATTEMPTS {
                    // The rows stay pending and in the journal; writers wait at the next hand-over, and are refused.
                    return;
                }
                std::thread::sleep(MERGE_PAUSE);
            }
            self.pending.merged();
            if let Err(error) = self.delete_segments(last_segment) {
                // They are merged again at the next start, which changes nothing.
                tracing::warn!(error = &error as &dyn std::error::Error, "a merged segment cannot be deleted");
            }
        }
    }

    fn delete_segments(&self, last: u64) -> Result<(), JournalError> {
        for (number, path) in segments(&self.directory)? {
            if number <= last {
                std::fs::remove_file(&path).map_err(super::journal::io("delete", &path))?;
            }
        }
        Ok(())
    }
}

impl EmbeddedMailbox {
    async fn write(&self, rows: Rows, record: Vec<u8>) -> Result<(), StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let (done, outcome) = oneshot::channel();
        let write = Write { rows, record: record.into(), done };
        self.writes.send(Command::Write(write)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Mailbox for EmbeddedMailbox {
    async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
        self.write(Rows::of_message(message), encode_message(message)).await
    }

    async fn message(
        &self,
        organization: OrganizationId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let encoded = match self.pending.message(organization, id) {
            Some(encoded) => encoded,
            None => match self.tables.message(organization, id)? {
                Some(encoded) => encoded.into(),
                None => return Ok(None),
            },
        };
        match decode(&encoded) {
            Some(Record::Message(message)) => Ok(Some(message)),
            _ => Err(StoreError::Corrupt(format!("message {id} cannot be read"))),
        }
    }

    async fn items(
        &self,
        organization: OrganizationId,
        user: UserId,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        // Pending first: see there.
        let pending = self.pending.items(organization, user, range, limit);
        let mut items = self.tables.items(organization, user, range, limit)?;
        if !pending.is_empty() {
            items.extend(pending);
            items.sort_unstable_by_key(|item| item.id);
            items.dedup_by_key(|item| item.id);
            items.truncate(limit);
        }
        Ok(items)
    }

    async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.write(Rows::Fetched(*client, ids.to_vec()), encode_fetched(client, ids)).await
    }

    async fn fetched(
        &self,
        client: &ClientAddress,
        range: IdRange,
        limit: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let pending = self.pending.fetched(client, range, limit);
        let mut ids = self.tables.fetched(client, range, limit)?;
        if !pending.is_empty() {
            ids.extend(pending);
            ids.sort_unstable();
            ids.dedup();
            ids.truncate(limit);
        }
        Ok(ids)
    }

    async fn fetched_among(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let mut wanted = ids.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut held = self.pending.fetched_among(client, &wanted);
        wanted.retain(|id| held.binary_search(id).is_err());
        if !wanted.is_empty() {
            held.extend(self.tables.fetched_among(client, &wanted)?);
            held.sort_unstable();
        }
        Ok(held)
    }
}
