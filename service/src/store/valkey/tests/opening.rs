//! How a store opens, and what it waits for; how its schema comes to be.

use super::*;

fn checking(settings: ValkeyStoreSettings) -> ValkeyStoreSettings {
    ValkeyStoreSettings { schema: SchemaAtStart::Check, ..settings }
}

async fn single(options: &'static [&'static str]) -> Valkey {
    blocking(|| Valkey::start(Mode::Single, options)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_its_schema_and_says_so_and_one_that_is_too_new_is_told() {
    let valkey = single(&[PERSISTING]).await;
    let settings = checking(settings(&valkey, Durability::Local));
    let (store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    let waits = guard.waits_in_words("no schema").await;
    assert!(waits.contains("run countersignd schema"), "{waits}");
    let refused = store.registry.user(client().organization, client().user).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    let set = |version: u32| {
        let name = Key::Schema.name();
        assert_eq!(valkey.command(valkey.ports()[0], &["SET", &name, &version.to_string()]), "OK");
    };
    set(schema::VERSION - 1);
    guard.waits_in_words("is at version 0, this program needs 1: run countersignd schema").await;
    set(schema::VERSION + 1);
    guard.waits_in_words("newer than this program knows").await;
    let newer = create_schema(&settings, Arc::new(SystemEntropy)).await;
    assert!(matches!(newer, Err(CreateSchemaError::Newer(_))), "{newer:?}");
    set(schema::VERSION);
    guard.opened().await;
    assert!(store.registry.user(client().organization, client().user).await.unwrap().is_none());
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_created_by_three_at_once_and_again_by_none() {
    let valkey = blocking(|| Valkey::start(Mode::Cluster, &[PERSISTING])).await;
    let settings = checking(settings(&valkey, Durability::Replicated));

    let create = || create_schema(&settings, Arc::new(SystemEntropy));
    let at_once = futures_util::future::join_all((0..3).map(|_| create())).await;
    let again = create().await.unwrap();

    assert!(at_once.iter().all(Result::is_ok), "{at_once:?}");
    assert!(again[0].ends_with("in 3 primaries"), "{again:?}");
    assert_eq!(again[1], "the schema is at version 1: nothing to do");
    opened(settings.clone()).await;
    let well = examine(&settings, Arc::new(SystemEntropy)).await;
    let failed: Vec<_> = well.iter().filter_map(|finding| finding.as_ref().err()).collect();
    // Servers of tests have no bound of their memory, and everything else is well.
    assert!(failed.len() == 3 && failed.iter().all(|text| text.contains("has no maxmemory")), "{well:#?}");
    assert_eq!(well.len(), 2 + 3 * 3, "{well:#?}");
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_could_lose_what_they_confirm_are_not_used_until_they_do_not() {
    let valkey = single(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let settings = settings(&valkey, Durability::Local);
    let set = |name: &str, value: &str| {
        assert_eq!(valkey.command(valkey.ports()[0], &["CONFIG", "SET", name, value]), "OK");
    };
    let (_store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    guard.waits_in_words("is allkeys-lru, which deletes messages").await;
    let ill = examine(&settings, Arc::new(SystemEntropy)).await;
    assert!(ill.iter().any(|finding| matches!(finding, Err(text) if text.contains("allkeys-lru"))), "{ill:?}");
    set("maxmemory-policy", "noeviction");
    guard.waits_in_words("set appendonly to yes").await;
    set("appendonly", "yes");
    guard.opened().await;

    let (_store, mut guard) = begin(super::settings(&valkey, Durability::Replicated), Arc::new(SystemClock));
    let waits = guard.waits_in_words("has no replica that is online").await;
    assert!(waits.contains("set valkey_store_durability to local"), "{waits}");
    let well = examine(&settings, Arc::new(SystemEntropy)).await;
    assert!(well.iter().all(Result::is_ok), "{well:?}");
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_needs_no_files() {
    let valkey = single(&[]).await;
    let (store, _guard) = opened(settings(&valkey, Durability::Memory)).await;
    let client = client();

    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    store.mailbox.put(&sent).await.unwrap();

    assert_eq!(store.mailbox.message(client.organization, sent.id).await.unwrap(), Some(sent));
    assert_eq!(valkey.count("waitaof"), 0);
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_documented_permissions_can_do_everything_and_another_nothing() {
    let valkey = single(&[PERSISTING]).await;
    let page = include_str!("../../../../../docs/valkey-store.md");
    let rules = page.lines().find(|line| line.starts_with("ACL SETUSER countersign ")).unwrap();
    let rules: Vec<String> = rules.split(' ').map(|word| word.replace(">…", ">secret")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(valkey.command(valkey.ports()[0], &rules), "OK");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let url = |user: &str| format!("valkey://{user}@127.0.0.1:{}", valkey.ports()[0]).parse().unwrap();
    let plain = settings(&valkey, Durability::Local);
    let right = ValkeyStoreSettings { url: url("countersign"), password: file("right", "secret\n"), ..plain.clone() };
    let wrong = ValkeyStoreSettings { password: file("wrong", "other"), ..right.clone() };
    let unknown = ValkeyStoreSettings { url: url("nobody"), ..right.clone() };

    let (store, _guard) = opened(right.clone()).await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    let entry = countersign_protocol::log::LogEntry { statement: "s".to_owned(), signatures: Vec::new() };
    store.mailbox.put(&sent).await.unwrap();
    store.mailbox.add_fetched(&client, &[sent.id]).await.unwrap();
    assert_eq!(store.mailbox.items(client.organization, client.user, everything(), 9).await.unwrap().len(), 1);
    assert_eq!(store.mailbox.fetched(&client, everything(), 9).await.unwrap().len(), 1);
    let now = SystemClock.now_millis();
    let today = IdRange::later_than(now.minus(Duration::from_secs(1)), now);
    assert!(store.mailbox.fetched(&client, today, 9).await.unwrap().len() < 2);
    assert_eq!(store.mailbox.fetched_among(&client, &[sent.id]).await.unwrap().len(), 1);
    assert_eq!(store.mailbox.message(client.organization, sent.id).await.unwrap(), Some(sent));
    store.registry.append(client.organization, 0, &entry).await.unwrap();
    assert_eq!(store.registry.log(client.organization, 0, 9).await.unwrap().len(), 1);
    assert!(store.registry.users(client.organization, None, 9).await.unwrap().is_empty());
    assert!(store.registry.user(client.organization, client.user).await.unwrap().is_none());
    store.registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap();
    assert_eq!(store.registry.clients(client.organization, client.user).await.unwrap().len(), 1);
    assert!(store.registry.free_place(&client).await.unwrap());
    let denied = valkey.command(valkey.ports()[0], &["ACL", "LOG"]);
    assert!(!denied.contains("command"), "{denied}");
    for refused in [wrong, unknown] {
        let (_store, mut guard) = begin(refused, Arc::new(SystemClock));
        guard.waits_in_words("cannot be reached").await;
    }
    let unreadable = ValkeyStoreSettings { password: Some("/nowhere".into()), ..plain };
    assert!(open(unreadable, Arc::new(SystemClock), Arc::new(SystemEntropy)).is_err());
    blocking(move || drop(valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_server_waits_and_refuses_calls() {
    // A port of the loopback that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let (store, mut guard) =
        begin(settings_at(&format!("valkey://{free}"), Durability::Replicated), Arc::new(SystemClock));

    guard.waits_in_words("cannot be reached").await;
    let client = client();
    let sent = message_at(&client, SystemClock.now_millis(), &[client.user]);
    assert!(matches!(store.mailbox.put(&sent).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.registry.log(client.organization, 0, 1).await, Err(StoreError::Unavailable(_))));
}
