//! Opening a store, and finding, reading and writing what is in it.
//!
//! A store that this user cannot write, or that belongs to somebody else, cannot be opened.
//! [`Store::over`] lays an empty writable store over such a one, so that a command can still use
//! what is there: what is written or dropped above hides what lies below.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::blob::{BlobWriter, Target, VerifyingReader};
use crate::digest::Digest;
use crate::dirs::mark_used;
use crate::fs::{Modes, TempFile, clear_place, create_dirs, effective_user, is_absence, is_named};
use crate::handout::LinkKind;
use crate::layout;
use crate::lock::Lock;
use crate::record::{self, Kind, RecordError};

/// A handle on a store; cheap to clone, shared by threads.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    lower: Option<PathBuf>,
    modes: Modes,
    /// Whether this process is about to become another one, which closes what it has open.
    is_brief: bool,
}

/// Why a directory cannot serve as a writable store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It belongs to another user and is not shared with this user's group.
    #[error("cache directory `{}` belongs to user {owner}, not to you", path.display())]
    Foreign {
        /// The root of the store.
        path: PathBuf,
        /// The owner's numeric id.
        owner: u32,
    },
    /// It cannot be created, read or written.
    #[error("cannot use cache directory `{}`", path.display())]
    Io {
        /// The root of the store.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A record in use keeps its modification time at most this far behind.
const USE_GRANULARITY: Duration = Duration::from_secs(24 * 60 * 60);

impl Store {
    /// Opens the store at `root` for reading and writing, creating it if need be.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: root.to_owned(), source };
        create_dirs(root, Modes::PRIVATE).map_err(io_error)?;
        let metadata = fs::metadata(root).map_err(io_error)?;
        let modes = Modes::of_root(&metadata);
        let owner = metadata.uid();
        if owner != effective_user() && !modes.shared {
            return Err(OpenError::Foreign { path: root.to_owned(), owner });
        }
        let store = Self::at(root, None, modes);
        store.mark_as_cache().map_err(io_error)?;
        Ok(store)
    }

    /// Opens the store at `root`, which need not be writable, to look through it. Creates nothing.
    /// Entries count whoever made them, as they do in a store [below](Self::over).
    pub fn open_to_read(root: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: root.to_owned(), source };
        fs::read_dir(root).map_err(io_error)?;
        let metadata = fs::metadata(root).map_err(io_error)?;
        let modes = Modes { shared: true, ..Modes::of_root(&metadata) };
        Ok(Self::at(root, None, modes))
    }

    /// A handle that checks and creates nothing: for lookups on the hot path of a process that is
    /// about to become another one. The records that it reads stay open until then.
    pub fn for_lookup(root: &Path) -> Self {
        let inner =
            Inner { root: root.to_owned(), lower: None, modes: Modes::PRIVATE, is_brief: true };
        Self { inner: Arc::new(inner) }
    }

    /// Opens `root` and looks into the store at `lower` for whatever `root` lacks. `lower` is
    /// never written.
    pub fn over(root: &Path, lower: &Path) -> Result<Self, OpenError> {
        let upper = Self::open(root)?;
        Ok(Self::at(root, Some(lower.to_owned()), upper.inner.modes))
    }

    fn at(root: &Path, lower: Option<PathBuf>, modes: Modes) -> Self {
        let inner = Inner { root: root.to_owned(), lower, modes, is_brief: false };
        Self { inner: Arc::new(inner) }
    }

    /// Also proves that the directory can be written.
    fn mark_as_cache(&self) -> io::Result<()> {
        use rustix::fs::{Access, AtFlags, CWD};
        let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(CWD, self.root(), wanted, AtFlags::EACCESS)?;
        let path = self.root().join(layout::CACHEDIR_TAG);
        if !path.exists() {
            let mut temp = TempFile::create(&self.tmp_dir(), self.inner.modes)?;
            temp.file.write_all(layout::CACHEDIR_TAG_TEXT.as_bytes())?;
            temp.publish(&path, self.inner.modes)?;
        }
        Ok(())
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    pub(crate) fn modes(&self) -> Modes {
        self.inner.modes
    }

    /// Whether other users may write here.
    pub(crate) fn is_shared(&self) -> bool {
        self.inner.modes.shared
    }

    /// The root of this store, then that of the one below it.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.root()).chain(self.inner.lower.as_deref())
    }

    pub(crate) fn has_lower(&self) -> bool {
        self.inner.lower.is_some()
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root().join(layout::TMP)
    }

    /// Where an entry is: in this store, or in the one below it.
    fn find(&self, area: &str, digest: &Digest) -> Option<PathBuf> {
        let mut paths = self.roots().map(|root| layout::sharded(root, area, digest));
        paths.find(|path| path.exists())
    }

    /// Starts a new blob.
    pub fn blob_writer(&self) -> io::Result<BlobWriter> {
        let temp = TempFile::create(&self.tmp_dir(), self.inner.modes)?;
        let target = Target { root: self.root().to_owned(), modes: self.inner.modes };
        Ok(BlobWriter::new(temp, target))
    }

    /// Opens a blob for verified reading; `None` if it is not here.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<Option<VerifyingReader>> {
        for root in self.roots() {
            match File::open(layout::sharded(root, layout::BLOBS, digest)) {
                Ok(file) => return Ok(Some(VerifyingReader::new(file, *digest))),
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The file that holds a blob. Its content is *not* verified: compare its
    /// [`Witness`](crate::Witness) with one taken when it was, or read it through
    /// [`open_blob`](Self::open_blob).
    pub fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        self.find(layout::BLOBS, digest)
    }

    /// Reads a blob to its end and drops it if it is damaged. Says whether it is there and sound.
    pub fn verify_blob(&self, digest: &Digest) -> io::Result<bool> {
        let Some(mut reader) = self.open_blob(digest)? else { return Ok(false) };
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let path = layout::sharded(self.root(), layout::BLOBS, digest);
                remove_if_named(reader.file(), &path).map_err(undroppable)?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a blob at `target` by reflink, hard link or copy, replacing what is there.
    ///
    /// The caller has verified the blob. `mode` is subject to the umask.
    pub fn place_blob(&self, digest: &Digest, target: &Path, mode: u32) -> io::Result<LinkKind> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no blob {digest}"));
        let path = self.find(layout::BLOBS, digest).ok_or_else(missing)?;
        crate::handout::link_or_copy(&path, target, mode)
    }

    /// Drops a blob; one in the store below stays.
    pub fn remove_blob(&self, digest: &Digest) -> io::Result<()> {
        clear_place(&layout::sharded(self.root(), layout::BLOBS, digest))
    }

    /// Reads a record; damaged, foreign and missing ones are all `None`, and damaged ones are
    /// dropped in passing.
    pub fn read<K: Kind>(&self, key: &Digest) -> Option<K> {
        self.read_at(key).map(|(_, _, value)| value)
    }

    /// Reads a record and notes that it was of use, as [`touch`](Self::touch) does, without looking
    /// at the file once more: for hot paths.
    pub fn read_used<K: Kind>(&self, key: &Digest, now: SystemTime) -> Option<K> {
        let (root, file, value) = self.read_at(key)?;
        if root == self.root() && !is_recent(file.modified, now) {
            self.touch::<K>(key, now);
        }
        if self.inner.is_brief {
            // A call saved: `exec` closes it.
            let _ = file.file.into_raw_fd();
        }
        Some(value)
    }

    /// Also says which root has it, and what file it is.
    pub(crate) fn read_at<K: Kind>(&self, key: &Digest) -> Option<(&Path, RecordFile, K)> {
        let area = layout::kind_dir(K::NAME, K::VERSION);
        for root in self.roots() {
            let path = layout::sharded(root, &area, key);
            let is_here = root == self.root();
            let Some(found) = read_file(&path, self.is_shared() || !is_here) else {
                continue;
            };
            match record::decode(key, &found.bytes) {
                Some(value) => return Some((root, found, value)),
                None if is_here && found.bytes.is_empty() => {}
                None if is_here => drop(self.drop_damaged(&found.file, &path, &area, key)),
                None => {}
            }
            // What lies below may be older than what this one said.
            return None;
        }
        None
    }

    fn drop_damaged(&self, file: &File, path: &Path, area: &str, key: &Digest) -> io::Result<()> {
        if is_named(file, path)? { self.remove_record(area, key) } else { Ok(()) }
    }

    /// Writes a record, replacing the one under that key.
    pub fn write<K: Kind>(&self, key: &Digest, value: &K) -> Result<(), RecordError> {
        let path = self.record_path::<K>(key);
        let write = || self.write_file(&path, &record::encode(key, value)?);
        write().map_err(|source| RecordError { path: path.clone(), source })
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temp = TempFile::create(&self.tmp_dir(), self.inner.modes)?;
        temp.file.write_all(bytes)?;
        temp.publish_entry(path, self.inner.modes)
    }

    /// Drops a record.
    pub fn remove<K: Kind>(&self, key: &Digest) -> io::Result<()> {
        self.remove_record(&layout::kind_dir(K::NAME, K::VERSION), key)
    }

    /// An empty file takes the place of a record that would otherwise show one below it.
    pub(crate) fn remove_record(&self, area: &str, key: &Digest) -> io::Result<()> {
        let path = layout::sharded(self.root(), area, key);
        match &self.inner.lower {
            Some(lower) if layout::sharded(lower, area, key).exists() => {
                self.write_file(&path, &[])
            }
            _ => clear_place(&path),
        }
    }

    /// Notes that a record was of use, so that it is swept later than others. Costs one `stat`
    /// most of the time.
    pub fn touch<K: Kind>(&self, key: &Digest, now: SystemTime) {
        let path = self.record_path::<K>(key);
        let Ok(modified) = fs::metadata(&path).and_then(|metadata| metadata.modified()) else {
            return;
        };
        if !is_recent(modified, now)
            && let Ok(file) = File::options().write(true).open(&path)
        {
            // Of a file that belongs to another user of the group, only the kernel's time can be set.
            let _ = file.set_modified(now).or_else(|_| mark_used(&path));
        }
    }

    /// Where a record of this kind is or would be.
    pub fn record_path<K: Kind>(&self, key: &Digest) -> PathBuf {
        layout::sharded(self.root(), &layout::kind_dir(K::NAME, K::VERSION), key)
    }

    /// Waits for the exclusive lock that goes by `purpose` and `key`.
    pub fn lock(&self, purpose: &str, key: &Digest) -> io::Result<Lock> {
        Lock::exclusive(&self.lock_path(purpose, key), self.inner.modes)
    }

    /// Waits until nobody holds that lock exclusively, and keeps it shared.
    pub fn lock_shared(&self, purpose: &str, key: &Digest) -> io::Result<Lock> {
        Lock::shared(&self.lock_path(purpose, key), self.inner.modes)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self, purpose: &str, key: &Digest) -> io::Result<Option<Lock>> {
        Lock::try_exclusive(&self.lock_path(purpose, key), self.inner.modes)
    }

    pub(crate) fn lock_path(&self, purpose: &str, key: &Digest) -> PathBuf {
        self.root().join(layout::LOCKS).join(format!("{purpose}-{key}"))
    }
}

/// Reads a record file. In a store that is not shared, one that another user could have planted
/// does not count.
pub(crate) fn read_file(path: &Path, shared: bool) -> Option<RecordFile> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let owner = metadata.uid();
    if !shared && owner != 0 && owner != effective_user() {
        return None;
    }
    // A record never changes under its name, so its length is the one it has now.
    let mut bytes = vec![0; usize::try_from(metadata.len()).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(RecordFile { modified: metadata.modified().ok()?, file, bytes })
}

/// A record's file as it was found.
#[derive(Debug)]
pub(crate) struct RecordFile {
    pub(crate) file: File,
    pub(crate) bytes: Vec<u8>,
    modified: SystemTime,
}

/// What was found damaged stays where it is.
pub(crate) fn undroppable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("damaged, and cannot be dropped: {error}"))
}

/// Whether a record's last use need not be noted again.
fn is_recent(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).is_ok_and(|age| age < USE_GRANULARITY)
}

/// Removes a file that was found damaged, unless another one took its name since it was opened.
pub(crate) fn remove_if_named(file: &File, path: &Path) -> io::Result<()> {
    if is_named(file, path)? { clear_place(path) } else { Ok(()) }
}
