//! Who may import whom, in the load tester's source, and which heavy crate has which home. The rule is the tables.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every module of the library, with the modules that it may name. `experiments → pages, load, workers → measure → ledger →
/// traffic, people → wire → keys → clock, random`, with `chaos` and `canary` over the ledger.
const MAY_NAME: [(&str, &[&str]); 23] = [
    (
        "experiments",
        &[
            "clock",
            "conversation",
            "deployment",
            "keys",
            "ledger",
            "load",
            "measure",
            "nodes",
            "pages",
            "people",
            "random",
            "readiness",
            "report",
            "statistics",
            "traffic",
            "wire",
        ],
    ),
    ("deployment", &["clock"]),
    ("pages", &["measure", "nodes", "report", "statistics", "wire"]),
    ("load", &["clock", "keys", "ledger", "measure", "people", "random", "traffic", "wire"]),
    ("workers", &["clock", "measure"]),
    ("chaos", &["clock", "keys", "ledger", "people", "random", "readiness", "wire"]),
    ("canary", &["clock", "keys", "ledger", "listener", "people", "random", "wire"]),
    ("peers", &["clock", "keys", "measure", "people", "random", "wire"]),
    ("measure", &["clock", "ledger", "wire"]),
    ("ledger", &["clock", "people", "random", "traffic", "wire"]),
    ("traffic", &["random"]),
    ("conversation", &["random"]),
    ("report", &["random"]),
    ("statistics", &["random"]),
    ("nodes", &["clock"]),
    ("people", &["keys", "wire"]),
    ("wire", &["clock", "keys", "random"]),
    ("keys", &["clock"]),
    ("listener", &[]),
    ("readiness", &["clock"]),
    ("clock", &[]),
    ("random", &[]),
    ("lib", &[]),
];

/// Crates of weight, each with its homes in the library.
const HOMES: [(&str, &[&str]); 11] = [
    ("sequoia_openpgp", &["keys"]),
    ("kube", &["deployment"]),
    ("k8s_openapi", &["deployment"]),
    ("rand_chacha", &["random"]),
    ("hyper", &["listener", "workers"]),
    ("hyper_util", &["listener", "workers"]),
    ("prometheus", &["canary", "measure"]),
    ("hdrhistogram", &["ledger", "measure", "peers"]),
    ("statrs", &["statistics"]),
    ("rustix", &["chaos", "clock", "nodes"]),
    ("countersign_service", &[]),
];

fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative.iter().next().unwrap().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            // The command is another crate, over the library's public face.
            if !["main", "cli", "command"].contains(&module.as_str()) {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
                texts.entry(module).or_default().push_str(code);
            }
        }
    }
    texts
}

/// Returns the first words after each `before` in the code, comments left out.
fn names_after(text: &str, before: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut names = BTreeSet::new();
    for line in code {
        for rest in line.split(before).skip(1) {
            let name: String = rest.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
            names.insert(name);
        }
    }
    names
}

#[test]
fn modules_name_only_what_they_may() {
    let sources = sources();
    let listed: BTreeSet<&str> = MAY_NAME.iter().map(|(module, _)| *module).collect();
    let existing: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    assert_eq!(listed, existing);
    for (module, may) in MAY_NAME {
        for named in names_after(&sources[module], "crate::") {
            let is_module = existing.contains(named.as_str());
            assert!(!is_module || named == module || may.contains(&named.as_str()), "{module} names {named}");
        }
    }
}

#[test]
fn heavy_crates_stay_at_home() {
    for (module, text) in sources() {
        for (name, homes) in HOMES {
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let named = code.iter().any(|line| {
                line.match_indices(&format!("{name}::")).any(|(at, _)| {
                    let before = line.get(..at).and_then(|before| before.chars().next_back());
                    !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
                })
            });
            assert!(!named || homes.contains(&module.as_str()), "{module} names {name}");
        }
    }
}
