//! A place for bodies that cannot or must not be stored: a file that has no name, so that nothing
//! is left of it, however the process ends.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rewarm_store::{Blob, Hasher};

/// Bytes on their way into a nameless file.
pub(crate) struct Spill {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Spill {
    /// Where the file system can do that, the file never has a name.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(dir)?, hasher: Hasher::raw(), size: 0 })
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
