//! A private directory that lives as long as one run, among the user's temporary ones.
//!
//! A run that is killed cannot remove its own. So each holds a lock on its directory, which ends with
//! the process however that ends, and each run removes the directories of this user that nobody holds.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

/// What the names begin with.
const PREFIX: &str = "rewarm-with-";

/// Another run that takes a new directory for litter, before it is locked, removes it: so often at
/// most a further one is made.
const TRIES: usize = 8;

/// The directory; removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: Option<TempDir>,
    lock: File,
}

impl Scratch {
    /// Makes a directory in `parent`, and removes what killed runs left there.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        for _ in 0..TRIES {
            let private = Permissions::from_mode(0o700);
            let mut builder = tempfile::Builder::new();
            let dir = builder.prefix(PREFIX).permissions(private).tempdir_in(parent)?;
            let Ok(lock) = File::open(dir.path()) else { continue };
            lock.lock()?;
            if is_at(&lock, dir.path()) {
                return Ok(Self { dir: Some(dir), lock });
            }
        }
        let text = format!("each new directory in {} is removed at once", parent.display());
        Err(io::Error::other(text))
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.as_ref().expect("it is there until the drop").path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is litter that a later run tries again.
        self.dir.take().map(TempDir::close);
        let _ = self.lock.unlock();
    }
}

/// Removes the directories that nobody holds; what cannot be removed stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = |name: &str| name.starts_with(PREFIX);
        if entry.file_name().to_str().is_some_and(is_ours) {
            let _ = sweep_one(&entry.path());
        }
    }
}

fn sweep_one(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let lock = File::open(path)?;
    if lock.try_lock().is_ok() {
        if is_at(&lock, path) {
            fs::remove_dir_all(path)?;
        }
        lock.unlock()?;
    }
    Ok(())
}

/// Whether an open directory is still the one at that path.
fn is_at(dir: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (dir.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name();
        let names = fs::read_dir(dir).expect("it is there").map(name);
        let mut names: Vec<_> = names.map(|name| name.into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let living = Scratch::new(parent.path()).expect("a directory");
        fs::write(living.path().join("bundle.pem"), "x").expect("writable");
        let litter = parent.path().join("rewarm-with-litter");
        fs::create_dir_all(litter.join("below")).expect("directories can be made");
        let target = parent.path().join("target");
        fs::create_dir(&target).expect("directories can be made");
        let link = parent.path().join("rewarm-with-link");
        std::os::unix::fs::symlink(&target, &link).expect("links can be made");
        fs::write(parent.path().join("rewarm-with-file"), "x").expect("writable");
        let second = Scratch::new(parent.path()).expect("a directory");
        assert!(!litter.exists() && living.path().join("bundle.pem").exists());
        drop((living, second));
        assert_eq!(names(parent.path()), ["rewarm-with-file", "rewarm-with-link", "target"]);
    }

    #[test]
    fn many_at_once_never_sweep_each_other() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let scratch = Scratch::new(parent.path()).expect("a directory");
                        fs::write(scratch.path().join("a"), "x").expect("it stays");
                        assert_eq!(names(scratch.path()), ["a"]);
                    }
                });
            }
        });
        assert!(names(parent.path()).is_empty());
    }
}
