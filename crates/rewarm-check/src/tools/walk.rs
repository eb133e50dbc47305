//! Everything below a directory that a native checker could take for an input.
//!
//! These checkers cannot be observed, so nothing is left to their judgement: hidden directories,
//! bytecode directories and other environments are entered, links are followed, and every name of a
//! directory or native module counts. The only directories left out are those of version control
//! and of other tools' caches, which no import can name and every checker leaves out; a path that
//! somebody names explicitly is walked on its own (see `named`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::GlobSet;
use rewarm_store::{Hasher, Witness};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::listing::way_back;
use crate::witness::of_stat;

/// Hidden directories that are not entered.
const LEFT_OUT: [&[u8]; 16] = [
    b".bzr",
    b".direnv",
    b".eggs",
    b".git",
    b".git-rewrite",
    b".hg",
    b".jj",
    b".mypy_cache",
    b".nox",
    b".pants.d",
    b".pyrefly_cache",
    b".pytest_cache",
    b".pytype",
    b".ruff_cache",
    b".svn",
    b".tox",
];

/// Ends of names whose content counts.
const SOURCES: [&[u8]; 4] = [b".py", b".pyi", b".ipynb", b".pyw"];

/// Names whose content counts: markers, ignore files, configuration, what leads to other
/// directories.
const NAMES: [&[u8]; 16] = [
    b"py.typed",
    b".gitignore",
    b".ignore",
    b".pyre_configuration",
    b".pyrefly.toml",
    b"pyrefly.toml",
    b"ty.toml",
    b"pyproject.toml",
    b"pyrightconfig.json",
    b"mypy.ini",
    b".mypy.ini",
    b"setup.cfg",
    b"setup.py",
    b"top_level.txt",
    b"direct_url.json",
    b"pyvenv.cfg",
];

/// Ends of those that can name further directories.
const CONFIGURATIONS: [&[u8]; 6] = [
    b"pyrefly.toml",
    b"ty.toml",
    b"pyproject.toml",
    b"pyrightconfig.json",
    b"mypy.ini",
    b"setup.cfg",
];

/// The tree below one directory. Paths are relative to it, as bytes with `/` between components.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Files whose content counts, sorted.
    pub(crate) files: Vec<(Vec<u8>, Witness)>,
    /// Directories (with a `/` at the end) and native modules, whose presence counts, and links to
    /// directories above them, with the way back.
    pub(crate) names: BTreeSet<Vec<u8>>,
}

impl Tree {
    /// Walks `root`; `globs` adds files. Directories that cannot be read count as empty, as the
    /// checkers take them; a root that is not there is an empty tree.
    ///
    /// With `bare`, directories of installed packages directly below `root` are left out: it is a
    /// standard library.
    pub(crate) fn of(root: &Path, globs: Option<&GlobSet>, bare: bool) -> io::Result<Self> {
        let fd = match rustix::fs::open(root, FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut walk = Walk { tree: Self::default(), root, globs, bare };
        walk.directory(fd, &mut Vec::new())?;
        walk.tree.files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(walk.tree)
    }

    /// How many modules there are, among those whose paths count.
    pub(crate) fn sources(&self, counts: impl Fn(&[u8]) -> bool) -> usize {
        self.files.iter().filter(|(path, _)| is_source(path) && counts(path)).count()
    }

    /// Files that configure checkers, below directories of their own.
    pub(crate) fn configurations(&self) -> impl Iterator<Item = &Path> {
        let ends = |path: &[u8]| CONFIGURATIONS.iter().any(|name| path.ends_with(name));
        let paths = self.files.iter().map(|(path, _)| path.as_slice());
        paths.filter(move |path| ends(path)).map(|path| Path::new(OsStr::from_bytes(path)))
    }

    /// Adds the names to a key.
    pub(crate) fn hash_names(&self, hasher: &mut Hasher) {
        hasher.list(&self.names);
    }
}

/// Whether a path can be a module.
pub(crate) fn is_source(path: &[u8]) -> bool {
    SOURCES.iter().any(|end| path.ends_with(end))
}

/// Whether directories of this name are not entered.
pub(crate) fn is_left_out(name: &[u8]) -> bool {
    LEFT_OUT.contains(&name)
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

struct Walk<'a> {
    tree: Tree,
    root: &'a Path,
    globs: Option<&'a GlobSet>,
    bare: bool,
}

impl Walk<'_> {
    fn directory(&mut self, fd: OwnedFd, path: &mut Vec<u8>) -> io::Result<()> {
        let mut directory = Dir::new(fd)?;
        let mut entries = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let (name, kind) = (entry.file_name().to_bytes(), entry.file_type());
            if name == b"." || name == b".." {
                continue;
            }
            if kind != FileType::RegularFile || self.globs.is_some() || matters(name) {
                entries.push((name.to_vec(), kind));
            }
        }
        let length = path.len();
        for (name, kind) in entries {
            path.extend_from_slice(&name);
            self.entry(directory.fd()?, &name, kind, path);
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, name: &[u8], kind: FileType, path: &mut Vec<u8>) {
        let globbed = self.globs.is_some_and(|globs| globs.is_match(OsStr::from_bytes(path)));
        if kind == FileType::RegularFile && !globbed && !matters(name) {
            return;
        }
        let installed = self.bare && path == name && name.ends_with(b"-packages");
        if kind == FileType::Directory && (is_left_out(name) || installed) {
            return;
        }
        let name = OsStr::from_bytes(name);
        let mut is_directory = kind == FileType::Directory;
        if !is_directory {
            let stat = rustix::fs::statat(fd, name, AtFlags::empty()).ok();
            match stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat)) {
                Some((FileType::RegularFile, stat)) if globbed || is_read(name.as_bytes()) => {
                    self.tree.files.push((path.clone(), of_stat(&stat)));
                }
                Some((FileType::RegularFile, _)) if is_native(name.as_bytes()) => {
                    self.tree.names.insert(path.clone());
                }
                Some((FileType::Directory, stat)) => match way_back(self.root, path, &stat) {
                    Some(way) => {
                        self.tree.names.insert([path.as_slice(), &way].concat());
                    }
                    None => is_directory = true,
                },
                // Nothing is behind a name that a checker may try to read.
                _ if is_read(name.as_bytes()) => {
                    self.tree.names.insert(path.clone());
                }
                _ => {}
            }
        }
        if is_directory {
            path.push(b'/');
            // Bytecode comes and goes; what else lies there counts by itself.
            if name != "__pycache__" {
                self.tree.names.insert(path.clone());
            }
            if let Ok(below) = rustix::fs::openat(fd, name, FLAGS, Mode::empty()) {
                let _ = self.directory(below, path);
            }
        }
    }
}

fn matters(name: &[u8]) -> bool {
    is_read(name) || is_native(name)
}

fn is_read(name: &[u8]) -> bool {
    is_source(name)
        || name.ends_with(b".pth")
        || name.ends_with(b".egg-link")
        || NAMES.contains(&name)
}

fn is_native(name: &[u8]) -> bool {
    name.ends_with(b".so") || name.ends_with(b".pyd") || name.ends_with(b".dylib")
}
