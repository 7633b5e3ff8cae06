//! The conformance suites over DynamoDB Local, and what is this store's own: schema, pages, parts, expiry, requests, and what a
//! proxy does between: throttling, lost answers, and batches that are done by half.

mod capacity;
#[path = "../../../../tests/end_to_end/support/dynamodb.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests")]
mod dynamodb;
mod lost_answers;
mod opening;
mod places;
mod rows;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::attributes::Attributes;
use super::opening::Connection;
use super::session::{Request, Session};
use super::settings::{DynamodbAddress, DynamodbSettings};
use super::{create_schema, open};
use crate::clock::{Clock, SystemClock};
use crate::entropy::SystemEntropy;
use crate::store::conformance::{self, client, message_at, random};
use crate::store::settings::SchemaAtStart;
use crate::store::{IdRange, Opening, Store, StoreError};
use dynamodb::{DynamodbProxy, DynamodbServer, Fate, REGION};

async fn server() -> &'static DynamodbServer {
    tokio::task::spawn_blocking(DynamodbServer::shared).await.unwrap()
}

/// Settings for new tables on the shared server.
async fn settings() -> DynamodbSettings {
    let prefix = format!("test-{:032x}", u128::from_be_bytes(random()));
    DynamodbSettings {
        address: DynamodbAddress { region: REGION.to_owned(), prefix },
        endpoint: Some(format!("http://{}", server().await.address())),
        consistent_reads: true,
        connect_timeout: Duration::from_secs(10),
        attempt_timeout: Duration::from_secs(30),
        attempts: NonZeroU32::new(6).unwrap(),
        timeout: Duration::from_mins(1),
        schema: SchemaAtStart::Check,
        retention: Duration::from_secs(14 * 86_400),
    }
}

/// The settings for the tables that most tests share: they use organizations of their own.
async fn shared_settings() -> DynamodbSettings {
    static SHARED: OnceCell<DynamodbSettings> = OnceCell::const_new();
    let make = async || {
        let settings = settings().await;
        create_schema(&settings, &SystemClock).await.unwrap();
        settings
    };
    SHARED.get_or_init(make).await.clone()
}

/// Ends the task that opens a store.
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

    fn session(&self) -> &Session {
        self.connection.session().unwrap()
    }

    /// Returns the requests that were sent since the last time.
    fn sent(&self) -> Vec<Request> {
        std::mem::take(&mut *self.session().sent.lock().unwrap())
    }

    /// Returns all items of a table of the test's own, as they are.
    async fn scan(&self, table: &str) -> Vec<Attributes> {
        let mut items = Vec::new();
        let mut pages =
            self.session().client.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            items.push(item.unwrap());
        }
        items
    }
}

fn begin(settings: DynamodbSettings, clock: Arc<dyn Clock>) -> (Store, Guard) {
    let (store, opener, progress) = open(settings, clock, Arc::new(SystemEntropy));
    let (stop, connection) = (CancellationToken::new(), Arc::clone(&opener.connection));
    tokio::spawn(opener.run(stop.clone()));
    (store, Guard { stop, progress, connection })
}

async fn opened(settings: DynamodbSettings) -> (Store, Guard) {
    let (store, mut guard) = begin(settings, Arc::new(SystemClock));
    guard.opened().await;
    (store, guard)
}

async fn fixture() -> (Store, Guard) {
    opened(shared_settings().await).await
}

/// A store behind a proxy that does what the test says.
async fn proxied(settings: DynamodbSettings) -> (Store, Guard, DynamodbProxy) {
    let proxy = DynamodbProxy::before(server().await.address()).await;
    let endpoint = Some(format!("http://{}", proxy.address()));
    let (store, guard) = opened(DynamodbSettings { endpoint, ..settings }).await;
    (store, guard, proxy)
}

mod consistent {
    use super::{conformance, fixture};

    conformance::registry_suite!(fixture);
    conformance::mailbox_suite!(fixture);
}

mod eventually_consistent {
    use super::{DynamodbSettings, Guard, Store, conformance, opened, shared_settings};

    async fn fixture() -> (Store, Guard) {
        opened(DynamodbSettings { consistent_reads: false, ..shared_settings().await }).await
    }

    conformance::mailbox_suite!(fixture);
}

/// All ids up to an hour from now.
fn everything() -> IdRange {
    IdRange::later_than(UnixMillis(0), SystemClock.now_millis().plus(Duration::from_secs(3_600)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_costs_as_many_requests_as_the_design_says() {
    let (store, guard) = fixture().await;
    let (mailbox, registry, client) = (&store.mailbox, &store.registry, client());
    let others: Vec<UserId> = (0..99).map(|_| UserId::from_bytes(random())).collect();
    let everyone: Vec<UserId> = others.into_iter().chain([client.user]).collect();
    let now = SystemClock.now_millis();
    let to_one = message_at(&client, now, &[client.user]);
    let to_all = message_at(&client, now, &everyone);
    let ids: Vec<MessageId> = (0..500).map(|_| message_at(&client, now, &[client.user]).id).collect();
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };
    let minutes = IdRange::later_than(now.minus(Duration::from_millis(1)), now);
    guard.sent();

    mailbox.put(&to_one).await.unwrap();
    assert_eq!(guard.sent(), [Request::PutMessage, Request::WriteItems]);
    mailbox.put(&to_all).await.unwrap();
    let four = [Request::WriteItems; 4];
    assert_eq!(guard.sent(), [&[Request::PutMessage][..], &four].concat(), "twenty-five recipients a request");
    mailbox.message(client.organization, to_all.id).await.unwrap();
    assert_eq!(guard.sent(), [Request::GetMessage]);
    mailbox.items(client.organization, client.user, minutes, 1_000).await.unwrap();
    assert_eq!(guard.sent(), [Request::QueryItems]);
    mailbox.add_fetched(&client, &ids).await.unwrap();
    assert_eq!(guard.sent(), [Request::WriteFetched; 20]);
    assert_eq!(mailbox.fetched(&client, minutes, 1_000).await.unwrap().len(), 500);
    assert_eq!(guard.sent(), [Request::QueryFetched]);
    assert_eq!(mailbox.fetched_among(&client, &ids[..100]).await.unwrap().len(), 100);
    assert_eq!(guard.sent(), [Request::GetFetched]);
    registry.append(client.organization, 0, &entry).await.unwrap();
    registry.append(client.organization, 0, &entry).await.unwrap();
    assert_eq!(guard.sent(), [Request::PutEntry; 2]);
    registry.log(client.organization, 0, 500).await.unwrap();
    assert_eq!(guard.sent(), [Request::QueryLog]);
    registry.users(client.organization, None, 500).await.unwrap();
    assert_eq!(guard.sent(), [Request::QueryUsers]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.sent(), [Request::GetPlaces, Request::GetPlaces, Request::PutPlaces]);
    registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(guard.sent(), [Request::GetPlaces]);
    registry.free_place(&client).await.unwrap();
    assert_eq!(guard.sent(), [Request::GetPlaces, Request::PutPlaces]);
    registry.free_place(&client).await.unwrap();
    assert_eq!(guard.sent(), [Request::GetPlaces]);
}
