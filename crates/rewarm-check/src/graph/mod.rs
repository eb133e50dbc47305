//! How the sources of a project import each other, and what follows from a change.
//!
//! The graph has every listed source as a node, and edges that are always a superset of mypy's own:
//! a name means every file that it could mean (`names.rs`), and every import statement counts
//! (`imports.rs`). What mypy alone knows, the targets and where it looks, it is asked (`targets.rs`).
//! Nothing is checked here, and no history is read: which files changed is for the caller to say.

mod imports;
mod names;
mod pack;
mod reach;
mod select;
mod targets;

use std::collections::{BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Store};

use crate::key::{Snapshot, Subject};
use crate::listing;
use crate::request::{CheckError, Event, Request};
use crate::witness::{self, Table};

use imports::Imports;
use names::{Id, Named, Names};
use reach::Edges;

pub(crate) use pack::Pack;
pub use select::{Change, How, Selection};
pub(crate) use targets::Targets;

/// The sources of a project and their imports.
#[derive(Debug)]
pub struct ImportGraph {
    root: PathBuf,
    cwd: PathBuf,
    /// Absolute, in order.
    files: Vec<PathBuf>,
    named: Vec<Named>,
    imports: Vec<Imports>,
    /// Directories in which modules are looked for.
    roots: Vec<PathBuf>,
    /// The files that mypy would check, with the root of each.
    sources: Vec<(Id, Option<PathBuf>)>,
    /// Files that plugins are made of.
    plugins: BTreeSet<PathBuf>,
    /// Further inputs, as the request names them.
    extra: Option<globset::GlobSet>,
    /// Why imports do not tell everything.
    reasons: Vec<String>,
}

/// What a graph is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nodes: sources below the project, checked or not.
    pub files: usize,
    /// Pairs of files of which the first imports the second.
    pub imports: usize,
    /// Files in the largest set of files that all depend on each other.
    pub largest_cycle: usize,
}

impl ImportGraph {
    /// Reads the graph of what a request would check, from the store as far as it is known. `None` if
    /// mypy has something against the arguments, which it says when it runs.
    ///
    /// `now` is the time at which the caller began.
    pub fn of(
        store: &Store,
        request: &Request,
        now: SystemTime,
        events: &dyn Fn(Event),
    ) -> Result<Option<Self>, CheckError> {
        let mut request = request.clone();
        request.python = std::path::absolute(&request.python)
            .map_err(|source| CheckError::Interpreter { path: request.python.clone(), source })?;
        let subject = Subject::new(store, &request)?;
        let mut table = Table::load(store, &subject.root, now);
        let snapshot = Snapshot::take(&subject, &mut table)?;
        // Without the table the next lookup reads the files, that is all.
        let _ = table.save(store);
        let Some(targets) = Targets::of(store, &subject, &snapshot, events)? else {
            return Ok(None);
        };
        let path = |place| subject.places.path(place);
        let is_source = |path: &[u8]| path.ends_with(b".py") || path.ends_with(b".pyi");
        let mut contents: Vec<pack::Source> =
            snapshot.sources.iter().filter(|(path, _)| is_source(path)).cloned().collect();
        for source in targets.sources.iter().filter(|s| s.place.below_project().is_none()) {
            let Some(path) = path(&source.place) else { continue };
            let digest = witness::content(&path).unwrap_or_else(|_| Digest::of("unreadable"));
            contents.push((path.as_os_str().as_bytes().to_vec(), digest));
        }
        let imports = pack::imports(store, &subject.root, &contents, now);
        let files: Vec<_> =
            contents.iter().map(|(path, _)| listing::join(&subject.root, path)).collect();
        let ids: HashMap<&Path, Id> = files.iter().map(PathBuf::as_path).zip(0..).collect();
        let mut told = HashMap::new();
        let mut sources = Vec::new();
        let mut roots: BTreeSet<_> = targets.search.iter().filter_map(path).collect();
        for target in &targets.sources {
            let base = target.base.as_ref().and_then(path);
            roots.extend(base.clone());
            // A directory is a namespace package, which has no content.
            if let Some(id) = path(&target.place).and_then(|path| ids.get(&*path).copied()) {
                sources.push((id, base));
                told.insert(id, target.module.as_str());
            }
        }
        let within: Vec<_> = roots.iter().map(PathBuf::as_path).collect();
        let name = |(id, path): (Id, &PathBuf)| Named::new(path, &within, told.get(&id).copied());
        let named = (0..).zip(&files).map(name).collect();
        let plugins = targets.plugins.iter().filter_map(path).collect();
        let extra = crate::key::globs(&request.extra_inputs)?;
        let (root, cwd, roots) =
            (subject.root.clone(), subject.cwd.clone(), roots.into_iter().collect());
        let reasons = targets.reasons;
        drop(ids);
        Ok(Some(Self { root, cwd, files, named, imports, roots, sources, plugins, extra, reasons }))
    }

    /// The files that mypy would check, in its order.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|(id, _)| self.files[*id as usize].as_path())
    }

    /// The files that `file` may import, absolute and in order; itself is not among them.
    pub fn imports_of(&self, file: &Path) -> Vec<&Path> {
        let Some(id) = self.files.iter().position(|path| path == file) else { return Vec::new() };
        let mut found = Vec::new();
        self.add_edges(&Names::of(&self.named), id, &mut found);
        found.sort_unstable();
        found.dedup();
        found.retain(|other| *other as usize != id);
        found.into_iter().map(|id| self.files[id as usize].as_path()).collect()
    }

    /// Counts what there is.
    pub fn shape(&self) -> Shape {
        let edges = self.edges(&self.named);
        let largest_cycle = edges.components().iter().map(Vec::len).max().unwrap_or_default();
        Shape { files: self.files.len(), imports: edges.count(), largest_cycle }
    }

    /// Who imports whom; `named` are the names of this graph's files and of others after them.
    fn edges(&self, named: &[Named]) -> Edges {
        let names = Names::of(named);
        let mut edges = Edges::default();
        for index in 0..named.len() {
            let mut found = Vec::new();
            if index < self.files.len() {
                self.add_edges(&names, index, &mut found);
            }
            edges.push(found);
        }
        edges
    }

    fn add_edges(&self, names: &Names<'_>, index: usize, found: &mut Vec<Id>) {
        for import in &self.imports[index].statements {
            names.resolve(&self.named[index], import, found);
        }
    }
}
