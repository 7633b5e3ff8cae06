//! How a store opens, and what it waits for; how its schema comes to be, with and without indices.

use super::*;
use crate::store::settings::TlsClientFiles;

/// Sets the version that the schema is at.
async fn set_version(settings: &MariadbSettings, version: i32) {
    let set = format!("UPDATE schema_version SET version = {version}");
    look(settings).await.query_drop(set).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_created_once_by_three_at_once_and_again_by_none() {
    let settings = settings().await;

    let at_once = futures_util::future::join_all((0..3).map(|_| create_schema(&settings, &SystemClock))).await;
    let again = create_schema(&settings, &SystemClock).await.unwrap();

    let done: Vec<String> = at_once.into_iter().flat_map(|created| created.unwrap()).collect();
    assert_eq!(done.iter().filter(|done| *done == "version 1: all tables").count(), 1, "{done:?}");
    assert_eq!(again, [format!("the schema is at version {VERSION}; this program needs {VERSION}: nothing to do")]);
    opened(settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indices_are_dropped_and_made_again_and_rows_that_repeats_left_are_one_then() {
    let with = settings().await;
    let mut without = with.clone();
    without.address.indices = Indices::Left;
    let (store, mut guard) = begin(with.clone(), Arc::new(SystemClock));
    create_schema(&with, &SystemClock).await.unwrap();
    guard.opened().await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    let repeat = async || {
        for _ in 0..3 {
            store.mailbox.put(&sent).await.unwrap();
            store.mailbox.add_fetched(&client, &[sent.id]).await.unwrap();
        }
    };
    let read = async || {
        let items = store.mailbox.items(client.organization, client.user, everything(), 10).await.unwrap();
        let fetched = store.mailbox.fetched(&client, everything(), 10).await.unwrap();
        assert_eq!((items, fetched), (vec![sent.item()], vec![sent.id]));
        assert_eq!(store.mailbox.fetched_among(&client, &[sent.id]).await.unwrap(), [sent.id]);
        assert_eq!(store.mailbox.message(client.organization, sent.id).await.unwrap().as_ref(), Some(&sent));
    };
    let mut look = look(&with).await;
    let tables = ["message", "mailbox", "fetched"];

    repeat().await;
    for table in tables {
        assert_eq!(count(&mut look, table).await, 1, "{table}: the index refuses repeats");
    }
    let dropped = create_schema(&without, &SystemClock).await.unwrap();
    repeat().await;
    for table in tables {
        assert_eq!(count(&mut look, table).await, 4, "{table}");
    }
    read().await;
    let made = create_schema(&with, &SystemClock).await.unwrap();
    for table in tables {
        assert_eq!(count(&mut look, table).await, 1, "{table}");
    }
    read().await;

    assert_eq!((dropped.len(), made.len()), (3, 3));
    assert_eq!(dropped[0], "index by_id of message was dropped");
    assert_eq!(made[0], "index by_id of message was made");
    assert!(create_schema(&with, &SystemClock).await.unwrap()[0].ends_with("nothing to do"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_whole_though_repeats_have_left_rows() {
    let (store, _guard) = opened(shared_settings(Indices::Left).await).await;
    let client = client();
    let now = SystemClock.now_millis();
    let mut ids = Vec::new();
    for step in 0..7 {
        let sent = message_at(&client, now.minus(Duration::from_millis(step)), &[client.user]);
        for _ in 0..3 {
            store.mailbox.put(&sent).await.unwrap();
        }
        ids.push(sent.id);
    }
    ids.sort_unstable();

    for limit in 1..9 {
        let page = store.mailbox.items(client.organization, client.user, everything(), limit).await.unwrap();
        let page: Vec<MessageId> = page.into_iter().map(|item| item.id).collect();
        assert_eq!(page, ids[..limit.min(7)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_its_schema_and_says_so() {
    let settings = settings().await;
    let (store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    let waits =
        guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("no schema"))).await;
    let refused = store.registry.user(client().organization, client().user).await;
    create_schema(&settings, &SystemClock).await.unwrap();

    assert!(matches!(waits, Opening::Waiting(why) if why.contains("run countersignd schema")));
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    guard.opened().await;
    assert!(store.registry.user(client().organization, client().user).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_a_newer_schema_than_there_is_and_accepts_one_newer_than_it_needs() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();

    set_version(&settings, VERSION - 1).await;
    let (_store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));
    let old = format!("is at version {}, this program needs {VERSION}", VERSION - 1);
    guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains(&old))).await;
    set_version(&settings, VERSION + 1).await;

    guard.opened().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_set_up_may_create_its_schema_at_the_start() {
    let create = MariadbSettings { schema: SchemaAtStart::Create, ..settings().await };

    let pods: Vec<_> = (0..2).map(|_| begin(create.clone(), Arc::new(SystemClock))).collect();

    for (_store, mut guard) in pods {
        guard.opened().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_known_by_its_certificate_and_we_by_our_password() {
    let plain = shared_settings(Indices::Kept).await;
    let tls = |ca| Some(TlsClientFiles { ca, own: None });
    let right = MariadbSettings { tls: tls(shared_server().await.ca()), ..plain.clone() };
    let (_store, _guard) = opened(right.clone()).await;

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let untrusted = MariadbSettings { tls: tls(file("stranger.pem", &stranger.cert.pem())), ..plain.clone() };
    let unknown = MariadbSettings { password: Some(file("password", "wrong")), ..plain.clone() };
    let anonymous = MariadbSettings { password: None, ..plain.clone() };
    for refused in [untrusted, unknown, anonymous] {
        let (_store, mut guard) = begin(refused, Arc::new(SystemClock));
        guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("reached"))).await;
    }

    let no_password = MariadbSettings { password: Some("/nowhere".into()), ..plain.clone() };
    let no_ca = MariadbSettings { tls: tls("/nowhere".into()), ..plain.clone() };
    let empty_ca = MariadbSettings { tls: tls(file("empty.pem", "")), ..plain };
    for unusable in [no_password, no_ca, empty_ca] {
        assert!(Connecting::prepare(&unusable).is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_confirms_what_it_has_not_on_disk_is_not_used_until_it_has() {
    let server = tokio::task::spawn_blocking(MariadbServer::start).await.unwrap();
    let settings =
        MariadbSettings { schema: SchemaAtStart::Create, ..settings_at(&server, &new_database(), Indices::Kept) };
    server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    let (_store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    let why = "innodb_flush_log_at_trx_commit is 2";
    guard.waits_for(|opening| matches!(opening, Opening::Waiting(waits) if waits.contains(why))).await;
    let ill = examine(&settings).await;
    server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    guard.opened().await;
    let well = examine(&settings).await;

    assert!(ill.iter().any(|finding| matches!(finding, Err(text) if text.contains(why))), "{ill:?}");
    assert!(well.iter().all(Result::is_ok), "{well:?}");
    let mut demanding = settings;
    demanding.content_bytes = 1 << 30;
    demanding.connections = 1_000;
    demanding.address.indices = Indices::Left;
    let wrong = examine(&demanding).await;
    for part in ["max_allowed_packet", "max_connections", "has its indices, and its address says otherwise"] {
        assert!(wrong.iter().any(|finding| matches!(finding, Err(text) if text.contains(part))), "{wrong:?}");
    }
    // The server is stopped by what blocks.
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_server_waits_and_refuses_calls() {
    let mut nowhere = settings().await;
    // A port of the loopback that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    nowhere.address.port = free.port();

    let (store, mut guard) = begin(nowhere, Arc::new(SystemClock));

    guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("reached"))).await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    assert!(matches!(store.mailbox.put(&sent).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.registry.log(client.organization, 0, 1).await, Err(StoreError::Unavailable(_))));
}
