//! Trees: directories unpacked once from one blob and named by the blob's digest.
//!
//! Files of a tree are linked into environments, where somebody may edit them. So a tree is only
//! handed out after each file's stat data was compared with what was recorded when it was
//! unpacked, and files whose stat data moved are hashed again. A tree with a changed file is
//! dropped: a miss, never a wrong file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::fs::{Witness, rename_into};
use crate::layout;
use crate::lock::Lock;
use crate::record::Kind;
use crate::store::Store;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    /// Path below the tree, `/` between components.
    pub path: String,
    /// Of its content.
    pub digest: Digest,
    witness: Witness,
}

/// The list of files of a tree, kept as a record under the digest of the blob.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: Vec<TreeFile>,
    source: Digest,
}

impl Kind for Manifest {
    const NAME: &'static str = "tree";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        vec![self.source]
    }
}

/// A tree that was found whole a moment ago.
#[derive(Debug)]
pub struct Tree {
    /// The directory.
    pub path: PathBuf,
    /// Its files, sorted by path.
    pub files: Vec<TreeFile>,
}

/// A tree that could not be published.
#[derive(Debug, thiserror::Error)]
#[error("cannot store a tree at `{}`", path.display())]
pub struct TreeError {
    /// The path that failed.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A directory to be filled, then published whole.
#[derive(Debug)]
pub struct TreeWriter {
    store: Store,
    source: Digest,
    dir: PathBuf,
    // Held while the directory is being filled: a collector leaves it alone.
    lock: Lock,
    published: bool,
}

impl TreeWriter {
    /// The empty directory to fill.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Publishes the directory. `files` names every file in it with its digest, which the caller
    /// knows from writing it.
    pub fn commit(mut self, files: Vec<(String, Digest)>) -> Result<Tree, TreeError> {
        let mut listed = Vec::with_capacity(files.len());
        for (path, digest) in files {
            let full = self.dir.join(&path);
            let metadata = fs::symlink_metadata(&full)
                .map_err(|source| TreeError { path: full.clone(), source })?;
            listed.push(TreeFile { path, digest, witness: Witness::of_metadata(&metadata) });
        }
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        let target = layout::sharded(self.store.root(), layout::TREES, &self.source);
        let error = |source| TreeError { path: target.clone(), source };
        self.store.drop_tree(&self.source).map_err(error)?;
        rename_into(&self.dir, &target, self.store.modes()).map_err(error)?;
        self.published = true;
        let manifest = Manifest { files: listed, source: self.source };
        self.store.write(&self.source, &manifest).map_err(|e| error(e.source))?;
        Ok(Tree { path: target, files: manifest.files })
    }
}

impl Drop for TreeWriter {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.dir);
        }
        let _ = &self.lock;
    }
}

impl Store {
    /// The tree that was unpacked from `source`, if it is still as it was unpacked.
    ///
    /// A damaged tree is removed in passing.
    pub fn tree(&self, source: &Digest) -> Option<Tree> {
        let path = self.find(layout::TREES, source)?;
        let manifest: Manifest = self.read(source)?;
        if manifest.files.iter().all(|file| is_unchanged(&path.join(&file.path), file)) {
            return Some(Tree { path, files: manifest.files });
        }
        let _ = self.drop_tree(source);
        None
    }

    /// Waits until no other process unpacks the same blob, then gives a directory to fill, or the
    /// tree if the other process finished it.
    pub fn tree_writer(&self, source: &Digest) -> Result<Result<TreeWriter, Tree>, TreeError> {
        let dir = self.tmp_dir().join(format!("tree-{source}"));
        let error = |source| TreeError { path: dir.clone(), source };
        let lock = self.lock("tree", source).map_err(error)?;
        if let Some(tree) = self.tree(source) {
            return Ok(Err(tree));
        }
        remove_dir_if_present(&dir).map_err(error)?;
        fs::DirBuilder::new().recursive(true).create(&dir).map_err(error)?;
        Ok(Ok(TreeWriter { store: self.clone(), source: *source, dir, lock, published: false }))
    }

    /// Removes a tree so that no reader finds half of it: the record goes first.
    pub(crate) fn drop_tree(&self, source: &Digest) -> io::Result<()> {
        self.remove::<Manifest>(source)?;
        let path = layout::sharded(self.root(), layout::TREES, source);
        let aside = self.tmp_dir().join(crate::fs::unique_name());
        match rename_into(&path, &aside, self.modes()) {
            Err(error) if crate::fs::is_absence(&error) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => fs::remove_dir_all(&aside),
        }
    }
}

fn remove_dir_if_present(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if crate::fs::is_absence(&error) => Ok(()),
        other => other,
    }
}

/// By stat data, and by content where that moved.
fn is_unchanged(path: &Path, file: &TreeFile) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let witness = Witness::of_metadata(&metadata);
    if witness.same_content(&file.witness) {
        return true;
    }
    metadata.is_file()
        && witness.size == file.witness.size
        && hash(path).is_ok_and(|d| d == file.digest)
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut hasher = crate::Hasher::raw();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
