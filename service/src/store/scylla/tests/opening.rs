//! Opening: schema, versions, log-in, TLS, and a server that is not there.

use super::schema::{Migration, Step};
use super::*;
use crate::store::settings::TlsClientFiles;

async fn session_for(keyspace: &Keyspace) -> scylla::client::session::Session {
    Connecting::prepare(&settings(keyspace)).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_schema_is_created_once_however_often_and_by_however_many() {
    let keyspace = new_keyspace();
    let settings = settings(&keyspace);

    let at_once = futures_util::future::join_all((0..3).map(|_| create_schema(&settings, &SystemClock))).await;
    let again = create_schema(&settings, &SystemClock).await.unwrap();

    assert!(at_once.into_iter().all(|created| created.is_ok()));
    assert_eq!(again, [format!("the schema is at version {VERSION}; this program needs {VERSION}: nothing to do")]);
    let session = session_for(&keyspace).await;
    assert_eq!(schema::version(&session, &keyspace).await.unwrap(), Some(VERSION));
    let (_store, mut guard) = begin(settings, Arc::new(SystemClock));
    guard.opened().await;
}

#[tokio::test]
async fn a_store_waits_for_its_schema_and_says_so() {
    let keyspace = new_keyspace();
    let (store, mut guard) = begin(settings(&keyspace), Arc::new(SystemClock));

    let waits =
        guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("no schema"))).await;
    let refused = store.registry.user(client().organization, client().user).await;
    create_schema(&settings(&keyspace), &SystemClock).await.unwrap();

    assert!(matches!(waits, Opening::Waiting(why) if why.contains("run countersignd schema")));
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    guard.opened().await;
    assert!(store.registry.user(client().organization, client().user).await.unwrap().is_none());
}

#[tokio::test]
async fn a_store_waits_for_a_newer_schema_than_there_is_and_accepts_one_newer_than_it_needs() {
    let keyspace = new_keyspace();
    create_schema(&settings(&keyspace), &SystemClock).await.unwrap();
    let session = session_for(&keyspace).await;
    let set = async |version: i32| {
        let delete = format!("DELETE FROM {keyspace}.schema_version WHERE component = 'store'");
        session.query_unpaged(delete, ()).await.unwrap();
        let insert =
            format!("INSERT INTO {keyspace}.schema_version (component, version) VALUES ('store', {version})");
        session.query_unpaged(insert, ()).await.unwrap();
    };

    set(VERSION - 1).await;
    let (_store, mut guard) = begin(settings(&keyspace), Arc::new(SystemClock));
    let old = format!("is at version {}, this program needs {VERSION}", VERSION - 1);
    guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains(&old))).await;
    set(VERSION + 1).await;

    guard.opened().await;
}

#[tokio::test]
async fn a_small_set_up_may_create_its_schema_at_the_start() {
    let keyspace = new_keyspace();
    let create = ScyllaSettings { schema: SchemaAtStart::Create, ..settings(&keyspace) };

    let pods: Vec<_> = (0..2).map(|_| begin(create.clone(), Arc::new(SystemClock))).collect();

    for (_store, mut guard) in pods {
        guard.opened().await;
    }
}

#[tokio::test]
async fn a_migration_adds_and_can_be_run_again_from_the_middle() {
    let keyspace = new_keyspace();
    let parameters = Parameters::of(&settings(&keyspace));
    let session = session_for(&keyspace).await;
    let later = |_: &Parameters| {
        vec![
            Step::Column("message", "priority", "tinyint"),
            Step::Table("label", "organization blob PRIMARY KEY, text text)".to_owned()),
        ]
    };
    let first = || Migration { version: 1, what: "all tables", steps: MIGRATIONS[0].steps };
    let both = [first(), Migration { version: 2, what: "priorities and labels", steps: later }];
    schema::migrate(&session, &parameters, &[first()], &SystemClock).await.unwrap();
    // As a program leaves it that died within the second version.
    session.query_unpaged(format!("ALTER TABLE {keyspace}.message ADD priority tinyint"), ()).await.unwrap();

    let done = schema::migrate(&session, &parameters, &both, &SystemClock).await.unwrap();
    let again = schema::migrate(&session, &parameters, &both, &SystemClock).await.unwrap();

    assert_eq!(done, ["version 2: priorities and labels"]);
    assert!(again[0].ends_with("nothing to do"));
    assert_eq!(schema::version(&session, &keyspace).await.unwrap(), Some(2));
    // A program that needs the first version only goes on working.
    let (_store, mut guard) = begin(settings(&keyspace), Arc::new(SystemClock));
    guard.opened().await;
}

#[tokio::test]
async fn the_server_is_known_by_its_certificate_and_we_by_our_password() {
    let keyspace = shared_keyspace().await;
    let tls = |ca| Some(TlsClientFiles { ca, own: None });
    let right = ScyllaSettings { tls: tls(CqlServer::shared().ca()), ..settings(keyspace) };
    let (_store, mut guard) = begin(right.clone(), Arc::new(SystemClock));
    guard.opened().await;

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let untrusted = ScyllaSettings { tls: tls(file("stranger.pem", &stranger.cert.pem())), ..right.clone() };
    let password = file("password", "wrong");
    let unknown = ScyllaSettings { login: Some(("cassandra".to_owned(), password)), ..right.clone() };
    let anonymous = ScyllaSettings { login: None, ..right.clone() };
    for refused in [untrusted, unknown, anonymous] {
        let (_store, mut guard) = begin(refused, Arc::new(SystemClock));
        guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("reached"))).await;
    }

    let no_password = ScyllaSettings { login: Some(("u".to_owned(), "/nowhere".into())), ..right.clone() };
    let no_ca = ScyllaSettings { tls: tls("/nowhere".into()), ..right.clone() };
    let empty_ca = ScyllaSettings { tls: tls(file("empty.pem", "")), ..right };
    for unusable in [no_password, no_ca, empty_ca] {
        assert!(Connecting::prepare(&unusable).is_err());
    }
}

#[tokio::test]
async fn a_store_without_a_server_waits_and_refuses_calls() {
    let mut nowhere = settings(shared_keyspace().await);
    // A port of the loopback that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    nowhere.address = format!("{free}/{}", nowhere.address.keyspace).parse().unwrap();

    let (store, mut guard) = begin(nowhere, Arc::new(SystemClock));

    guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("reached"))).await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    assert!(matches!(store.mailbox.put(&sent).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.registry.log(client.organization, 0, 1).await, Err(StoreError::Unavailable(_))));
}
