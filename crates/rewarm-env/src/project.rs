//! Finding a project from a directory inside it.
//!
//! Looking costs a few `stat` calls per directory and parses nothing; what a manifest says is read
//! on request. The nearest directory with one of the [`PROJECT_MARKERS`] is the root. Where several
//! lock files lie there, `pylock.toml` comes before `uv.lock`, and that before
//! `requirements.txt`; the others are listed, so that the choice can be reported.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use uv_normalize::{GroupName, PackageName};
use uv_pep440::VersionSpecifiers;

use crate::lock::{LockError, LockFile, LockFormat, Names, parse_toml, read_text};

/// The files that make a directory the root of a project.
pub const PROJECT_MARKERS: &[&str] =
    &["pixi.toml", "rewarm.toml", "pyproject.toml", "pylock.toml", "requirements.txt"];

/// Lock files in the order in which they are preferred.
pub const LOCK_FILES: &[(&str, LockFormat)] = &[
    ("pylock.toml", LockFormat::Pylock),
    ("uv.lock", LockFormat::Uv),
    ("requirements.txt", LockFormat::Requirements),
];

/// A project that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its directory.
    pub root: PathBuf,
    /// The first of the [`PROJECT_MARKERS`] that is there.
    pub marker: PathBuf,
    /// Its `pyproject.toml`, if it has one.
    pub pyproject: Option<PathBuf>,
    /// The lock file that counts.
    pub lock: Option<LockFile>,
    /// Lock files that are there and do not count.
    pub other_locks: Vec<LockFile>,
}

/// What `pyproject.toml` says about the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectMetadata {
    /// `project.name`.
    pub name: Option<PackageName>,
    /// `project.requires-python`.
    pub requires_python: Option<VersionSpecifiers>,
    /// `tool.uv.default-groups`.
    pub default_groups: Option<Names<GroupName>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    project: Option<ProjectTable>,
    tool: Option<ToolTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectTable {
    name: Option<PackageName>,
    requires_python: Option<VersionSpecifiers>,
}

#[derive(Deserialize)]
struct ToolTable {
    uv: Option<UvTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvTable {
    default_groups: Option<DefaultGroups>,
}

/// A list, or the word `all`.
#[derive(Deserialize)]
#[serde(untagged)]
enum DefaultGroups {
    List(Vec<GroupName>),
    Word(String),
}

impl Project {
    /// Looks in `start` and the directories above it; `start` is absolute.
    pub fn find(start: &Path) -> Option<Self> {
        start.ancestors().find_map(Self::at)
    }

    /// The project whose root is `root`, if it is one.
    pub fn at(root: &Path) -> Option<Self> {
        let marker =
            PROJECT_MARKERS.iter().map(|name| root.join(name)).find(|path| path.is_file())?;
        let pyproject = Some(root.join("pyproject.toml")).filter(|path| path.is_file());
        let mut locks = LOCK_FILES
            .iter()
            .map(|(name, format)| LockFile { path: root.join(name), format: *format })
            .filter(|lock| lock.path.is_file());
        let lock = locks.next();
        let other_locks = locks.collect();
        Some(Self { root: root.to_owned(), marker, pyproject, lock, other_locks })
    }

    /// Where the environment is, unless somebody says otherwise: `.venv` beside the manifest.
    pub fn default_environment(&self) -> PathBuf {
        self.root.join(".venv")
    }

    /// Reads `pyproject.toml`; nothing if there is none.
    pub fn metadata(&self) -> Result<ProjectMetadata, LockError> {
        let Some(path) = &self.pyproject else { return Ok(ProjectMetadata::default()) };
        let manifest: Manifest = parse_toml(path, &read_text(path)?)?;
        let (name, requires_python) = match manifest.project {
            Some(project) => (project.name, project.requires_python),
            None => (None, None),
        };
        let groups = manifest.tool.and_then(|tool| tool.uv).and_then(|uv| uv.default_groups);
        let default_groups = match groups {
            Some(DefaultGroups::List(groups)) => Some(Names::Some(groups)),
            Some(DefaultGroups::Word(word)) if word == "all" => Some(Names::All),
            Some(DefaultGroups::Word(_)) | None => None,
        };
        Ok(ProjectMetadata { name, requires_python, default_groups })
    }
}
