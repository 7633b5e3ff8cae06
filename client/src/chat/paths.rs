//! File names as people type them: `~`, quotes around what was dropped onto the terminal, and Tab.

use std::path::{Path, PathBuf};

/// Reads a path that was typed. `home` is what `~` stands for.
pub(super) fn typed(text: &str, home: Option<&Path>) -> PathBuf {
    let text = text.trim();
    let quoted = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = quoted('\'').or_else(|| quoted('"')).unwrap_or(text);
    let text = text.strip_prefix("file://").unwrap_or(text);
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// Completes a path as far as the files there leave no choice. Returns it as it is if they do not help.
pub(super) fn complete(text: &str, home: Option<&Path>) -> String {
    let (folder, start) = text.rsplit_once('/').map_or(("", text), |(folder, start)| (folder, start));
    let written = if text.contains('/') { format!("{folder}/") } else { String::new() };
    let looked = if written.is_empty() { PathBuf::from(".") } else { typed(&written, home) };
    let Ok(entries) = std::fs::read_dir(looked) else {
        return text.to_owned();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = name.starts_with(start) && (start.starts_with('.') || !name.starts_with('.'));
            // A name that could rule the terminal is not offered.
            let is_safe = super::model::printed(&name) == name;
            let end = if entry.path().is_dir() { "/" } else { "" };
            (is_wanted && is_safe).then(|| format!("{name}{end}"))
        })
        .collect();
    names.sort_unstable();
    let Some((first, rest)) = names.split_first() else {
        return text.to_owned();
    };
    let mut shared = first.clone();
    for name in rest {
        while !name.starts_with(&shared) {
            shared.pop();
        }
    }
    format!("{written}{shared}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_a_shell_would() {
        let home = Path::new("/home/alice");
        for (text, path) in [
            ("~/plan.pdf", "/home/alice/plan.pdf"),
            ("~", "/home/alice"),
            ("~bob/x", "~bob/x"),
            (" '/tmp/my plan.pdf' ", "/tmp/my plan.pdf"),
            ("\"/tmp/x\"", "/tmp/x"),
            ("file:///tmp/x", "/tmp/x"),
            ("plan.pdf", "plan.pdf"),
        ] {
            assert_eq!(typed(text, Some(home)), Path::new(path), "{text}");
        }
    }

    #[test]
    fn tab_completes_as_far_as_there_is_no_choice() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plan-a.txt", "plan-b.txt", "other.txt", ".hidden", "evil\u{1b}[2J"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let home = Some(folder.path());
        for (text, completed) in [
            ("~/p", "~/plan-"),
            ("~/plan-b", "~/plan-b.txt"),
            ("~/s", "~/sub/"),
            ("~/.h", "~/.hidden"),
            ("~/x", "~/x"),
            ("~/e", "~/e"),
            ("~/nowhere/x", "~/nowhere/x"),
        ] {
            assert_eq!(complete(text, home), completed, "{text}");
        }
    }
}
