//! Slots: named directories that are only ever replaced as a whole.
//!
//! A slot holds a directory that a foreign tool reads and writes in its own way, for example the
//! cache directory of a type checker. A run never works in the slot: it takes a [`PrivateDir`],
//! seeded with what the slot holds, lets the tool work there, and publishes the result with one
//! exchange of names. So runs at the same time cannot mix, the last one to publish wins, and one
//! that is killed leaves the slot as it was.
//!
//! Seeding makes hard links. A tool that writes a file in place would write through to the slot
//! and to every other run; the caller names such files, and they are copied.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::dirs::{TempDir, clone_dir, mark_used, open_dir};
use crate::fs::{effective_user, is_absence, is_named};
use crate::layout;
use crate::store::Store;

/// The name of a directory in the store, whether or not there is something under it.
#[derive(Debug, Clone)]
pub struct Slot {
    store: Store,
    kind: &'static str,
    key: Digest,
}

/// A directory that belongs to one run, seeded from a slot.
///
/// Dropping it unpublished removes it and leaves the slot alone.
#[derive(Debug)]
pub struct PrivateDir {
    slot: Slot,
    dir: TempDir,
}

impl Store {
    /// The slot of that kind and key. `kind` is a short lower-case name, as for records.
    pub fn slot(&self, kind: &'static str, key: &Digest) -> Slot {
        Slot { store: self.clone(), kind, key: *key }
    }
}

/// A slot below a read-only store cannot be locked; it is read again when it was replaced while
/// it was being read, at most this often.
const ATTEMPTS: usize = 3;

impl Slot {
    /// A private directory with the files of the slot: none, if the slot is empty.
    ///
    /// Files are hard links, except those for which `copy` says yes; it is asked with the path
    /// below the slot. Name every file there that the tool changes in place.
    pub fn private(&self, copy: impl Fn(&Path) -> bool) -> io::Result<PrivateDir> {
        let lock = self.store.lock_shared(&self.lock_purpose(), &self.key)?;
        for _ in 0..ATTEMPTS {
            let dir = TempDir::create(&self.store.tmp_dir(), self.store.modes())?;
            if self.seed(&dir, &copy)? {
                drop(lock);
                return Ok(PrivateDir { slot: self.clone(), dir });
            }
        }
        let dir = TempDir::create(&self.store.tmp_dir(), self.store.modes())?;
        Ok(PrivateDir { slot: self.clone(), dir })
    }

    /// The directory itself, to be read where it is; `None` if the slot is empty. It counts as used
    /// now. Lease the key before, so that it is not swept, and let nobody publish meanwhile.
    pub fn directory(&self) -> io::Result<Option<PathBuf>> {
        let Some((path, _)) = self.open()? else { return Ok(None) };
        if path.starts_with(self.store.root()) {
            let _ = mark_used(&path);
        }
        Ok(Some(path))
    }

    /// Fills `dir`. `false` if the slot went away or was replaced meanwhile.
    fn seed(&self, dir: &TempDir, copy: &impl Fn(&Path) -> bool) -> io::Result<bool> {
        let Some((path, from)) = self.open()? else { return Ok(true) };
        if path.starts_with(self.store.root()) {
            let _ = mark_used(&path);
        }
        match clone_dir(&from, dir.file(), Path::new(""), copy) {
            Ok(()) => is_named(&from, &path),
            Err(_) if !is_named(&from, &path)? => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The directory under the slot's name, here or in the store below. In a store that is not
    /// shared, one that another user could have planted does not count.
    fn open(&self) -> io::Result<Option<(PathBuf, File)>> {
        for root in self.store.roots() {
            let path = layout::slot(root, self.kind, &self.key);
            let dir = match open_dir(rustix::fs::CWD, &path) {
                Err(error) if is_absence(&error) => continue,
                other => other?,
            };
            let owner = dir.metadata()?.uid();
            let trusted = owner == 0 || owner == effective_user();
            if trusted || self.store.is_shared() || root != self.store.root() {
                return Ok(Some((path, dir)));
            }
        }
        Ok(None)
    }

    fn lock_purpose(&self) -> String {
        format!("slot-{}", self.kind)
    }
}

impl PrivateDir {
    /// The directory to work in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes this directory the content of the slot, in place of what was there. Waits for runs
    /// that are just being seeded.
    pub fn publish(self) -> io::Result<()> {
        let Self { slot, dir } = self;
        let target = layout::slot(slot.store.root(), slot.kind, &slot.key);
        let lock = slot.store.lock(&slot.lock_purpose(), &slot.key)?;
        mark_used(dir.path())?;
        let replaced = dir.publish(&target, slot.store.modes())?;
        drop(lock);
        drop(replaced);
        Ok(())
    }
}
