//! Where the prefixes of a workspace are.
//!
//! In `.pixi/envs` of the workspace, unless a `config.toml` of pixi sets `detached-environments`:
//! then below that directory, in one named after the workspace and the digest of its root, as pixi
//! names it. Which configuration files there are is the caller's to know: those of the system and of
//! the user, then `.pixi/config.toml` of the workspace, of which the last that says something counts.
//! All other settings are passed over.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::document::{Document, Table};
use super::error::ManifestError;
use super::{DEFAULT, Workspace};

/// The configuration of a workspace, relative to its root.
pub const CONFIG: &str = ".pixi/config.toml";

/// What is set for `detached-environments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detached {
    /// `false`: prefixes are in the workspace.
    No,
    /// `true`: below `envs` of pixi's cache.
    Cache,
    /// Below this directory; absolute.
    Directory(PathBuf),
}

/// What a configuration file of pixi sets for `detached-environments`, if it does.
///
/// # Errors
///
/// When the text is no TOML, or the value is neither a boolean nor an absolute path.
pub fn detached(path: &Path, text: &str) -> Result<Option<Detached>, ManifestError> {
    let document = Document::new(path, text);
    let parsed = document.parse()?;
    let mut table = Table::new(&document, "", parsed.span(), parsed.get_ref());
    let Some(value) = table.take("detached-environments") else { return Ok(None) };
    Ok(Some(match (value.as_boolean(), value.as_str()) {
        (Some(true), _) => Detached::Cache,
        (Some(false), _) => Detached::No,
        (None, Some(dir)) if Path::new(dir).is_absolute() => Detached::Directory(dir.into()),
        _ => return Err(value.expected("`true`, `false` or an absolute path")),
    }))
}

impl Workspace {
    /// The directory that the prefixes are in. `cache` is the directory of pixi's cache.
    pub fn environments_dir(&self, detached: &Detached, cache: &Path) -> PathBuf {
        let below = match detached {
            Detached::No => return self.root.join(".pixi/envs"),
            Detached::Cache => cache.join("envs"),
            Detached::Directory(dir) => dir.clone(),
        };
        let digest = xxh3_64(self.root.to_string_lossy().as_bytes());
        below.join(format!("{}-{digest}", self.display_name())).join("envs")
    }

    /// The prefix of an environment in the workspace itself.
    pub fn prefix(&self, environment: &str) -> PathBuf {
        let name = if environment.is_empty() { DEFAULT } else { environment };
        self.root.join(".pixi/envs").join(name)
    }
}
