//! How a store opens, and what it waits for; how its tables come to be.

use aws_sdk_dynamodb::types::AttributeValue;

use super::*;
use crate::store::dynamodb::schema::{TABLES, VERSION};
use crate::store::dynamodb::{Opener, examine};

/// Sets the version that the schema is at.
async fn set_version(guard: &Session, settings: &DynamodbSettings, version: u64) {
    let put = guard.client.put_item().table_name(format!("{}_schema_version", settings.address.prefix));
    let put = put.item("component", AttributeValue::S("countersign".to_owned()));
    put.item("version", AttributeValue::N(version.to_string())).send().await.unwrap();
}

fn opener(settings: &DynamodbSettings) -> Opener {
    open(settings.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy)).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_created_once_by_three_at_once_and_again_by_none() {
    let settings = settings().await;

    let at_once = futures_util::future::join_all((0..3).map(|_| create_schema(&settings, &SystemClock))).await;
    let again = create_schema(&settings, &SystemClock).await.unwrap();

    let done: Vec<String> = at_once.into_iter().flat_map(|created| created.unwrap()).collect();
    assert_eq!(done.iter().filter(|done| *done == "version 1: all tables").count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|done| done.ends_with(" was made")).count(), TABLES.len(), "{done:?}");
    assert_eq!(again, [format!("the schema is at version {VERSION}; this program needs {VERSION}: nothing to do")]);
    let (_store, guard) = opened(settings.clone()).await;
    for table in &TABLES {
        let name = table.full_name(&settings.address);
        let described =
            guard.session().client.describe_table().table_name(&name).send().await.unwrap().table.unwrap();
        assert_eq!(described.deletion_protection_enabled, Some(true), "{name}");
        assert_eq!(described.billing_mode_summary.unwrap().billing_mode.unwrap().as_str(), "PAY_PER_REQUEST");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_its_schema_and_says_so() {
    let settings = settings().await;
    let (store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    let waits =
        guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("no tables"))).await;
    let refused = store.registry.user(client().organization, client().user).await;
    create_schema(&settings, &SystemClock).await.unwrap();

    assert!(matches!(waits, Opening::Waiting(why) if why.contains("run countersignd schema")));
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    guard.opened().await;
    assert!(store.registry.user(client().organization, client().user).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_creates_its_schema_where_it_may() {
    let settings = DynamodbSettings { schema: SchemaAtStart::Create, ..settings().await };
    let (_store, guard) = opened(settings.clone()).await;
    assert_eq!(guard.scan(&format!("{}_schema_version", settings.address.prefix)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_a_newer_schema_than_there_is_and_accepts_one_newer_than_it_needs() {
    let settings = settings().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let (_store, guard) = opened(settings.clone()).await;

    set_version(guard.session(), &settings, VERSION - 1).await;
    let (_store, mut older) = begin(settings.clone(), Arc::new(SystemClock));
    let waits = older.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("version"))).await;
    set_version(guard.session(), &settings, VERSION + 1).await;
    older.opened().await;

    assert!(matches!(waits, Opening::Waiting(why) if why.contains("at version 0, this program needs 1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_for_dynamodb_and_says_so() {
    let settings = DynamodbSettings { endpoint: Some("http://127.0.0.1:1".to_owned()), ..settings().await };
    let (_store, mut guard) = begin(settings.clone(), Arc::new(SystemClock));

    let waits = guard.waits_for(|opening| matches!(opening, Opening::Waiting(why) if why.contains("DynamoDB"))).await;

    assert_eq!(waits, Opening::Waiting(format!("DynamoDB in {REGION} cannot be used; the log says why")));
    assert!(opener(&settings).try_open().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_at_tables_their_expiry_and_their_version() {
    let settings = settings().await;
    let said = async || {
        let findings = examine(&settings).await;
        let text = |finding: &Result<String, String>| match finding {
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("FAILED {text}"),
        };
        findings.iter().map(text).collect::<Vec<_>>().join("\n")
    };

    let without = said().await;
    create_schema(&settings, &SystemClock).await.unwrap();
    let well = said().await;
    let (_store, guard) = opened(settings.clone()).await;
    let client = &guard.session().client;
    let mailbox = format!("{}_mailbox", settings.address.prefix);
    let off = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder().enabled(false).attribute_name("expires");
    let off = client.update_time_to_live().table_name(&mailbox).time_to_live_specification(off.build().unwrap());
    off.send().await.unwrap();
    let fetched = format!("{}_fetched", settings.address.prefix);
    client.update_table().table_name(&fetched).deletion_protection_enabled(false).send().await.unwrap();
    client.delete_table().table_name(&fetched).send().await.unwrap();
    let ill = said().await;
    let made = create_schema(&settings, &SystemClock).await.unwrap();

    assert!(without.contains("FAILED there are no tables test-"), "{without}");
    assert!(!well.contains("FAILED") && well.contains("ok all 7 tables"), "{well}");
    assert!(well.contains("ok items expire in all 3 tables of messages"), "{well}");
    assert!(ill.contains(&format!("FAILED items of table {mailbox} never expire")), "{ill}");
    assert!(ill.contains(&format!("FAILED there is no table {fetched}: run countersignd schema")), "{ill}");
    assert!(made.contains(&format!("table {fetched} was made")), "{made:?}");
    assert!(!said().await.contains("FAILED"));
}
