//! Unpacking a wheel into a tree of the store, once.
//!
//! Entries are inflated in parallel while another thread verifies the blob itself; the tree is
//! published only if the blob is the one it is named for, every entry stays inside, has the size
//! its header declares and the CRC, and is listed in `RECORD` with the digest it has (binary
//! distribution format, "The .dist-info directory"). Whatever fails, nothing is left behind.

mod adopt;
mod name;
mod record;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rewarm_store::{Digest, Hasher, Store, Tree, TreeError, TreeWriter};
use zip::ZipArchive;

pub use adopt::adopt_unpacked;
pub(crate) use record::rows as record_rows;

/// Why a wheel cannot be unpacked. The store is as it was before, but for a damaged blob, which
/// is dropped.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The store does not have the blob.
    #[error("wheel `{wheel}` is not in the cache")]
    Missing {
        /// The wheel's file name.
        wheel: String,
    },
    /// The blob was damaged in the store and is now gone: it has to be fetched again.
    #[error("the cached copy of wheel `{wheel}` was damaged and has been dropped")]
    Damaged {
        /// The wheel's file name.
        wheel: String,
    },
    /// It is no zip file, or a part of one.
    #[error("wheel `{wheel}` is no complete zip file")]
    Zip {
        /// The wheel's file name.
        wheel: String,
        /// What the zip reader says.
        source: zip::result::ZipError,
    },
    /// One entry is unacceptable.
    #[error("wheel `{wheel}`: entry `{entry}` {reason}")]
    Entry {
        /// The wheel's file name.
        wheel: String,
        /// The entry's name, control characters escaped.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `RECORD` is missing or cannot be understood.
    #[error("wheel `{wheel}`: {reason}")]
    Record {
        /// The wheel's file name.
        wheel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot unpack wheel `{wheel}` to `{}`", path.display())]
    Io {
        /// The wheel's file name.
        wheel: String,
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store could not publish the tree.
    #[error("cannot keep wheel `{wheel}`")]
    Tree {
        /// The wheel's file name.
        wheel: String,
        /// Why not.
        source: TreeError,
    },
}

/// The tree of the wheel `filename` whose blob is `digest`, unpacked now unless it was before.
pub fn unpack(store: &Store, digest: &Digest, filename: &str) -> Result<Tree, UnpackError> {
    let wheel = filename.to_owned();
    let writer = match store.tree_writer(digest) {
        Ok(Err(tree)) => return Ok(tree),
        Ok(Ok(writer)) => writer,
        Err(source) => return Err(UnpackError::Tree { wheel, source }),
    };
    let Some(path) = store.blob_path(digest) else { return Err(UnpackError::Missing { wheel }) };
    let (sound, unpacked) = rayon::join(
        || store.verify_blob(digest),
        || Unpacking { wheel: filename, dir: writer.path() }.run(&path),
    );
    match sound {
        Ok(true) => {}
        Ok(false) => return Err(UnpackError::Damaged { wheel }),
        Err(source) => return Err(UnpackError::Io { wheel, path, source }),
    }
    commit(writer, unpacked?, wheel)
}

fn commit(
    writer: TreeWriter,
    files: Vec<(String, Digest)>,
    wheel: String,
) -> Result<Tree, UnpackError> {
    writer.commit(files).map_err(|source| UnpackError::Tree { wheel, source })
}

/// What one entry became.
struct Unpacked {
    name: String,
    digest: Digest,
    size: u64,
}

struct Unpacking<'a> {
    wheel: &'a str,
    dir: &'a Path,
}

impl Unpacking<'_> {
    fn run(&self, blob: &Path) -> Result<Vec<(String, Digest)>, UnpackError> {
        let io_error = |source| self.io_error(blob, source);
        let file = File::open(blob).map_err(io_error)?;
        let length = file.metadata().map_err(io_error)?.len();
        let reader = SharedFile { file: Arc::new(file), position: 0, length };
        let archive = ZipArchive::new(reader)
            .map_err(|source| UnpackError::Zip { wheel: self.wheel.to_owned(), source })?;
        let entries = self.entries(&archive, length)?;
        self.make_directories(&entries)?;
        let unpacked: Vec<Unpacked> = entries
            .par_iter()
            .map_init(|| archive.clone(), |archive, entry| self.unpack_entry(archive, entry))
            .collect::<Result<_, _>>()?;
        record::verify(self, &unpacked)?;
        Ok(unpacked.into_iter().map(|file| (file.name, file.digest)).collect())
    }

    /// Checks what the central directory says and lists the files.
    fn entries(
        &self,
        archive: &ZipArchive<SharedFile>,
        length: u64,
    ) -> Result<Vec<Entry>, UnpackError> {
        let metadata = archive.metadata();
        if archive.has_duplicate_names() {
            return Err(self.record_error("two entries have one name"));
        }
        let mut entries = Vec::with_capacity(metadata.len());
        let mut compressed = 0_u64;
        for index in 0..metadata.len() {
            let entry = metadata
                .entry(index)
                .map_err(|source| UnpackError::Zip { wheel: self.wheel.to_owned(), source })?;
            let raw = entry.name_raw();
            let name = name::checked(raw, entry.unix_mode())
                .map_err(|reason| self.entry_error(&String::from_utf8_lossy(raw), reason))?;
            if entry.encrypted() {
                return Err(self.entry_error(name, "is encrypted"));
            }
            compressed = compressed.saturating_add(entry.compressed_size());
            if compressed > length {
                return Err(self.entry_error(name, "overlaps another one"));
            }
            if entry.is_dir() {
                continue;
            }
            let executable =
                entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0) || is_data_script(name);
            entries.push(Entry { index, name: name.to_owned(), size: entry.size(), executable });
        }
        Ok(entries)
    }

    fn make_directories(&self, entries: &[Entry]) -> Result<(), UnpackError> {
        let parents: BTreeSet<&Path> =
            entries.iter().filter_map(|entry| Path::new(&entry.name).parent()).collect();
        for parent in parents {
            let path = self.dir.join(parent);
            fs::create_dir_all(&path).map_err(|source| self.io_error(&path, source))?;
        }
        Ok(())
    }

    /// Writes one file; says what it was.
    fn unpack_entry(
        &self,
        archive: &mut ZipArchive<SharedFile>,
        entry: &Entry,
    ) -> Result<Unpacked, UnpackError> {
        let fault =
            |error: io::Error| self.entry_error(&entry.name, format!("is damaged ({error})"));
        let path = self.dir.join(&entry.name);
        let mut source = archive.by_index(entry.index).map_err(|e| fault(e.into()))?;
        let mode = if entry.executable { 0o777 } else { 0o666 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(|source| self.io_error(&path, source))?;
        let mut hasher = Hasher::raw();
        let mut size = 0_u64;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fault(error)),
            };
            size += count as u64;
            if size > entry.size {
                break;
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|source| self.io_error(&path, source))?;
        }
        if size != entry.size {
            let reason = format!("does not have the {} bytes that its header declares", entry.size);
            return Err(self.entry_error(&entry.name, reason));
        }
        Ok(Unpacked { name: entry.name.clone(), digest: hasher.finish(), size })
    }

    fn entry_error(&self, entry: &str, reason: impl Into<String>) -> UnpackError {
        let entry = entry.escape_debug().to_string();
        UnpackError::Entry { wheel: self.wheel.to_owned(), entry, reason: reason.into() }
    }

    fn record_error(&self, reason: impl Into<String>) -> UnpackError {
        UnpackError::Record { wheel: self.wheel.to_owned(), reason: reason.into() }
    }

    fn io_error(&self, path: &Path, source: io::Error) -> UnpackError {
        UnpackError::Io { wheel: self.wheel.to_owned(), path: path.to_owned(), source }
    }
}

/// One file of the archive.
struct Entry {
    index: usize,
    name: String,
    size: u64,
    executable: bool,
}

/// `NAME-VERSION.data/scripts/…` becomes a program whatever bits the archive kept.
fn is_data_script(name: &str) -> bool {
    let mut parts = name.split('/');
    parts.next().is_some_and(|first| first.ends_with(".data")) && parts.next() == Some("scripts")
}

/// A file that several readers read at their own positions.
#[derive(Debug, Clone)]
struct SharedFile {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "seek before the start");
        self.position = position.ok_or_else(invalid)?;
        Ok(self.position)
    }
}
