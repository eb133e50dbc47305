//! Whole directories: filled in private, swapped in at once, cloned and removed.
//!
//! A [`TempDir`] carries a lock on the directory itself as long as its writer lives, which is what
//! tells litter from work under way, as for a temporary file. A published directory appears with
//! all that is in it, and what it replaces disappears with all that was in it.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW,
};
use rustix::io::Errno;

use crate::fs::{Modes, create_dirs, is_absence, is_named, lock_if_free, rename_into, unique_name};
use crate::handout::collect_once;

/// A directory under a temporary name, locked as long as its writer lives.
///
/// Dropping an unpublished one removes it.
#[derive(Debug)]
pub(crate) struct TempDir {
    file: File,
    path: PathBuf,
}

impl TempDir {
    /// Creates an empty directory in `parent`, which is made if need be.
    pub(crate) fn create(parent: &Path, modes: Modes) -> io::Result<Self> {
        loop {
            let path = parent.join(unique_name());
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create_dirs(parent, modes)?;
                    continue;
                }
                other => other?,
            }
            // A collector may see the directory before it is locked, and take it for litter.
            let file = match open_dir(CWD, &path) {
                Err(error) if is_absence(&error) => continue,
                other => other?,
            };
            let temp = Self { file, path };
            if lock_if_free(&temp.file).unwrap_or(true) && is_named(&temp.file, &temp.path)? {
                return Ok(temp);
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the directory its name. What had that name is then under the temporary one, and is
    /// removed when the returned value is dropped: not while the caller holds a lock.
    pub(crate) fn publish(self, target: &Path, modes: Modes) -> io::Result<Self> {
        swap_into(&self.path, target, modes)?;
        Ok(self)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = remove_dir(&self.path);
    }
}

/// A private directory that goes with its process: removed when dropped, and if the process was
/// killed, by the next that makes one in the same place.
#[derive(Debug)]
pub struct ScratchDir(TempDir);

impl ScratchDir {
    /// Makes an empty one in `parent`.
    pub fn create(parent: &Path) -> io::Result<Self> {
        collect_once(parent);
        let dir = TempDir::create(parent, Modes::PRIVATE)?;
        dir.file.set_permissions(Permissions::from_mode(Modes::PRIVATE.dir))?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Opens a directory, for its entries and for its lock. A symbolic link is refused.
pub(crate) fn open_dir(parent: impl rustix::fd::AsFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, path, flags, Mode::empty())?.into())
}

/// Puts the directory `from` at `target`. What was at `target` is afterwards at `from`; readers
/// find the one or the other in between. Where the file system cannot exchange two names, there is
/// an instant with nothing at `target`; where it cannot rename the old directory (one that comes
/// from a lower layer of an overlay), that is removed first.
pub(crate) fn swap_into(from: &Path, target: &Path, modes: Modes) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(Errno::NOENT) => return rename_into(from, target, modes),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV) => {}
        Err(error) => return Err(error.into()),
    }
    let aside = from.with_file_name(unique_name());
    let is_aside = move_aside(target, &aside, modes)?;
    let renamed = rename_into(from, target, modes);
    if is_aside {
        fs::rename(&aside, if renamed.is_ok() { from } else { target })?;
    }
    renamed
}

/// Renames the directory `path` to `aside`. One that cannot be renamed is removed. Says whether
/// there is now something at `aside`.
pub(crate) fn move_aside(path: &Path, aside: &Path, modes: Modes) -> io::Result<bool> {
    match fs::symlink_metadata(path).and_then(|_| rename_into(path, aside, modes)) {
        Ok(()) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            remove_dir(path).map(|()| false)
        }
        Err(error) => Err(error),
    }
}

/// Removes a directory with all that is in it. Two processes may do so at once.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    loop {
        match fs::remove_dir_all(path) {
            // What another process removed first need not be removed.
            Err(error) if is_absence(&error) && path.symlink_metadata().is_ok() => {}
            Err(error) if is_absence(&error) => return Ok(()),
            other => return other,
        }
    }
}

/// Notes that a file or directory was of use, by its modification time, as the kernel has it.
pub(crate) fn mark_used(path: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Fills the empty directory `to` with what is in `from`: directories are made, files are hard
/// links, except those that `copy` (asked with the path below `from`) wants copied. Where links are
/// not to be had, everything is copied, with modes and modification times.
pub(crate) fn clone_dir(
    from: &File,
    to: &File,
    below: &Path,
    copy: &impl Fn(&Path) -> bool,
) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let path = below.join(OsStr::from_bytes(name.to_bytes()));
        match kind_of(from, name, entry.file_type())? {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o777))?;
                let name = Path::new(OsStr::from_bytes(name.to_bytes()));
                clone_dir(&open_dir(from, name)?, &open_dir(to, name)?, &path, copy)?;
            }
            FileType::RegularFile if copy(&path) => copy_file(from, to, name)?,
            kind => match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(error) if kind != FileType::RegularFile || error == Errno::NOENT => {
                    return Err(error.into());
                }
                Err(_) => copy_file(from, to, name)?,
            },
        }
    }
    Ok(())
}

/// Some file systems do not say the type of an entry when a directory is listed.
fn kind_of(dir: &File, name: &CStr, listed: FileType) -> io::Result<FileType> {
    if listed != FileType::Unknown {
        return Ok(listed);
    }
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn copy_file(from: &File, to: &File, name: &CStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut input: File = rustix::fs::openat(from, name, flags, Mode::empty())?.into();
    let metadata = input.metadata()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut output: File = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?.into();
    io::copy(&mut input, &mut output)?;
    output.set_modified(metadata.modified()?)?;
    output.set_permissions(metadata.permissions())
}
