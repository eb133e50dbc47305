//! Finding a project from a directory inside it.
//!
//! Looking costs a few `stat` calls per directory and parses nothing; what a manifest says is read
//! on request. See [`project_root`] for what makes a root. Where several
//! lock files lie there, `pylock.toml` comes before `uv.lock`, and that before
//! `requirements.txt`; the others are listed, so that the choice can be reported.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use uv_normalize::{GroupName, PackageName};
use uv_pep440::VersionSpecifiers;

use crate::lock::{LockError, LockFile, LockFormat, Names, parse_toml, read_text};

/// The files that make a directory the root of a project. One is enough, so the most frequent comes
/// first.
const MARKERS: [&str; 5] = ["pyproject.toml", "pixi.toml", "pylock.toml", "uv.lock", "rewarm.toml"];

/// A file that makes a directory the root of a project if no directory from there upwards is one
/// already: in a subdirectory of a project, it says what the documentation or a tool there needs.
const WEAK_MARKER: &str = "requirements.txt";

/// The root of the project that `start`, an absolute path, lies in.
///
/// Costs a few system calls per directory, and is all that the hot path of `run` needs to know.
pub fn project_root(start: &Path) -> Option<&Path> {
    let mut candidate = PathBuf::with_capacity(start.as_os_str().len() + 32);
    let mut has = |dir: &Path, name: &str| {
        candidate.clear();
        candidate.push(dir);
        candidate.push(name);
        rustix::fs::access(&candidate, rustix::fs::Access::EXISTS).is_ok()
    };
    start
        .ancestors()
        .find(|dir| MARKERS.iter().any(|name| has(dir, name)))
        .or_else(|| start.ancestors().find(|dir| has(dir, WEAK_MARKER)))
}

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
        project_root(start).map(Self::at)
    }

    /// The project whose root is `root`.
    pub fn at(root: &Path) -> Self {
        let pyproject = Some(root.join("pyproject.toml")).filter(|path| path.is_file());
        let mut locks = LOCK_FILES
            .iter()
            .map(|(name, format)| LockFile { path: root.join(name), format: *format })
            .filter(|lock| lock.path.is_file());
        let lock = locks.next();
        let other_locks = locks.collect();
        Self { root: root.to_owned(), pyproject, lock, other_locks }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_root_wins_and_requirements_alone_only_where_there_is_no_other() {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let docs = home.path().join("project/docs");
        std::fs::create_dir_all(&docs).expect("directories can be made");
        let touch = |path: &str| {
            std::fs::write(home.path().join(path), "").expect("files can be written");
        };
        touch("project/docs/requirements.txt");
        assert_eq!(project_root(&docs), Some(docs.as_path()));
        touch("project/pyproject.toml");
        assert_eq!(project_root(&docs), docs.parent());
        touch("project/docs/pylock.toml");
        assert_eq!(project_root(&docs), Some(docs.as_path()));
    }
}
