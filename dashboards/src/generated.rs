//! The files that this crate writes: to be committed, and found the same by whoever looks.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{boards, grafana, page, rules};

/// Where dashboards lie, from the root of the repository.
pub const DASHBOARDS: &str = "grafana/dashboards";
/// Where rules lie.
pub const RULES: &str = "prometheus/rules";
/// Where the page of all metrics lies.
pub const PAGE: &str = "docs/metrics.md";

/// Returns every file with its content, by its path from the root of the repository.
///
/// # Errors
/// If the rules cannot be read, which the page of metrics names.
pub fn files(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for dashboard in boards::all() {
        let text = serde_json::to_string_pretty(&grafana::write(&dashboard))? + "\n";
        files.push((Path::new(DASHBOARDS).join(format!("{}.json", dashboard.uid)), text));
    }
    files.push((PAGE.into(), page::write(&rules::read(&root.join(RULES))?)?));
    Ok(files)
}

/// Writes the files.
///
/// # Errors
/// The system's.
pub fn write(root: &Path) -> Result<()> {
    for (path, text) in files(root)? {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
