//! The few file-system operations on which the store's promises rest.
//!
//! Publishing (write aside, then one rename), handing files out (reflink, hard link, copy) and
//! the stat data that stands in for content. Permission bits come from the root directory: files
//! are private (0600, directories 0700) unless the root is shared with its group.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Cheap evidence that a file still has the content it had: size, times and inode.
///
/// Equal witnesses mean equal content if the first one was [settled](Witness::is_settled) when it
/// was taken. Different witnesses prove nothing: compare digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since the epoch.
    pub mtime: i128,
    /// Last change of content, name or permissions, nanoseconds since the epoch.
    pub ctime: i128,
    /// Inode number.
    pub inode: u64,
}

/// Two writes closer than this may carry one timestamp on some file systems.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

impl Witness {
    /// Of a file, a directory, or what a symbolic link points to. `None` if there is none.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of_metadata(&metadata))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From stat data at hand.
    pub fn of_metadata(metadata: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Whether a later write must show in the witness: both times lie far enough before `now`,
    /// the moment at which the content was *about to be* read.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = now.saturating_sub(TIMESTAMP_GRANULARITY).as_nanos();
        i128::try_from(limit).is_ok_and(|limit| self.mtime < limit && self.ctime < limit)
    }

    /// Equality but for the ctime, which moves when a file gains or loses a hard link.
    pub fn same_content(&self, other: &Self) -> bool {
        (self.size, self.mtime, self.inode) == (other.size, other.mtime, other.inode)
    }
}

/// Whether an error only says that there is nothing at that path.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How a file was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A copy-on-write clone: no bytes written, independent of the store.
    Reflink,
    /// Another name of the same file: no bytes written.
    Hardlink,
    /// A copy, across file systems or where links are not to be had.
    Copy,
}

/// Permission bits for what the store creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes {
    pub(crate) file: u32,
    pub(crate) dir: u32,
}

impl Modes {
    /// Private unless `root` is writable by its group; then as the root is.
    pub(crate) fn of_root(root: &Metadata) -> Self {
        let bits = root.mode() & 0o2777;
        if bits & 0o020 != 0 {
            Self { file: bits & 0o666, dir: bits }
        } else {
            Self { file: 0o600, dir: 0o700 }
        }
    }
}

/// Creates `dir` and its parents with the store's bits.
pub(crate) fn create_dirs(dir: &Path, modes: Modes) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(modes.dir & 0o777).create(dir)
}

/// Opens a file that exists only to be locked.
pub(crate) fn open_lock_file(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
    };
    match (open(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            open()
        }
        (result, _) => result,
    }
}

/// Whether an open file still has a name.
pub(crate) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}

/// A file under a temporary name, locked as long as its writer lives.
///
/// The lock is what tells litter from work under way: a collector unlinks what it can lock.
/// Dropping an unpublished file removes it.
#[derive(Debug)]
pub(crate) struct TempFile {
    pub(crate) file: File,
    path: PathBuf,
    published: bool,
}

impl TempFile {
    /// Creates a new file in `dir`, which is made if need be.
    pub(crate) fn create(dir: &Path, modes: Modes) -> io::Result<Self> {
        loop {
            let path = dir.join(unique_name());
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(modes.file);
            let file = match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create_dirs(dir, modes)?;
                    continue;
                }
                other => other?,
            };
            let temp = Self { file, path, published: false };
            let held = flock(&temp.file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // A collector may have seen the file before it was locked, and taken it for litter.
            if held && is_linked(&temp.file)? {
                return Ok(temp);
            }
        }
    }

    /// Gives the file its name, replacing what had it.
    pub(crate) fn publish(mut self, target: &Path, modes: Modes) -> io::Result<()> {
        rename_into(&self.path, target, modes)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames, making the target's parent directory when it is missing.
pub(crate) fn rename_into(from: &Path, target: &Path, modes: Modes) -> io::Result<()> {
    match (fs::rename(from, target), target.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            create_dirs(parent, modes)?;
            fs::rename(from, target)
        }
        (result, _) => result,
    }
}

/// A file name that no other writer uses now. The random part keeps processes apart that have one
/// number in different containers.
pub(crate) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static RANDOM: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".rewarm-{}-{:016x}-{count}.tmp", std::process::id(), *RANDOM)
}

/// Writes a file outside the store so that readers see the old content or the new, never a part.
///
/// The temporary name stands in the target's directory; `mode` is subject to the umask.
pub fn publish_file(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let modes = Modes { file: mode, dir: 0o777 };
    let mut temp = TempFile::create(dir, modes)?;
    temp.file.write_all(bytes)?;
    temp.publish(target, modes)
}

/// Puts the content of `source` at `target` in the cheapest way, replacing what was there.
///
/// Tries a reflink, then a hard link, then a copy; readers of `target` see the old file or the
/// new one. `mode` is given to reflinks and copies, and to the shared inode of a hard link.
pub fn link_or_copy(source: &Path, target: &Path, mode: u32) -> io::Result<LinkKind> {
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let modes = Modes { file: mode, dir: 0o777 };
    let mut input = File::open(source)?;
    let mut temp = TempFile::create(dir, modes)?;
    if rustix::fs::ioctl_ficlone(&temp.file, &input).is_ok() {
        temp.publish(target, modes)?;
        return Ok(LinkKind::Reflink);
    }
    let link = dir.join(unique_name());
    if fs::hard_link(source, &link).is_ok() {
        let renamed = fs::rename(&link, target);
        // Renaming one name of a file onto another of the same file leaves both.
        let _ = fs::remove_file(&link);
        renamed?;
        widen_mode(&input, temp.file.metadata()?.mode())?;
        return Ok(LinkKind::Hardlink);
    }
    io::copy(&mut input, &mut temp.file)?;
    temp.publish(target, modes)?;
    Ok(LinkKind::Copy)
}

/// Adds the permission bits of a file outside the store to an inode it now shares.
fn widen_mode(file: &File, mode: u32) -> io::Result<()> {
    let present = file.metadata()?.mode() & 0o777;
    let wanted = present | (mode & 0o777);
    if wanted == present {
        return Ok(());
    }
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(wanted))
}
