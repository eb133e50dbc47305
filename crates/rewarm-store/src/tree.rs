//! Trees: directories unpacked once from one blob and named by the blob's digest.
//!
//! Files of a tree are linked into environments, where somebody may edit them. So a tree is only
//! handed out after each file's stat data was compared with what was recorded when it was
//! unpacked, and files whose stat data moved are hashed again. A tree with a changed file is a
//! miss, never a wrong file; its directory stays for those who are using it until a new one takes
//! its place in one exchange of names.
//!
//! Directories and files of a tree carry the bits that the umask leaves, unlike all else in the
//! store: they are going to stand in environments.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dirs::{mark_used, move_aside, remove_dir, swap_into};
use crate::fs::{Witness, create_dirs, unique_name};
use crate::layout;
use crate::lock::Lock;
use crate::record::{Envelope, Kind};
use crate::store::Store;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    /// Path below the tree, `/` between components.
    pub path: String,
    /// Of its content; of a symbolic link, of where it leads.
    pub digest: Digest,
    /// Permission bits.
    pub mode: u32,
    witness: Witness,
}

/// The list of files of a tree, kept as a record under the digest of the blob.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: Vec<TreeFile>,
    source: Digest,
}

impl Kind for Manifest {
    const NAME: &'static str = "tree";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        vec![self.source]
    }
}

impl Manifest {
    /// Bytes of all files, if that envelope holds the record of a tree.
    pub(crate) fn size(envelope: &Envelope<'_>) -> Option<u64> {
        let manifest: Self = envelope.decode()?;
        Some(manifest.files.iter().map(TreeFile::size).sum())
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
    _lock: Lock,
}

impl TreeWriter {
    /// The empty directory to fill.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Publishes the directory. `files` names every file and symbolic link in it with its digest,
    /// which the caller knows from writing it.
    pub fn commit(self, files: Vec<(String, Digest)>) -> Result<Tree, TreeError> {
        let mut listed = Vec::with_capacity(files.len());
        for (path, digest) in files {
            let full = self.dir.join(&path);
            let metadata = fs::symlink_metadata(&full)
                .map_err(|source| TreeError { path: full.clone(), source })?;
            let (mode, witness) = (metadata.mode() & 0o7777, Witness::of_metadata(&metadata));
            listed.push(TreeFile { path, digest, mode, witness });
        }
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        let target = layout::sharded(self.store.root(), layout::TREES, &self.source);
        let error = |source| TreeError { path: target.clone(), source };
        // Without its record the old directory is a miss, and so is the new one until its own is
        // there.
        self.store.remove::<Manifest>(&self.source).map_err(error)?;
        swap_into(&self.dir, &target, self.store.modes()).map_err(error)?;
        let manifest = Manifest { files: listed, source: self.source };
        if let Err(failed) = self.store.write(&self.source, &manifest) {
            if let Ok(Some(dir)) = self.store.detach_tree(&self.source) {
                let _ = remove_dir(&dir);
            }
            return Err(error(failed.source));
        }
        Ok(Tree { path: target, files: manifest.files })
    }
}

impl Drop for TreeWriter {
    fn drop(&mut self) {
        // What was not published, or the directory that gave way to what was.
        let _ = remove_dir(&self.dir);
    }
}

impl Store {
    /// The tree that was unpacked from `source`, if it is still as it was unpacked.
    ///
    /// A damaged tree is forgotten in passing. A lease on `source` keeps the tree's directory from
    /// being swept.
    pub fn tree(&self, source: &Digest) -> Option<Tree> {
        let (root, _, manifest) = self.read_at::<Manifest>(source)?;
        let path = layout::sharded(root, layout::TREES, source);
        if is_whole(&path, &manifest) {
            if root == self.root() {
                let _ = mark_used(&path);
            }
            return Some(Tree { path, files: manifest.files });
        }
        // Whoever holds the lock is about to replace the tree.
        if let Ok(Some(_lock)) = self.try_lock("tree", source) {
            let _ = self.forget_damaged(source);
        }
        None
    }

    /// Under the tree's lock: another process may have replaced the tree since it was looked at.
    fn forget_damaged(&self, source: &Digest) -> io::Result<()> {
        match self.read_at::<Manifest>(source) {
            Some((root, _, manifest)) => {
                let path = layout::sharded(root, layout::TREES, source);
                if is_whole(&path, &manifest) { Ok(()) } else { self.remove::<Manifest>(source) }
            }
            None => Ok(()),
        }
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
        remove_dir(&dir).map_err(error)?;
        create_dirs(&self.tmp_dir(), self.modes()).map_err(error)?;
        fs::create_dir(&dir).map_err(error)?;
        Ok(Ok(TreeWriter { store: self.clone(), source: *source, dir, _lock: lock }))
    }

    /// Takes a tree out of the store, record first, and gives the directory that is now to be
    /// removed. The caller holds the tree's lock.
    pub(crate) fn detach_tree(&self, source: &Digest) -> io::Result<Option<PathBuf>> {
        self.remove::<Manifest>(source)?;
        self.detach_dir(&layout::sharded(self.root(), layout::TREES, source))
    }

    /// Gives a directory of the store a temporary name, under which it is to be removed.
    pub(crate) fn detach_dir(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let aside = self.tmp_dir().join(unique_name());
        Ok(move_aside(path, &aside, self.modes())?.then_some(aside))
    }
}

impl TreeFile {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.witness.size
    }
}

fn is_whole(path: &Path, manifest: &Manifest) -> bool {
    path.is_dir() && manifest.files.iter().all(|file| is_unchanged(&path.join(&file.path), file))
}

/// By stat data, and by content where that moved.
fn is_unchanged(path: &Path, file: &TreeFile) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    // Bits that were added do no harm: handing a file out may add some.
    if file.mode & !metadata.mode() != 0 {
        return false;
    }
    let witness = Witness::of_metadata(&metadata);
    if witness.same_content(&file.witness) {
        return true;
    }
    (metadata.is_file() || metadata.is_symlink())
        && witness.size == file.witness.size
        && hash(path).is_ok_and(|d| d == file.digest)
}

/// The digest of a file's content; of a symbolic link, that of where it leads.
pub(crate) fn hash(path: &Path) -> io::Result<Digest> {
    match fs::read_link(path) {
        Ok(target) => return Ok(Digest::of(target.as_os_str().as_encoded_bytes())),
        // It is no link.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        Err(error) => return Err(error),
    }
    Digest::of_reader(File::open(path)?)
}
