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
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::witness::of_stat;

/// The tree below one root. Paths are relative to it, as bytes with `/` between components.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files whose content counts.
    pub(crate) files: BTreeMap<Vec<u8>, Witness>,
    /// Directories that were entered; the root is the empty path. Of those that were not, a name
    /// below them stands for their presence. A path with a `/` at its end is a name of a source
    /// behind which there is none: mypy takes it for one all the same. A link to a directory that
    /// the walk came through, which mypy follows, ends with the way back: `/..`, `/../..`.
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
        let fd = rustix::fs::open(root, FLAGS, Mode::empty())?;
        let mut walk = Walk { listing: Self::default(), extra, root };
        walk.directory(fd, &mut Vec::new())?;
        Ok(walk.listing)
    }

    /// The last parts of the names of all modules that there may be.
    pub(crate) fn names(&self) -> BTreeSet<&[u8]> {
        let base = |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let stem =
            |name: &'_ [u8]| name.iter().position(|byte| *byte == b'.').unwrap_or(name.len());
        let all = self.files.keys().chain(&self.directories);
        all.map(|path| &path[base(path)..]).map(|name| &name[..stem(name)]).collect()
    }

    /// How many modules there are.
    pub(crate) fn sources(&self) -> usize {
        let is_source = |path: &&Vec<u8>| path.ends_with(b".py") || path.ends_with(b".pyi");
        self.files.keys().filter(is_source).count()
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

struct Walk<'a> {
    listing: Listing,
    extra: &'a Extra,
    root: &'a Path,
}

impl Walk<'_> {
    /// Takes in the directory open at `fd`, which is `path` below the root.
    fn directory(&mut self, fd: OwnedFd, path: &mut Vec<u8>) -> io::Result<()> {
        let mut directory = Dir::new(fd)?;
        let mut entries = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"pyvenv.cfg" && !path.is_empty() {
                path.extend_from_slice(b"/pyvenv.cfg");
                self.listing.directories.insert(path.clone());
                return Ok(());
            }
            let kind = entry.file_type();
            let passes = kind == FileType::RegularFile && self.extra.globs.is_none();
            if !name.starts_with(b".") && (!passes || is_source_name(name))
                || self.extra.gitignore && name == b".gitignore"
            {
                entries.push((name.to_vec(), kind));
            }
        }
        self.listing.directories.insert(path.clone());
        let length = path.len();
        for (name, kind) in entries {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.entry(directory.fd()?, &name, kind, path);
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, name: &[u8], kind: FileType, path: &mut Vec<u8>) {
        let wanted = self.is_wanted(name, path);
        let may_be_directory = kind != FileType::RegularFile && is_entered(name);
        if !wanted && !may_be_directory {
            return;
        }
        let name = OsStr::from_bytes(name);
        let mut is_directory = kind == FileType::Directory;
        if !is_directory {
            let stat = rustix::fs::statat(fd, name, AtFlags::empty()).ok();
            let target = stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat));
            if let Some((FileType::RegularFile, stat)) = target {
                if wanted {
                    self.listing.files.insert(path.clone(), of_stat(&stat));
                }
                return;
            }
            if let Some((FileType::Directory, stat)) = target
                && may_be_directory
            {
                if let Some(way) = way_back(self.root, path, &stat) {
                    self.listing.directories.insert(path.clone());
                    self.listing.directories.insert([path.as_slice(), &way].concat());
                    return;
                }
                is_directory = true;
            }
        }
        if is_directory
            && may_be_directory
            && let Ok(below) = rustix::fs::openat(fd, name, FLAGS, Mode::empty())
        {
            let _ = self.directory(below, path);
        } else if is_source_name(name.as_bytes()) {
            self.listing.directories.insert([path.as_slice(), b"/"].concat());
        }
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

/// The way from a link to its target, if that is a directory above it: `/..` for its own.
pub(crate) fn way_back(root: &Path, link: &[u8], target: &Stat) -> Option<Vec<u8>> {
    let above = Path::new(OsStr::from_bytes(link)).ancestors().skip(1);
    let mut found = above.map(|above| rustix::fs::stat(root.join(above)));
    let steps = found.position(|found| {
        found.is_ok_and(|found| (found.st_dev, found.st_ino) == (target.st_dev, target.st_ino))
    })?;
    Some(b"/..".repeat(steps + 1))
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
    let fd = rustix::fs::open(directory, FLAGS, Mode::empty())?;
    let mut listed = Dir::new(fd)?;
    let mut links = Vec::new();
    while let Some(entry) = listed.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || name == b"__pycache__" || name.ends_with(b".pyc") {
            continue;
        }
        match entry.file_type() {
            FileType::Symlink | FileType::Unknown => links.push(name.to_vec()),
            kind => result.push((name.to_vec(), kind == FileType::Directory)),
        }
    }
    for name in links {
        // One that leads nowhere can still be taken for a source.
        let target = rustix::fs::statat(listed.fd()?, OsStr::from_bytes(&name), AtFlags::empty());
        let kind = target.map(|stat| FileType::from_raw_mode(stat.st_mode));
        result.push((name, kind == Ok(FileType::Directory)));
    }
    let importable =
        |name: &[u8]| is_source_name(name) || name.ends_with(b".so") || name.ends_with(b".pth");
    result.retain(|(name, directory)| all || *directory || importable(name));
    result.sort_unstable();
    Ok(result)
}

/// The path of a listed file.
pub(crate) fn join(root: &Path, relative: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(relative))
}
