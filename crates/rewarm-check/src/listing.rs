//! What lies below the project: every source, every directory that could be a package.
//!
//! mypy finds modules by name, so a file that appears matters as much as one that changes. The
//! listing holds `.py`, `.pyi` and `py.typed` files, directories' names, and what the request adds.
//! It leaves out what no import can reach: hidden directories, `__pycache__`, `node_modules`, and
//! virtual environments. Whatever mypy reads in there all the same is observed when it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use rewarm_store::Witness;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::witness::of_stat;

/// The tree below one root. Paths are relative to it, as bytes with `/` between components.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files whose content counts.
    pub(crate) files: BTreeMap<Vec<u8>, Witness>,
    /// Directories that were entered; the root is the empty path.
    pub(crate) directories: BTreeSet<Vec<u8>>,
}

/// What else belongs into a listing.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// `.gitignore` files, if mypy is told to heed them.
    pub(crate) gitignore: bool,
    /// Files by their path below the root.
    pub(crate) globs: Option<GlobSet>,
}

impl Listing {
    /// Lists `root`. Directories that cannot be read count as empty, as mypy takes them.
    pub(crate) fn of(root: &Path, extra: &Extra) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let mut walk = Walk { listing: Self::default(), extra, above: vec![identity(&stat)] };
        walk.directory(&fd, &mut Vec::new())?;
        Ok(walk.listing)
    }

    /// How many modules there are.
    pub(crate) fn sources(&self) -> usize {
        let is_source = |path: &&Vec<u8>| path.ends_with(b".py") || path.ends_with(b".pyi");
        self.files.keys().filter(is_source).count()
    }
}

struct Walk<'a> {
    listing: Listing,
    extra: &'a Extra,
    /// The directories from the root to here, against links that lead back.
    above: Vec<(u64, u64)>,
}

/// Device and inode.
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Walk<'_> {
    /// Takes in the directory open at `fd`, which is `path` below the root.
    fn directory(&mut self, fd: &rustix::fd::OwnedFd, path: &mut Vec<u8>) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"pyvenv.cfg" && !path.is_empty() {
                return Ok(());
            }
            if name != b"." && name != b".." {
                entries.push((name.to_vec(), entry.file_type()));
            }
        }
        self.listing.directories.insert(path.clone());
        let length = path.len();
        for (name, kind) in entries {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.entry(fd, &name, kind, path);
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, fd: &rustix::fd::OwnedFd, name: &[u8], kind: FileType, path: &mut Vec<u8>) {
        let wanted = self.is_wanted(name, path);
        let may_be_directory = !matches!(kind, FileType::RegularFile) && is_entered(name);
        if !wanted && !may_be_directory {
            return;
        }
        let name = OsStr::from_bytes(name);
        let mut directory = kind == FileType::Directory;
        if !directory {
            // What vanished meanwhile, or leads nowhere, is as good as absent.
            let Ok(stat) = rustix::fs::statat(fd, name, AtFlags::empty()) else { return };
            let target = FileType::from_raw_mode(stat.st_mode);
            if target == FileType::RegularFile && wanted {
                self.listing.files.insert(path.clone(), of_stat(&stat));
            }
            directory = target == FileType::Directory;
        }
        if directory && may_be_directory {
            self.descend(fd, name, path);
        }
    }

    fn descend(&mut self, fd: &rustix::fd::OwnedFd, name: &OsStr, path: &mut Vec<u8>) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(below) = rustix::fs::openat(fd, name, flags, Mode::empty()) else { return };
        let Ok(stat) = rustix::fs::fstat(&below) else { return };
        let identity = identity(&stat);
        if self.above.contains(&identity) {
            return;
        }
        self.above.push(identity);
        let _ = self.directory(&below, path);
        self.above.pop();
    }

    fn is_wanted(&self, name: &[u8], path: &[u8]) -> bool {
        is_source_name(name)
            || self.extra.gitignore && name == b".gitignore"
            || self
                .extra
                .globs
                .as_ref()
                .is_some_and(|globs| globs.is_match(OsStr::from_bytes(path)))
    }
}

/// Names of files that can be modules or say something about them.
fn is_source_name(name: &[u8]) -> bool {
    name.ends_with(b".py") || name.ends_with(b".pyi") || name == b"py.typed"
}

fn is_entered(name: &[u8]) -> bool {
    !name.starts_with(b".") && name != b"__pycache__" && name != b"node_modules"
}

/// The names in one directory that can matter, in order, with a mark for directories.
///
/// With `all`, every name but those of bytecode.
pub(crate) fn names(directory: &Path, all: bool) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let mut result = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || name == b"__pycache__" || name.ends_with(b".pyc") {
            continue;
        }
        let mut kind = entry.file_type();
        if matches!(kind, FileType::Symlink | FileType::Unknown) {
            let stat = rustix::fs::statat(&fd, OsStr::from_bytes(name), AtFlags::empty());
            let Ok(stat) = stat else { continue };
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        let directory = kind == FileType::Directory;
        let importable = is_source_name(name) || name.ends_with(b".so") || name.ends_with(b".pth");
        if all || directory || importable {
            result.push((name.to_vec(), directory));
        }
    }
    result.sort_unstable();
    Ok(result)
}

/// The path of a listed file.
pub(crate) fn join(root: &Path, relative: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(relative))
}
