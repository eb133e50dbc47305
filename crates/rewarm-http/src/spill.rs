//! A place for bodies that cannot or must not be stored: a file that has no name, so that nothing
//! is left of it, however the process ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rewarm_store::{Blob, Hasher};

/// Bytes on their way into a nameless file.
pub(crate) struct Spill {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Spill {
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".rewarm-{}-{count}.spill", std::process::id()));
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o600);
            let file = match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            fs::remove_file(&path)?;
            return Ok(Self { file, hasher: Hasher::raw(), size: 0 });
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The file, positioned at its start.
    pub(crate) fn finish(mut self) -> io::Result<(File, Blob)> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok((self.file, Blob { digest: self.hasher.finish(), size: self.size }))
    }
}
