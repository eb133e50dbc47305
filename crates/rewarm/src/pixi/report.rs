//! What was done to an environment of a pixi workspace, and how that is said.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Place;
use crate::commands::json_path;
use crate::ui::size;

/// Packages by what became of them, conda's and PyPI's together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) installed: usize,
    pub(crate) removed: usize,
    pub(crate) kept: usize,
}

impl Done {
    pub(super) fn add(&mut self, other: Self) {
        self.installed += other.installed;
        self.removed += other.removed;
        self.kept += other.kept;
    }

    pub(super) fn is_nothing(self) -> bool {
        (self.installed, self.removed) == (0, 0)
    }
}

/// What was done to an environment.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) environment: String,
    pub(crate) prefix: PathBuf,
    /// `None` if nothing had to be looked at.
    pub(crate) done: Option<Done>,
    /// Files that had to be downloaded, and their bytes.
    pub(crate) downloaded: (usize, u64),
    pub(crate) seconds: f64,
}

impl Installed {
    pub(super) fn new(place: &Place) -> Self {
        Self {
            environment: place.environment.clone(),
            prefix: place.prefix.clone(),
            done: None,
            downloaded: (0, 0),
            seconds: 0.0,
        }
    }

    /// One line on what was done and what was reused; `None` if nothing had to be looked at.
    pub(crate) fn summary(&self) -> Option<String> {
        let Done { installed, removed, kept } = self.done?;
        let (files, bytes) = self.downloaded;
        let mut parts = vec![match installed {
            0 => "nothing to install".to_owned(),
            1 => "installed 1 package".to_owned(),
            count => format!("installed {count} packages"),
        }];
        if removed > 0 {
            parts.push(format!("removed {removed}"));
        }
        if kept > 0 {
            parts.push(format!("kept {kept}"));
        }
        let origin = match (files, installed.saturating_sub(files)) {
            (0, 0) => String::new(),
            (0, _) => "; nothing downloaded".to_owned(),
            (_, 0) => format!("; downloaded {}", size(bytes)),
            (_, cached) => format!("; downloaded {}, {cached} from the cache", size(bytes)),
        };
        Some(format!("{}{origin} in {:.2} s", parts.join(", "), self.seconds))
    }

    pub(crate) fn as_json(&self) -> Value {
        let done = self.done;
        json!({
            "environment": json_path(&self.prefix),
            "name": self.environment,
            "installed": done.map_or(0, |done| done.installed),
            "removed": done.map_or(0, |done| done.removed),
            "kept": done.map(|done| done.kept),
            "downloaded_files": self.downloaded.0,
            "downloaded_bytes": self.downloaded.1,
        })
    }
}
