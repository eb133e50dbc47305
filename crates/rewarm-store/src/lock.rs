//! Advisory locks between processes and between threads of one process.
//!
//! A [`Lock`] is `flock(2)` on a file of its own, so it ends with its holder however that ends,
//! and each `Lock` has its own open file, so two threads exclude each other as two processes do.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::fs::{
    Modes, clear_place, is_absence, is_linked, is_lock_free, is_named, lock_if_free, open_lock_file,
};

/// A held lock; dropping it releases.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the exclusive lock on `path`, creating the file if need be.
    pub(crate) fn exclusive(path: &Path, modes: Modes) -> io::Result<Self> {
        Self::wait(path, modes, FlockOperation::LockExclusive)
    }

    /// Waits for a shared lock on `path`, creating the file if need be.
    pub(crate) fn shared(path: &Path, modes: Modes) -> io::Result<Self> {
        Self::wait(path, modes, FlockOperation::LockShared)
    }

    /// Takes the exclusive lock if nobody holds it; `None` when somebody does.
    pub(crate) fn try_exclusive(path: &Path, modes: Modes) -> io::Result<Option<Self>> {
        Self::attempt(path, modes, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes a shared lock if nobody holds it exclusively; `None` when somebody does.
    pub(crate) fn try_shared(path: &Path, modes: Modes) -> io::Result<Option<Self>> {
        Self::attempt(path, modes, FlockOperation::NonBlockingLockShared)
    }

    /// Whether nobody holds the lock at this moment. Makes no file.
    pub(crate) fn is_free(path: &Path) -> io::Result<bool> {
        match File::open(path) {
            Ok(file) => is_lock_free(&file),
            Err(error) if is_absence(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Removes the file of the lock if nobody holds it. Says whether it is gone.
    pub(crate) fn remove_if_free(path: &Path) -> io::Result<bool> {
        // What is no file cannot be held, and nobody puts a file there before it is gone.
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return clear_place(path).map(|()| true);
        }
        let file = match File::open(path) {
            Err(error) if is_absence(&error) => return Ok(true),
            other => other?,
        };
        if !lock_if_free(&file)? {
            return Ok(false);
        }
        Self { file }.discard(path).map(|()| true)
    }

    /// Removes the file of this held lock and releases it. Whoever waits for it notices that it
    /// has no name any more, and makes a new one.
    pub(crate) fn discard(self, path: &Path) -> io::Result<()> {
        if is_named(&self.file, path)? { clear_place(path) } else { Ok(()) }
    }

    fn attempt(path: &Path, modes: Modes, operation: FlockOperation) -> io::Result<Option<Self>> {
        match Self::wait(path, modes, operation) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A collector may unlink a lock file that nobody holds, so a lock counts only if its file
    /// still has a name once it is held.
    fn wait(path: &Path, modes: Modes, operation: FlockOperation) -> io::Result<Self> {
        loop {
            let file = open_lock_file(path, modes)?;
            match flock(&file, operation) {
                Ok(()) if is_linked(&file)? => return Ok(Self { file }),
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that was forked meanwhile shares the open file; closing ours alone would leave
        // the lock with the child.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
