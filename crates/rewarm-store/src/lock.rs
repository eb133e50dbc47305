//! Advisory locks between processes and between threads of one process.
//!
//! A [`Lock`] is `flock(2)` on a file of its own, so it ends with its holder however that ends,
//! and each `Lock` has its own open file, so two threads exclude each other as two processes do.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A held lock; dropping it releases.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the exclusive lock on `path`, creating the file if need be.
    pub(crate) fn exclusive(path: &Path) -> io::Result<Self> {
        Self::wait(path, FlockOperation::LockExclusive)
    }

    /// Waits for a shared lock on `path`, creating the file if need be.
    pub(crate) fn shared(path: &Path) -> io::Result<Self> {
        Self::wait(path, FlockOperation::LockShared)
    }

    /// Takes the exclusive lock if nobody holds it; `None` when somebody does.
    pub(crate) fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = crate::fs::open_lock_file(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if crate::fs::is_linked(&file)? => return Ok(Some(Self { file })),
                Ok(()) => {}
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A collector may unlink a lock file that nobody holds, so a lock counts only if its file
    /// still has a name once it is held.
    fn wait(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        loop {
            let file = crate::fs::open_lock_file(path)?;
            match flock(&file, operation) {
                Ok(()) if crate::fs::is_linked(&file)? => return Ok(Self { file }),
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
