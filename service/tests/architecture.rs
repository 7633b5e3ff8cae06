//! Who may import whom, in the service's source. The rule is the tables; the rest reads `use` lines and paths.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]
#![expect(clippy::string_slice, reason = "what is cut is ASCII")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every part of the service, with the parts that it may name. `main → app → http → api → (session, authority, delivery)
/// → store, ephemeral → protocol`; `http` and `api` are one layer in two folders: the stack ends in the handlers, and the
/// handlers answer in the stack's errors.
const MAY_NAME: [(&str, &[&str]); 25] = [
    ("main", &["app", "cli", "config", "doctor", "healthcheck", "http", "lifecycle", "telemetry"]),
    ("doctor", &["app", "causes", "clock", "config", "entropy", "ephemeral", "http", "store", "telemetry"]),
    (
        "app",
        &[
            "api",
            "authority",
            "clock",
            "config",
            "delivery",
            "entropy",
            "ephemeral",
            "http",
            "lifecycle",
            "openpgp",
            "rate_limit",
            "reload",
            "session",
            "store",
            "telemetry",
            "valkey",
        ],
    ),
    ("cli", &["config"]),
    // Settings name the types that they are made of, and a bound.
    ("config", &["authority", "ephemeral", "http", "store", "valkey"]),
    (
        "http",
        &[
            "api",
            "authority",
            "clock",
            "deadline",
            "delivery",
            "entropy",
            "lifecycle",
            "rate_limit",
            "session",
            "store",
            "telemetry",
        ],
    ),
    ("api", &["authority", "deadline", "delivery", "http", "rate_limit", "session"]),
    // Siblings do not import each other, but for sessions, which ask authority who is active.
    ("session", &["authority", "clock", "entropy", "ephemeral", "openpgp", "store"]),
    ("authority", &["clock", "coalesce", "ephemeral", "openpgp", "store"]),
    ("delivery", &["clock", "coalesce", "ephemeral", "store"]),
    ("store", &["causes", "clock", "deadline", "entropy", "valkey"]),
    ("ephemeral", &["causes", "clock", "entropy", "valkey"]),
    ("openpgp", &["clock"]),
    // Metrics have a label for each operation, count for whoever has something to count, and time the stores.
    ("telemetry", &["clock", "config", "delivery", "ephemeral", "http", "openpgp", "session", "store"]),
    ("causes", &[]),
    ("clock", &[]),
    ("coalesce", &[]),
    ("deadline", &[]),
    ("entropy", &[]),
    ("healthcheck", &[]),
    ("lifecycle", &[]),
    ("rate_limit", &[]),
    ("reload", &[]),
    ("valkey", &[]),
    ("lib", &[]),
];

/// Crates of weight, each with its homes; nobody else names them.
const HOMES: [(&str, &[&str]); 31] = [
    ("sequoia_openpgp", &[]),
    ("hyper", &["http", "healthcheck", "telemetry/otlp_client"]),
    ("hyper_util", &["http", "healthcheck", "telemetry/otlp_client"]),
    ("http", &["http", "api", "healthcheck", "telemetry"]),
    ("http_body", &["http", "api"]),
    ("http_body_util", &["http", "api", "healthcheck", "telemetry/otlp_client"]),
    ("tower", &["http", "api"]),
    ("matchit", &["http"]),
    ("rustls", &["http", "store/scylla", "telemetry/otlp_client"]),
    ("tokio_rustls", &["http", "telemetry/otlp_client"]),
    ("prometheus", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_http", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("redb", &["store/embedded"]),
    ("redis", &["ephemeral/valkey", "store/valkey", "valkey"]),
    ("scylla", &["store/scylla"]),
    ("mysql_async", &["store/mariadb"]),
    ("aws_config", &["store/dynamodb"]),
    ("aws_sdk_dynamodb", &["store/dynamodb"]),
    ("crc32fast", &["store/embedded"]),
    ("getrandom", &["entropy"]),
    ("governor", &["rate_limit"]),
    ("clap", &["cli", "config", "main"]),
    ("toml", &["config"]),
    ("rustix", &["openpgp", "store/embedded", "telemetry/metrics/process"]),
    ("moka", &["authority", "ephemeral/valkey"]),
    ("anyhow", &["app", "main", "healthcheck"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of the source, by its path without the ending, with its text without comments and unit tests.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(source()).unwrap().with_extension("").display().to_string();
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
                let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                files.insert(name, code.join("\n"));
            }
        }
    }
    // Tests, conformance suites and simulations may name what they like.
    files.retain(|name, _| !["tests", "conformance", "simulation"].iter().any(|what| name.contains(what)));
    assert!(files.len() > 40, "the source was not found");
    files
}

/// The part that a file belongs to.
fn part(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// Every first name after `prefix`, also within braces: `crate::{a::b, c}` names `a` and `c`.
fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let boundary = code[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '_');
        if !boundary {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            for item in list.split_inclusive([',', '{', '}']) {
                if depth == 0 {
                    names.push(identifier(item.trim_start()));
                }
                match item.chars().next_back() {
                    Some('{') => depth += 1,
                    Some('}') if depth == 0 => break,
                    Some('}') => depth -= 1,
                    _ => {}
                }
            }
        } else {
            names.push(identifier(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn identifier(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn arrows_go_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_NAME.into_iter().collect();
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let own = part(&file);
        let may = allowed.get(own).unwrap_or_else(|| panic!("{own} has no line in the table"));
        let named = names_after(&code, "crate::").into_iter().chain(names_after(&code, "countersign_service::"));
        // The simulation is compiled only for tests, and so is whatever names it: the places of its broken variants.
        let named = named.filter(|name| *name != "simulation");
        wrong.extend(
            named.filter(|name| *name != own && !may.contains(name)).map(|name| format!("{file} names {name}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_of_weight_have_their_homes() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| file == *home || file.starts_with(&format!("{home}/")));
            let path = format!("{name}::");
            let named = code.match_indices(&path).any(|(at, _)| {
                // `crate::http::` and `super::http::` are the service's own.
                let before = code[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
            });
            if named && !at_home {
                wrong.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_are_found_in_every_spelling_of_a_path() {
    let code = "use crate::{a::b, c::{d, e}, f};\nuse crate::g;\nlet x = crate::h::I; let y = mycrate::j;";
    assert_eq!(names_after(code, "crate::"), ["a", "c", "f", "g", "h"]);
}
