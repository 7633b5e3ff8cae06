//! The conformance suites over the embedded store, and what is its own: opening again, merging, retention.

use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::ItemKind;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::store::{IdRange, StoredMessage, conformance};

const DAY: Duration = Duration::from_secs(86_400);
const RETENTION: EmbeddedSettings = EmbeddedSettings { retention: Duration::from_secs(14 * 86_400) };
const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
const USER: UserId = UserId::from_bytes([2; 16]);
const CLIENT: ClientAddress =
    ClientAddress { organization: ORGANIZATION, user: USER, client: ClientId::from_bytes([3; 16]) };
const NOW: UnixMicros = UnixMicros(1_795_400_000_000_000);

#[expect(clippy::unused_async, reason = "other backends' fixtures wait for a server")]
async fn fixture() -> (Store, (tempfile::TempDir, Sweeper)) {
    let directory = tempfile::tempdir().unwrap();
    let (store, sweeper) = open(directory.path(), RETENTION, Arc::new(SystemClock)).unwrap();
    (store, (directory, sweeper))
}

conformance::registry_suite!(fixture);
conformance::mailbox_suite!(fixture);

/// The mailbox suite again, with everything merged into the tables after every write.
mod merged {
    use async_trait::async_trait;
    use countersign_protocol::body::Item;

    use super::*;
    use crate::store::Mailbox;

    struct MergesAtOnce {
        inner: Arc<dyn Mailbox>,
        sweeper: Arc<Sweeper>,
    }

    impl MergesAtOnce {
        async fn merge(&self) {
            self.sweeper.threads.merge().await;
            // Taken only when the merge before it is done, so after two all is in the tables.
            self.sweeper.threads.merge().await;
        }
    }

    #[async_trait]
    impl Mailbox for MergesAtOnce {
        async fn put(&self, message: &StoredMessage) -> Result<(), StoreError> {
            self.inner.put(message).await?;
            self.merge().await;
            Ok(())
        }

        async fn message(
            &self,
            organization: OrganizationId,
            id: MessageId,
        ) -> Result<Option<StoredMessage>, StoreError> {
            self.inner.message(organization, id).await
        }

        async fn items(
            &self,
            organization: OrganizationId,
            user: UserId,
            range: IdRange,
            limit: usize,
        ) -> Result<Vec<Item>, StoreError> {
            self.inner.items(organization, user, range, limit).await
        }

        async fn add_fetched(&self, client: &ClientAddress, ids: &[MessageId]) -> Result<(), StoreError> {
            self.inner.add_fetched(client, ids).await?;
            self.merge().await;
            Ok(())
        }

        async fn fetched(
            &self,
            client: &ClientAddress,
            range: IdRange,
            limit: usize,
        ) -> Result<Vec<MessageId>, StoreError> {
            self.inner.fetched(client, range, limit).await
        }

        async fn fetched_among(
            &self,
            client: &ClientAddress,
            ids: &[MessageId],
        ) -> Result<Vec<MessageId>, StoreError> {
            self.inner.fetched_among(client, ids).await
        }
    }

    async fn fixture() -> (Store, tempfile::TempDir) {
        let (store, (directory, sweeper)) = super::fixture().await;
        let mailbox = Arc::new(MergesAtOnce { inner: store.mailbox, sweeper: Arc::new(sweeper) });
        (Store { mailbox, ..store }, directory)
    }

    conformance::mailbox_suite!(fixture);
}

fn message(time: UnixMillis, content: &[u8]) -> StoredMessage {
    StoredMessage {
        organization: ORGANIZATION,
        id: MessageId::of_message(&ORGANIZATION, &USER, time, &[USER], &Sha256Digest::of(content)),
        kind: ItemKind::Message,
        sender: USER,
        recipients: vec![USER],
        of: None,
        content: Bytes::copy_from_slice(content),
    }
}

/// Ends a store as its process would: nobody uses it any more, then it is closed.
async fn close(store: Store, sweeper: Sweeper) {
    drop(store);
    tokio::task::spawn_blocking(move || sweeper.close()).await.unwrap();
}

fn files(directory: &Path, prefix: &str) -> usize {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(prefix))).count()
}

fn around(time: UnixMillis) -> IdRange {
    IdRange::later_than(time.minus(20 * DAY), time.plus(DAY))
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again_with_and_without_closing() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let mut ids = Vec::new();
    for (round, closes) in [(0_u8, true), (1, false), (2, true), (3, false), (4, false)] {
        let (store, sweeper) = open(directory.path(), RETENTION, clock.clone()).unwrap();
        let sent = message(NOW.to_millis(), &[round]);
        store.mailbox.put(&sent).await.unwrap();
        store.mailbox.add_fetched(&CLIENT, &[sent.id]).await.unwrap();
        ids.push(sent.id);
        ids.sort_unstable();

        let items = store.mailbox.items(ORGANIZATION, USER, around(NOW.to_millis()), 100).await.unwrap();
        assert_eq!(items.iter().map(|item| item.id).collect::<Vec<_>>(), ids);
        assert_eq!(store.mailbox.fetched(&CLIENT, around(NOW.to_millis()), 100).await.unwrap(), ids);
        if closes {
            close(store, sweeper).await;
        } else {
            // As a crash leaves it: nothing merged, the journal as it is. Only the locks are gone.
            let copy = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(directory.path()).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
            close(store, sweeper).await;
            std::fs::remove_dir_all(directory.path()).unwrap();
            std::fs::rename(copy.keep(), directory.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let (_store, _sweeper) = open(directory.path(), RETENTION, clock.clone()).unwrap();

    assert!(matches!(open(directory.path(), RETENTION, clock), Err(OpenError::InUse)));
}

#[tokio::test]
async fn a_closed_store_refuses_writes() {
    let (store, (_directory, sweeper)) = fixture().await;
    tokio::task::spawn_blocking(move || sweeper.close()).await.unwrap();

    let refused = store.mailbox.put(&message(NOW.to_millis(), b"late")).await;

    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn retention_deletes_the_files_of_expired_days() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let mut sent = Vec::new();
    for days in 0..3 {
        let (store, sweeper) = open(directory.path(), RETENTION, clock.clone()).unwrap();
        let message = message(NOW.to_millis().minus(days * DAY), b"kept for a while");
        store.mailbox.put(&message).await.unwrap();
        sent.push(message);
        close(store, sweeper).await;
    }
    assert_eq!((files(directory.path(), "day-"), files(directory.path(), "journal-")), (3, 1));

    // A day longer than retention, as every store keeps what expires.
    clock.advance(14 * DAY + DAY / 2);
    let (store, sweeper) = open(directory.path(), RETENTION, clock.clone()).unwrap();
    sweeper.sweep().await;

    assert_eq!(files(directory.path(), "day-"), 2 - usize::from(NOW.0 / 1_000_000 % 86_400 >= 43_200));
    assert!(store.mailbox.message(ORGANIZATION, sent[0].id).await.unwrap().is_some());
    assert!(store.mailbox.message(ORGANIZATION, sent[2].id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_journal_is_not_opened_as_if_nothing_were() {
    let directory = tempfile::tempdir().unwrap();
    let (store, sweeper) = open(directory.path(), RETENTION, Arc::new(SystemClock)).unwrap();
    for content in [b"one", b"two"] {
        store.mailbox.put(&message(SystemClock.now_millis(), content)).await.unwrap();
    }
    let journal = directory.path().join("journal-0000000000000000");
    let mut damaged = std::fs::read(&journal).unwrap();
    close(store, sweeper).await;
    damaged[20] ^= 1;
    std::fs::write(&journal, damaged).unwrap();

    let refused = open(directory.path(), RETENTION, Arc::new(SystemClock));

    assert!(matches!(refused, Err(OpenError::Journal(JournalError::Damaged { .. }))));
}
