//! What a server says of itself.

/// Returns a field of an `INFO`, or of a `CLUSTER INFO`.
#[must_use]
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Returns the version of a server by its `INFO`, and its first number; zero where that cannot be read.
#[must_use]
pub fn version(info: &str) -> (&str, u32) {
    let version = field(info, "valkey_version").or_else(|| field(info, "redis_version")).unwrap_or("unknown");
    (version, version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0))
}
