//! The open days of an engine that keeps one store a day.

use crate::engine::Day;
use anyhow::Result;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

pub struct Days<D>(RwLock<BTreeMap<Day, Arc<D>>>);

impl<D> Days<D> {
    pub fn new() -> Self {
        Self(RwLock::default())
    }

    /// The day's store, opened with `open` if it isn't yet.
    pub fn get(&self, day: Day, open: impl FnOnce() -> Result<D>) -> Result<Arc<D>> {
        if let Some(found) = self.0.read().expect("days").get(&day) {
            return Ok(found.clone());
        }
        let mut days = self.0.write().expect("days");
        if let Some(found) = days.get(&day) {
            return Ok(found.clone());
        }
        let opened = Arc::new(open()?);
        days.insert(day, opened.clone());
        Ok(opened)
    }

    /// Forgets a day; its store closes when the last reader lets go.
    pub fn take(&self, day: Day) -> Option<Arc<D>> {
        self.0.write().expect("days").remove(&day)
    }
}

/// The days that have an entry named `<day>.<extension>` in the folder.
pub fn present(dir: &std::path::Path, extension: &str) -> Result<Vec<Day>> {
    let mut days = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension)
            && let Some(day) = path.file_stem().and_then(|s| s.to_str()?.parse().ok())
        {
            days.push(day);
        }
    }
    Ok(days)
}
