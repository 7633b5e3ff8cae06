use std::time::Duration;

use super::*;

fn with_file(text: &str) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("countersign.toml");
    std::fs::write(&path, text).unwrap();
    Settings::load(SettingsLayer::default(), Some(&path))
}

#[test]
fn the_defaults_are_those_of_the_protocol() {
    let settings = Settings::load(SettingsLayer::default(), None).unwrap();

    assert_eq!(settings.limits(), Limits::default());
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert!(settings.tls().is_none());
}

#[test]
fn a_flag_counts_before_the_file_and_the_file_before_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("countersign.toml");
    std::fs::write(&path, "retention = \"3days\"\nrecipients = 7\n").unwrap();
    let flags = SettingsLayer { recipients: Some(9), ..SettingsLayer::default() };

    let settings = Settings::load(flags, Some(&path)).unwrap();

    assert_eq!((settings.recipients, settings.retention.0), (9, Duration::from_secs(3 * 86_400)));
    assert_eq!(settings.list_page, 1_000);
}

#[test]
fn an_unknown_key_or_a_bad_value_is_an_error() {
    for text in ["retentoin = \"3days\"", "retention = 3", "retention = \"soon\"", "store = \"mysql://x\"", "="] {
        assert!(matches!(with_file(text), Err(ConfigError::Invalid { .. })), "{text}");
    }
}

#[test]
fn settings_that_could_lose_messages_are_refused() {
    for text in [
        "inconsistent_window = \"90s\"",
        "retention = \"300s\"",
        "tls_key = \"key.pem\"",
        "list_page = 10001",
        "clients_per_user = 0",
        "scylla_user = \"countersign\"",
        "scylla_rack = \"r1\"",
        "scylla_certificate = \"c.pem\"\nscylla_key = \"k.pem\"",
        "scylla_read_consistency = \"each_quorum\"",
        "store = \"scylla://a:9042/k\"\nretention = \"11years\"",
        "store = \"scylla://a:9042/k\"\ncontent_bytes = 9000000",
        "store = \"mariadb://u@a/k\"\ncontent_bytes = 9000000",
        "mariadb_key = \"k.pem\"",
        "mariadb_certificate = \"c.pem\"\nmariadb_key = \"k.pem\"",
        "valkey_store_timeout = \"99ms\"",
        "dynamodb_timeout = \"0s\"",
        "dynamodb_attempt_timeout = \"11s\"",
        "dynamodb_endpoint = \"127.0.0.1:8000\"",
    ] {
        assert!(matches!(with_file(text), Err(ConfigError::Contradiction(_))), "{text}");
    }
}

#[test]
fn a_store_is_read_strictly_and_written_as_it_is_read() {
    for text in
        ["embedded:./data", "memory:", "scylla://a:9042,b:9042/countersign", "mariadb://u@a:3306/k?indices=false"]
    {
        assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "embedded:",
        "memory",
        "memory:x",
        "scylla:a:9042/k",
        "scylla://a/k",
        "scylla://a:9042",
        "cql://a:9042/k",
        "mariadb:u@a/k",
        "mysql://u@a/k",
    ] {
        assert!(text.parse::<StoreUrl>().is_err(), "{text}");
    }
}

#[cfg(feature = "store-valkey")]
#[test]
fn a_store_in_valkey_is_read_where_it_is_built_in_and_bounds_contents() {
    for text in ["valkey://u@a:7000,b:7001", "valkeys://a:6379"] {
        assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
    }
    for text in ["valkey:a:6379", "valkey://a:6379/0", "valkey://u:secret@a"] {
        assert!(text.parse::<StoreUrl>().is_err(), "{text}");
    }
    let large = with_file("store = \"valkey://a:1\"\ncontent_bytes = 9000000");
    assert!(matches!(large, Err(ConfigError::Contradiction(_))));
    assert!(with_file("store = \"valkey://a:1\"").unwrap().valkey_store().is_some());
}

#[cfg(not(feature = "store-valkey"))]
#[test]
fn a_store_in_valkey_is_refused_by_the_name_of_the_feature_where_it_is_not_built_in() {
    assert!("valkey://a:7000".parse::<StoreUrl>().unwrap_err().contains("feature store-valkey"));
}

#[cfg(feature = "store-dynamodb")]
#[test]
fn a_store_in_dynamodb_is_read_strictly_and_takes_no_more_than_its_items_hold() {
    let text = "dynamodb://eu-central-1/countersign";
    assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
    for text in ["dynamodb:", "dynamodb:a/b", "dynamodb://a", "dynamodb://a:8000/b"] {
        assert!(text.parse::<StoreUrl>().is_err(), "{text}");
    }
    for limit in ["content_bytes = 9000000", "recipients = 5001", "statement_bytes = 400000"] {
        assert!(with_file(limit).is_ok(), "{limit}");
        let refused = with_file(&format!("store = \"{text}\"\n{limit}"));
        assert!(matches!(refused, Err(ConfigError::Contradiction(_))), "{limit}");
    }
}

#[cfg(not(feature = "store-dynamodb"))]
#[test]
fn without_its_feature_a_store_in_dynamodb_is_refused_in_words_and_its_settings_are_there() {
    let refused = "dynamodb://eu-central-1/countersign".parse::<StoreUrl>().unwrap_err();
    assert!(refused.contains("--features store-dynamodb"), "{refused}");
    assert!(!with_file("dynamodb_consistent_reads = false").unwrap().dynamodb_consistent_reads);
}

#[test]
fn every_setting_is_in_the_guide() {
    let guide = include_str!("../../../docs/configuration.md");
    for (name, variable, default) in Settings::NAMES {
        let row = guide.lines().find(|line| line.contains(&format!("`{variable}`")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {variable} ({name})"));
        assert!(default.is_empty() || row.contains(&format!("`{default}`")), "{variable} has another default");
    }
}
