//! The conformance suites over a real CQL server, and what is this store's own: schema, lost answers, deadlines, times
//! to live, trips, log-in and TLS.

#[path = "../../../../tests/end_to_end/support/cql.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which start and stop nodes too")]
mod cql;
mod lost_answers;
mod opening;
mod proxy;
mod trips;

use std::collections::BTreeMap;
use std::sync::Mutex;

use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;
use tokio::sync::OnceCell;

use super::settings::{ConsistencyLevel, Keyspace, SerialLevel, Tablets};
use super::*;
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::store::conformance::{self, client, message_at, random};
use cql::CqlServer;

/// What is to be done before a statement is sent.
type Before = (StatementName, Box<dyn FnOnce() + Send>);

/// Counts statements by name, and can be told to do something just before one is sent.
#[derive(Default)]
struct Counted {
    counts: Mutex<BTreeMap<&'static str, usize>>,
    before: Mutex<Option<Before>>,
}

impl StatementObserver for Counted {
    fn executing(&self, statement: StatementName) {
        *self.counts.lock().unwrap().entry(statement.label()).or_default() += 1;
        if let Some((_, work)) = self.before.lock().unwrap().take_if(|(name, _)| *name == statement) {
            work();
        }
    }
}

impl Counted {
    /// Returns what was counted since the last time.
    fn take(&self) -> Vec<(&'static str, usize)> {
        std::mem::take(&mut *self.counts.lock().unwrap()).into_iter().collect()
    }

    /// Does something before a statement is sent the next time.
    fn before(&self, statement: StatementName, work: impl FnOnce() + Send + 'static) {
        *self.before.lock().unwrap() = Some((statement, Box::new(work)));
    }
}

fn new_keyspace() -> Keyspace {
    format!("unit_{:032x}", u128::from_be_bytes(random())).parse().unwrap()
}

/// The settings for a keyspace on the shared server.
fn settings(keyspace: &Keyspace) -> ScyllaSettings {
    let server = CqlServer::shared();
    ScyllaSettings {
        address: format!("{}/{keyspace}", server.address()).parse().unwrap(),
        read_consistency: ConsistencyLevel::LocalQuorum,
        write_consistency: ConsistencyLevel::LocalQuorum,
        serial_consistency: SerialLevel::Serial,
        datacenter: Some("datacenter1".to_owned()),
        rack: Some("rack1".to_owned()),
        login: Some((CqlServer::user().to_owned(), server.password_file())),
        tls: None,
        speculation_delay: Duration::from_millis(100),
        statement_timeout: Duration::from_secs(30),
        replication: "1".parse().unwrap(),
        tablets: Tablets::Avoid,
        schema: SchemaAtStart::Check,
        retention: Duration::from_secs(14 * 86_400),
    }
}

/// The keyspace that most tests share: they use organizations of their own.
async fn shared_keyspace() -> &'static Keyspace {
    static KEYSPACE: OnceCell<Keyspace> = OnceCell::const_new();
    KEYSPACE
        .get_or_init(async || {
            let keyspace = new_keyspace();
            create_schema(&settings(&keyspace), &SystemClock).await.unwrap();
            keyspace
        })
        .await
}

/// Ends the task that opened a store.
struct Guard {
    stop: CancellationToken,
    progress: watch::Receiver<Opening>,
    counted: Arc<Counted>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Guard {
    /// Waits until the store is open.
    async fn opened(&mut self) {
        self.waits_for(|opening| *opening == Opening::Open).await;
    }

    /// Waits until the store has come so far, and returns how far.
    async fn waits_for(&mut self, far: impl FnMut(&Opening) -> bool) -> Opening {
        let reached = tokio::time::timeout(Duration::from_secs(60), self.progress.wait_for(far)).await;
        let reached = reached.map(|outcome| outcome.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("not within a minute: the store is {:?}", self.progress.borrow()))
    }
}

fn begin(settings: ScyllaSettings, clock: Arc<dyn Clock>) -> (Store, Guard) {
    let counted = Arc::new(Counted::default());
    let (store, opener, progress) =
        open(settings, clock, Arc::new(SystemEntropy), Arc::clone(&counted) as _).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(opener.run(stop.clone()));
    (store, Guard { stop, progress, counted })
}

async fn fixture() -> (Store, Guard) {
    let (store, mut guard) = begin(settings(shared_keyspace().await), Arc::new(SystemClock));
    guard.opened().await;
    (store, guard)
}

conformance::registry_suite!(fixture);
conformance::mailbox_suite!(fixture);

/// A session of the test's own, to look behind the store's back.
async fn look() -> scylla::client::session::Session {
    Connecting::prepare(&settings(shared_keyspace().await)).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn rows_expire_a_day_after_retention_counted_from_their_ids_time() {
    let (store, _guard) = fixture().await;
    let (client, session) = (client(), look().await);
    let an_hour_ago = SystemClock.now_millis().minus(Duration::from_secs(3_600));
    let sent = message_at(&client, an_hour_ago, &[client.user]);

    store.mailbox.put(&sent).await.unwrap();
    store.mailbox.add_fetched(&client, &[sent.id]).await.unwrap();

    let keyspace = shared_keyspace().await;
    let organization = client.organization.as_bytes().as_slice();
    let user = client.user.as_bytes().as_slice();
    let id = sent.id.as_bytes().as_slice();
    let content = format!("SELECT TTL(content) FROM {keyspace}.message WHERE organization = ? AND id = ?");
    let content = session.query_unpaged(content, (organization, id)).await.unwrap().into_rows_result().unwrap();
    let row = format!(
        "SELECT TTL(size) FROM {keyspace}.mailbox WHERE organization = ? AND user = ? AND day = ? AND id = ?"
    );
    let day = super::rows::day(an_hour_ago);
    let row = session.query_unpaged(row, (organization, user, day, id)).await.unwrap().into_rows_result().unwrap();
    for left in [content.single_row::<(i32,)>().unwrap().0, row.single_row::<(i32,)>().unwrap().0] {
        let expected = 15 * 86_400 - 3_600;
        assert!((expected - 120..=expected).contains(&left), "{left} s instead of {expected} s are left");
    }
}
