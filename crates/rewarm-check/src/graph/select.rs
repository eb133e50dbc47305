//! Which files have to be checked after some have changed.
//!
//! A pure function of the graph and the changes. What imports do not show means everything: files
//! that say how to check (configuration, lock files, plugins, `py.typed`, stub packages), and
//! changes that give unchanged files another name. Changed files that nobody would check and
//! nobody imports mean nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::names::{Id, Named};
use super::{ImportGraph, targets};

/// One file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute. A directory stands for everything below it.
    pub path: PathBuf,
    /// What happened to it. A file that was renamed is one that went and one that came.
    pub how: How,
}

/// What can happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It has another content.
    Edited,
    /// It was not there.
    Came,
    /// It is not there any more.
    Went,
}

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything that would be checked anyway.
    All {
        /// Why, as a clause about the change.
        because: String,
    },
    /// These files and no others; perhaps none.
    Files {
        /// As arguments of a checker in the request's working directory, in mypy's order.
        targets: Vec<PathBuf>,
        /// How many of them have changed themselves.
        changed: usize,
        /// How many files there are to choose from.
        of: usize,
    },
}

/// Configuration of mypy and of the environment, by name.
const DECISIVE: [&str; 14] = [
    "mypy.ini",
    ".mypy.ini",
    "pyproject.toml",
    "setup.cfg",
    "rewarm.toml",
    "pixi.toml",
    "pixi.lock",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "environment.yml",
    "environment.yaml",
    "conda-lock.yml",
    "py.typed",
];

impl ImportGraph {
    /// Chooses the files that have changed, and those that depend on them in any number of steps.
    pub fn select(&self, changes: &[Change]) -> Selection {
        if let Some(because) = self.decisive(changes) {
            return Selection::All { because };
        }
        let known: BTreeMap<&Path, Id> = self.files.iter().map(PathBuf::as_path).zip(0..).collect();
        let mut named = self.named.clone();
        let mut changed = BTreeSet::new();
        for change in changes.iter().filter(|change| is_module(&change.path)) {
            let id = known.get(&*change.path).copied();
            if change.how == How::Edited {
                changed.extend(id);
                continue;
            }
            // Where a file came or went, the roots may have been others.
            let anywhere = Named::anywhere(&change.path);
            match id {
                Some(id) => named[id as usize].merge(anywhere),
                None => named.push(anywhere),
            }
            let last = || Id::try_from(named.len() - 1).expect("fewer files than ids");
            changed.insert(id.unwrap_or_else(last));
        }
        let affected = self.affected(&named, &changed);
        if let Some(plugin) = self.affected_plugin(&affected, &known) {
            let because = format!("the plugin `{}` depends on what changed", self.display(plugin));
            return Selection::All { because };
        }
        let chosen = self.sources.iter().filter(|(id, _)| affected[*id as usize]);
        let ids: Vec<Id> = chosen.map(|(id, _)| *id).collect();
        Selection::Files {
            changed: ids.iter().filter(|id| changed.contains(id)).count(),
            of: self.sources.len(),
            targets: ids
                .into_iter()
                .map(|id| targets::argument(&self.files[id as usize], &self.cwd))
                .collect(),
        }
    }

    /// Marks what depends on these files. A file of which not all imports are known depends on
    /// whatever there is.
    fn affected(&self, named: &[Named], changed: &BTreeSet<Id>) -> Vec<bool> {
        if changed.is_empty() {
            return vec![false; named.len()];
        }
        let doubtful = (0..).zip(&self.imports).filter(|(_, imports)| imports.is_doubtful);
        let start = changed.iter().copied().chain(doubtful.map(|(id, _)| id));
        self.edges(named).reversed().reachable(start)
    }

    fn affected_plugin(&self, affected: &[bool], known: &BTreeMap<&Path, Id>) -> Option<&Path> {
        let is_affected = |plugin: &&PathBuf| {
            known.get(plugin.as_path()).is_some_and(|id| affected[*id as usize])
        };
        self.plugins.iter().find(is_affected).map(PathBuf::as_path)
    }

    /// Why everything has to be checked, if something has changed that says how to.
    fn decisive(&self, changes: &[Change]) -> Option<String> {
        let changes: Vec<_> = changes.iter().filter(|change| self.concerns(&change.path)).collect();
        if let Some(reason) = self.reasons.first().filter(|_| !changes.is_empty()) {
            return Some(reason.clone());
        }
        for Change { path, how } in changes {
            let shown = self.display(path);
            if path.is_dir() && self.files.iter().any(|file| file.starts_with(path)) {
                return Some(format!("the repository `{shown}` in this one changed"));
            }
            let is_extra = || {
                let relative = path.strip_prefix(&self.root);
                let extra = self.extra.as_ref();
                extra.is_some_and(|globs| relative.is_ok_and(|path| globs.is_match(path)))
            };
            if is_decisive(path) || self.plugins.contains(path) || is_extra() {
                return Some(format!("`{shown}` changed"));
            }
            let name = path.file_stem().unwrap_or_default();
            if *how != How::Edited && is_module(path) && name == "__init__" {
                let directory = path.parent().unwrap_or(path);
                if let Some(other) = self.renamed(directory, path) {
                    let other = self.display(other);
                    return Some(format!("with `{shown}` the module `{other}` has another name"));
                }
            }
            let is_outside = !path.starts_with(&self.root) && !self.files.contains(path);
            if is_outside && is_module(path) {
                return Some(format!("`{shown}` is outside the project"));
            }
        }
        None
    }

    /// Whether a changed path can matter at all: it is in the project, above it, or in a directory
    /// where modules are looked for.
    fn concerns(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
            || path.parent().is_some_and(|directory| self.root.starts_with(directory))
                && !is_module(path)
            || self.roots.iter().any(|root| !self.root.starts_with(root) && path.starts_with(root))
    }

    /// A file below `directory` beside `init`: its module's name begins in another directory now.
    fn renamed(&self, directory: &Path, init: &Path) -> Option<&Path> {
        let beside = |file: &&PathBuf| file.starts_with(directory) && *file != init;
        self.files.iter().find(beside).map(PathBuf::as_path)
    }

    /// For people: below the project where possible.
    fn display<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py" || extension == "pyi")
}

fn is_decisive(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let is_lock = |prefix: &str, suffix: &str| name.starts_with(prefix) && name.ends_with(suffix);
    let is_stubs = |part: std::path::Component<'_>| {
        part.as_os_str().to_str().is_some_and(|text| text.ends_with("-stubs"))
    };
    DECISIVE.contains(&name)
        || is_lock("pylock.", "toml")
        || is_lock("requirements", ".txt")
        || path.components().any(is_stubs)
}
