//! Reads the golden vectors of `protocol/vectors`, which its README describes.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a file of vectors.
pub(crate) fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = std::fs::read_to_string(path).expect("the file of vectors can be read");
    serde_json::from_str(&text).expect("the file of vectors is JSON")
}

/// Returns the cases in a field of a file, such as `messages` or `ids/valid`; that there are none is a failure.
pub(crate) fn cases<T: DeserializeOwned>(name: &str, field: &str) -> Vec<T> {
    let file = file(name);
    let cases = file.pointer(&format!("/{field}")).expect("the file has this field").clone();
    let cases: Vec<T> = serde_json::from_value(cases).expect("the cases have the documented fields");
    assert!(!cases.is_empty(), "{name} has no case in {field}");
    cases
}
