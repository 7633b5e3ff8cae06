//! The folder of vectors itself.

use std::collections::BTreeSet;
use std::path::Path;

/// Every file of vectors, with the test that runs it. A file that is not here would be run by nobody.
const RUNNERS: [(&str, &str); 16] = [
    ("authorizations.json", include_str!("passwords.rs")),
    ("certificates.json", include_str!("certificates.rs")),
    ("digests.json", include_str!("digests.rs")),
    ("identifiers.json", include_str!("ids.rs")),
    ("ids.json", include_str!("ids.rs")),
    ("log.json", include_str!("logs.rs")),
    ("logs.json", include_str!("logs.rs")),
    ("nonces.json", include_str!("nonces_and_times.rs")),
    ("password-signatures.json", include_str!("passwords.rs")),
    ("password.json", include_str!("passwords.rs")),
    ("receipts.json", include_str!("receipts.rs")),
    ("refused-requests.json", include_str!("request_signatures.rs")),
    ("requests.json", include_str!("request_signatures.rs")),
    ("signature-bases.json", include_str!("request_signatures.rs")),
    ("statements.json", include_str!("statements.rs")),
    ("times.json", include_str!("nonces_and_times.rs")),
];

#[test]
fn every_file_of_vectors_has_a_runner_and_is_documented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "json"))
        .collect();

    assert_eq!(files, RUNNERS.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (name, runner) in RUNNERS {
        assert!(runner.contains(&format!("\"{name}\"")), "nothing runs {name}");
        assert!(readme.contains(&format!("`{name}`")), "the README does not describe {name}");
    }
}
