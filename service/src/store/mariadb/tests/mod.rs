//! The conformance suites over a real MariaDB, with and without indices, and what is this store's own: schema, lost
//! answers, deadlines, retention, trips, log-in and TLS.

mod lost_answers;
#[path = "../../../../tests/end_to_end/support/mariadb.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which stop servers too")]
mod mariadb;
mod opening;
mod retained;

use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use mysql_async::prelude::Queryable as _;
use tokio::sync::OnceCell;

use super::settings::Database;
use super::statements::StatementName;
use super::*;
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::store::IdRange;
use crate::store::conformance::{self, client, message_at, random};
use mariadb::MariadbServer;

fn new_database() -> Database {
    format!("test_{:032x}", u128::from_be_bytes(random())).parse().unwrap()
}

/// The settings for a database on a server.
fn settings_at(server: &MariadbServer, database: &Database, indices: Indices) -> MariadbSettings {
    let mut address: settings::MariadbAddress =
        format!("{}@{}/{database}", MariadbServer::user(), server.address()).parse().unwrap();
    address.indices = indices;
    MariadbSettings {
        address,
        password: Some(server.password_file()),
        tls: None,
        connections: 8,
        statement_timeout: Duration::from_secs(30),
        schema: SchemaAtStart::Check,
        retention: Duration::from_secs(14 * 86_400),
        content_bytes: 1 << 20,
    }
}

async fn shared_server() -> &'static MariadbServer {
    tokio::task::spawn_blocking(MariadbServer::shared).await.unwrap()
}

/// The settings for a new database on the shared server.
async fn settings() -> MariadbSettings {
    settings_at(shared_server().await, &new_database(), Indices::Kept)
}

/// The settings for the database that most tests share: they use organizations of their own.
async fn shared_settings(indices: Indices) -> MariadbSettings {
    static WITH: OnceCell<MariadbSettings> = OnceCell::const_new();
    static WITHOUT: OnceCell<MariadbSettings> = OnceCell::const_new();
    let make = async || {
        let settings = settings_at(shared_server().await, &new_database(), indices);
        create_schema(&settings, &SystemClock).await.unwrap();
        settings
    };
    match indices {
        Indices::Kept => WITH.get_or_init(make).await.clone(),
        Indices::Left => WITHOUT.get_or_init(make).await.clone(),
    }
}

/// Ends the task that opened a store.
struct Guard {
    stop: CancellationToken,
    progress: watch::Receiver<Opening>,
    connection: Arc<Connection>,
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

    /// Returns the statements that were sent since the last time.
    fn sent(&self) -> Vec<StatementName> {
        std::mem::take(&mut *self.connection.live().unwrap().sent.lock().unwrap())
    }
}

fn begin(settings: MariadbSettings, clock: Arc<dyn Clock>) -> (Store, Guard) {
    let (store, opener, progress) = open(settings, clock, Arc::new(SystemEntropy)).unwrap();
    let (stop, connection) = (CancellationToken::new(), Arc::clone(&opener.connection));
    tokio::spawn(opener.run(stop.clone()));
    (store, Guard { stop, progress, connection })
}

async fn opened(settings: MariadbSettings) -> (Store, Guard) {
    let (store, mut guard) = begin(settings, Arc::new(SystemClock));
    guard.opened().await;
    (store, guard)
}

async fn fixture() -> (Store, Guard) {
    opened(shared_settings(Indices::Kept).await).await
}

mod with_indices {
    use super::{conformance, fixture};

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}

mod without_indices {
    use super::{Guard, Indices, Store, conformance, opened, shared_settings};

    async fn fixture() -> (Store, Guard) {
        opened(shared_settings(Indices::Left).await).await
    }

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}

/// All ids up to an hour from now.
fn everything() -> IdRange {
    IdRange::later_than(UnixMillis(0), SystemClock.now_millis().plus(Duration::from_secs(3_600)))
}

/// A connection of the test's own, to look behind the store's back.
async fn look(settings: &MariadbSettings) -> mysql_async::Conn {
    Connecting::prepare(settings).unwrap().connect_to(settings.address.database.as_str()).await.unwrap()
}

async fn count(look: &mut mysql_async::Conn, table: &str) -> u64 {
    look.query_first(format!("SELECT COUNT(*) FROM {table}")).await.unwrap().unwrap()
}

/// One statement is one trip, once it is prepared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_costs_as_many_statements_as_the_design_says() {
    let (store, guard) = fixture().await;
    let (mailbox, registry, client) = (&store.mailbox, &store.registry, client());
    let others: Vec<UserId> = (0..99).map(|_| UserId::from_bytes(random())).collect();
    let everyone: Vec<UserId> = others.into_iter().chain([client.user]).collect();
    let now = SystemClock.now_millis();
    let sent = message_at(&client, now, &everyone);
    let ids: Vec<MessageId> = (0..500).map(|_| message_at(&client, now, &[client.user]).id).collect();
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };

    mailbox.put(&sent).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::InsertMessage, StatementName::InsertItems]);
    mailbox.message(client.organization, sent.id).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectMessage]);
    mailbox.items(client.organization, client.user, everything(), 1_000).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectItems]);
    mailbox.add_fetched(&client, &ids).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::InsertFetched]);
    assert_eq!(mailbox.fetched(&client, everything(), 1_000).await.unwrap().len(), 500);
    assert_eq!(guard.sent(), [StatementName::SelectFetched]);
    assert_eq!(mailbox.fetched_among(&client, &ids[..100]).await.unwrap().len(), 100);
    assert_eq!(guard.sent(), [StatementName::SelectFetchedHundred]);
    registry.append(client.organization, 0, &entry).await.unwrap();
    registry.append(client.organization, 0, &entry).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::AppendEntry; 2]);
    registry.log(client.organization, 0, 500).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectLog]);
    registry.users(client.organization, None, 500).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectUsers]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectPlaces, StatementName::ClaimPlace]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectPlaces]);
    registry.free_place(&client).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectPlaces, StatementName::FreePlace]);
    registry.free_place(&client).await.unwrap();
    assert_eq!(guard.sent(), [StatementName::SelectPlaces]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_many_recipients_are_all_written_by_one_statement_of_the_server() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (store, _guard) = opened(MariadbSettings { connections: 1, ..settings.clone() }).await;
    let client = client();
    let everyone: Vec<UserId> = (0..100).map(|_| UserId::from_bytes(random())).collect();

    store.mailbox.put(&message_at(&client, SystemClock.now_millis(), &everyone)).await.unwrap();

    assert_eq!(count(&mut look(&settings).await, "mailbox").await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_in_time_and_the_next_one_is_answered_with_what_it_asked_for() {
    let settings = MariadbSettings { connections: 1, statement_timeout: Duration::from_secs(1), ..settings().await };
    create_schema(&settings, &SystemClock).await.unwrap();
    let (store, _guard) = opened(settings.clone()).await;
    let client = client();
    let [held_up, later] = [0, 1].map(|_| message_at(&client, SystemClock.now_millis(), &[client.user]));
    let mut look = look(&settings).await;
    look.query_drop("LOCK TABLES message WRITE, mailbox WRITE").await.unwrap();

    let refused = store.mailbox.put(&held_up).await;
    let unread = store.mailbox.message(client.organization, held_up.id).await;
    look.query_drop("UNLOCK TABLES").await.unwrap();
    store.mailbox.put(&later).await.unwrap();

    assert!(matches!(refused, Err(StoreError::Timeout)), "{refused:?}");
    assert!(matches!(unread, Err(StoreError::Timeout)), "{unread:?}");
    assert_eq!(store.mailbox.message(client.organization, later.id).await.unwrap(), Some(later));
    // It may be there by now, or may not.
    let late = store.mailbox.message(client.organization, held_up.id).await.unwrap();
    assert!(late.is_none_or(|late| late == held_up));
}

#[tokio::test]
async fn a_page_of_a_large_mailbox_is_read_from_where_it_begins() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (store, _guard) = opened(settings.clone()).await;
    let (client, first) = (client(), SystemClock.now_millis().minus(Duration::from_secs(200_000)));
    let mut look = look(&settings).await;
    // A message a second.
    let fill = "INSERT INTO mailbox (organization, user, id, kind, sender, size) SELECT ?, ?, \
                UNHEX(CONCAT(LPAD(HEX(? + 1000 * seq), 12, '0'), '80008000000000000000')), 0, ?, 5 FROM seq_0_to_99999";
    let (organization, user) = (client.organization.as_bytes(), client.user.as_bytes());
    look.exec_drop(fill, (organization, user, first.0, user)).await.unwrap();
    // What the server knows of the rows, it else learns some seconds later.
    look.query_drop("ANALYZE TABLE mailbox").await.unwrap();
    let begins = first.plus(Duration::from_secs(60_000));
    let range = IdRange::later_than(begins, UnixMillis::MAX_IN_ID);
    // Entries of the index that the server looked at.
    let passed =
        "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'handler_icp_attempts'";
    let mut passed_by = async |text: &str| {
        let before: u64 = look.query_first::<String, _>(passed).await.unwrap().unwrap().parse().unwrap();
        let values = (organization, user, range.first_bytes(), range.last_bytes(), 100);
        let _: Vec<mysql_async::Row> = look.exec(text, values).await.unwrap();
        look.query_first::<String, _>(passed).await.unwrap().unwrap().parse::<u64>().unwrap() - before
    };

    let page = store.mailbox.items(client.organization, client.user, range, 100).await.unwrap();
    let named = passed_by(StatementName::SelectItems.text()).await;
    let not_named = passed_by(StatementName::SelectItems.text_without_indices()).await;

    assert_eq!(page.len(), 100);
    assert_eq!(page[0].id.time(), begins.plus(Duration::from_secs(1)));
    assert!(named <= 100, "{named} entries of the index were passed for 100");
    // If it is not, naming the index has become needless.
    assert!(not_named > 50_000, "{not_named} are passed where it is not named");
}
