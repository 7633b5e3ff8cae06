//! An error with its causes, in one line: for operators, and never for users.

/// Returns what an error and all its causes say, with `: ` between them.
#[must_use]
pub fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
