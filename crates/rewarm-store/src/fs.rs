//! The few file-system operations on which the store's promises rest.
//!
//! Publishing (write aside, then one rename) and the stat data that stands in for content.
//! Permission bits come from the root directory: files are private (0600, directories 0700)
//! unless the root is shared with its group. Handing files out to places outside the store is left
//! to `handout`, whole directories to `dirs`.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::dirs::remove_dir;

/// The user as whom this process acts; asked of the system once.
pub fn effective_user() -> u32 {
    static USER: LazyLock<u32> = LazyLock::new(|| rustix::process::geteuid().as_raw());
    *USER
}

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

/// Permission bits for what is created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes {
    pub(crate) file: u32,
    pub(crate) dir: u32,
    /// Whether the bits hold whatever the umask says: other users are to write here as well.
    pub(crate) shared: bool,
}

impl Modes {
    /// For this user only.
    pub(crate) const PRIVATE: Self = Self { file: 0o600, dir: 0o700, shared: false };

    /// Private unless `root` is writable by its group; then as the root is.
    pub(crate) fn of_root(root: &Metadata) -> Self {
        let bits = root.mode() & 0o2777;
        if bits & 0o020 != 0 {
            Self { file: bits & 0o666, dir: bits, shared: true }
        } else {
            Self::PRIVATE
        }
    }

    /// For a file outside the store, where the umask has its say.
    pub(crate) fn outside(file: u32) -> Self {
        Self { file, dir: 0o777, shared: false }
    }

    /// Gives a new file the bits that the umask took from it, where the store is shared.
    pub(crate) fn apply_to_file(self, file: &File) -> io::Result<()> {
        if self.shared { file.set_permissions(Permissions::from_mode(self.file)) } else { Ok(()) }
    }
}

/// `O_NOFOLLOW`, as the standard library takes it.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// How often something is made anew that others remove at the same time. Some file systems answer
/// "not found" whenever a file is to be made, so this must end.
const TRIES: usize = 64;

/// Makes something in `dir`, and the directory if it is missing: again if somebody removes it in
/// between.
fn make_in<T>(dir: &Path, modes: Modes, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_dirs(dir, modes)?,
            other => return other,
        }
    }
    make()
}

/// Creates `dir` and those of its parents that are missing.
pub(crate) fn create_dirs(dir: &Path, modes: Modes) -> io::Result<()> {
    let create = || DirBuilder::new().mode(modes.dir & 0o777).create(dir);
    let created = match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => make_in(parent, modes, create),
        None => create(),
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Ok(()) if modes.shared => fs::set_permissions(dir, Permissions::from_mode(modes.dir)),
        other => other,
    }
}

/// Opens a file that exists only to be locked. A link is refused: it may lead to another lock.
pub(crate) fn open_lock_file(path: &Path, modes: Modes) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(modes.file).custom_flags(NO_FOLLOW);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut tries = 0;
    loop {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        tries += 1;
        match make_in(dir, modes, || options.clone().create_new(true).open(path)) {
            Ok(file) => {
                modes.apply_to_file(&file)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes the exclusive lock of a file or directory; `false` when somebody else has it.
pub(crate) fn lock_if_free(file: &File) -> io::Result<bool> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody holds the lock of a file or directory at this moment.
pub(crate) fn is_lock_free(file: &File) -> io::Result<bool> {
    let is_free = lock_if_free(file)?;
    if is_free {
        // A child that was forked meanwhile shares the open file; closing ours alone would leave
        // the lock with the child.
        flock(file, FlockOperation::Unlock)?;
    }
    Ok(is_free)
}

/// Whether `path` still leads to the open `file`.
pub(crate) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
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
            let file = match make_in(dir, modes, || options.open(&path)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            let temp = Self { file, path, published: false };
            modes.apply_to_file(&temp.file)?;
            // A collector may have seen the file before it was locked, and taken it for litter.
            // Where there are no locks, there are no collectors.
            if lock_if_free(&temp.file).unwrap_or(true) && is_linked(&temp.file)? {
                return Ok(temp);
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is, as if its writer had died.
    pub(crate) fn abandon(mut self) {
        self.published = true;
    }

    /// Gives the file its name, replacing the file that had it.
    pub(crate) fn publish(mut self, target: &Path, modes: Modes) -> io::Result<()> {
        rename_into(&self.path, target, modes)?;
        self.published = true;
        Ok(())
    }

    /// Gives the file its place in the store, replacing whatever had it.
    pub(crate) fn publish_entry(mut self, target: &Path, modes: Modes) -> io::Result<()> {
        rename_over(&self.path, target, modes)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
        // A child that was forked meanwhile shares the open file; closing ours alone would leave
        // the lock with the child, and what was abandoned would pass for work under way.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Renames, making the target's parent directory when it is missing: again if a sweeper removes it
/// in between, because it is empty.
pub(crate) fn rename_into(from: &Path, target: &Path, modes: Modes) -> io::Result<()> {
    match (fs::rename(from, target), target.parent()) {
        (Err(error), Some(parent))
            if error.kind() == io::ErrorKind::NotFound && from.symlink_metadata().is_ok() =>
        {
            make_in(parent, modes, || fs::rename(from, target))
        }
        (result, _) => result,
    }
}

/// As [`rename_into`], for a file that gets its place in the store: a directory there is damage.
pub(crate) fn rename_over(from: &Path, target: &Path, modes: Modes) -> io::Result<()> {
    match rename_into(from, target, modes) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            remove_dir(target)?;
            rename_into(from, target, modes)
        }
        other => other,
    }
}

pub(crate) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_absence(&error) => Ok(()),
        other => other,
    }
}

/// Makes the place of a file in the store free, whatever damage has put there.
pub(crate) fn clear_place(path: &Path) -> io::Result<()> {
    match remove_if_present(path) {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) => {
            remove_dir(path)
        }
        other => other,
    }
}

/// The prefix and suffix of [`unique_name`]s.
const TEMP_AFFIXES: (&str, &str) = (".rewarm-", ".tmp");

/// A file name that no other writer uses now. The random part keeps processes apart that have one
/// number in different containers.
pub(crate) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static RANDOM: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let (prefix, suffix) = TEMP_AFFIXES;
    format!("{prefix}{}-{:016x}-{count}{suffix}", std::process::id(), *RANDOM)
}

/// Whether a name can have come from [`unique_name`].
pub(crate) fn is_temp_name(name: &str) -> bool {
    let (prefix, suffix) = TEMP_AFFIXES;
    let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
    middle.is_some_and(|middle| {
        let parts: Vec<&str> = middle.split('-').collect();
        parts.len() == 3 && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}
