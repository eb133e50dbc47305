//! Blobs: immutable bytes, named by their sha256.
//!
//! A [`BlobWriter`] hashes what passes through it and publishes on an explicit
//! [`commit`](BlobWriter::commit) only; a writer that is dropped, or killed, leaves nothing that a
//! reader can see. A [`VerifyingReader`] ends with an error instead of an end of file when the
//! bytes were not those of the name, so truncation cannot look like success.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::digest::{Digest, Hasher};
use crate::fs::{Modes, TempFile};

/// A blob that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Why a blob was not published. The store is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The bytes are not those that were asked for.
    #[error("expected sha256:{expected}, got sha256:{actual}")]
    WrongDigest {
        /// What the caller asked for.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// The file system refused.
    #[error("cannot store a blob in `{}`", path.display())]
    Io {
        /// The place it should have gone to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Takes the bytes of one blob.
#[derive(Debug)]
pub struct BlobWriter {
    temp: TempFile,
    hasher: Sha,
    size: u64,
    target: Target,
}

/// Where a committed blob goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) root: PathBuf,
    pub(crate) modes: Modes,
}

/// A hasher that need not show its state in debug output.
pub(crate) struct Sha(pub(crate) Hasher);

impl std::fmt::Debug for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

impl BlobWriter {
    pub(crate) fn new(temp: TempFile, target: Target) -> Self {
        Self { temp, hasher: Sha(Hasher::raw()), size: 0, target }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Publishes the blob, if it is the one that was `expected`.
    ///
    /// A blob that is there already is replaced: the bytes at hand are known to be right, the
    /// ones on disk are not.
    pub fn commit(self, expected: Option<&Digest>) -> Result<Blob, CommitError> {
        let digest = self.hasher.0.finish();
        if let Some(&expected) = expected.filter(|expected| **expected != digest) {
            return Err(CommitError::WrongDigest { expected, actual: digest });
        }
        let path = crate::layout::sharded(&self.target.root, crate::layout::BLOBS, &digest);
        match self.temp.publish_entry(&path, self.target.modes) {
            Ok(()) => Ok(Blob { digest, size: self.size }),
            Err(source) => Err(CommitError::Io { path, source }),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.temp.file.write(bytes)?;
        self.hasher.0.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.file.flush()
    }
}

/// Reads a blob and checks it on the way: the end of file is only reported once the digest of all
/// bytes was found right; otherwise the last read fails with [`io::ErrorKind::InvalidData`].
#[derive(Debug)]
pub struct VerifyingReader {
    file: File,
    hasher: Option<Sha>,
    expected: Digest,
}

impl VerifyingReader {
    pub(crate) fn new(file: File, expected: Digest) -> Self {
        Self { file, hasher: Some(Sha(Hasher::raw())), expected }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Read for VerifyingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.0.update(&buffer[..count]);
        }
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.hasher.take().map(|hasher| hasher.0.finish()) {
            Some(actual) if actual != self.expected => {
                let text = format!("blob sha256:{} holds sha256:{actual}", self.expected);
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            _ => Ok(0),
        }
    }
}
