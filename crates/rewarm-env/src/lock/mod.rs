//! Lock files: what they pin, read from three formats into one.
//!
//! A [`Lock`] is the parsed file. [`Lock::select`] is pure: with the markers and tags of an
//! interpreter and the wanted extras and groups it yields the packages to install, each with the
//! one file to install it from. Only a `requirements.txt` lacks file names and URLs; its packages
//! wait for index pages (see [`crate::index`]). Making a lock file is left to the tool that owns
//! its format.

mod file;
mod pylock;
mod requirements;
mod select;
mod uv;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rewarm_store::Digest;
use uv_normalize::{ExtraName, GroupName, PackageName};
use uv_pep440::{Version, VersionSpecifiers};
use uv_pep508::MarkerEnvironment;
use uv_platform_tags::Tags;

pub(crate) use file::{AnyHasher, normalized};
pub use file::{Hash, HashAlgorithm, Location, RemoteFile};
pub(crate) use select::choose;

/// The format of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockFormat {
    /// `pylock.toml` or `pylock.NAME.toml` (PEP 751).
    Pylock,
    /// `uv.lock`.
    Uv,
    /// `requirements*.txt` in which everything is pinned.
    Requirements,
}

/// A lock file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: LockFormat,
}

/// Which names out of a set are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names<T> {
    /// These.
    Some(Vec<T>),
    /// All that there are.
    All,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl<T: ToString + FromStr + PartialEq> Names<T> {
    /// The names as text; `None` for all.
    pub(crate) fn to_strings(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Some(names) => Some(names.iter().map(ToString::to_string).collect()),
        }
    }

    /// Adds names that [`to_strings`](Self::to_strings) gave.
    pub(crate) fn add(&mut self, texts: Option<&[String]>) {
        let (Self::Some(names), Some(texts)) = (&mut *self, texts) else {
            *self = Self::All;
            return;
        };
        for name in texts.iter().filter_map(|text| text.parse().ok()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
}

/// The optional parts of a project that are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Extras of the project.
    pub extras: Names<ExtraName>,
    /// Dependency groups (PEP 735), besides the default ones.
    pub groups: Names<GroupName>,
    /// Whether the default groups count: those the lock file names, for `uv.lock` those of
    /// `tool.uv.default-groups`, which is `dev` where it is not set.
    pub default_groups: Option<Names<GroupName>>,
    /// Whether default groups are left out.
    pub no_default_groups: bool,
}

/// What packages are selected for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The values of the environment markers.
    pub markers: &'a MarkerEnvironment,
    /// The wheels that run there.
    pub tags: &'a Tags,
    /// The optional parts.
    pub selection: &'a Selection,
}

/// One package to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: PackageName,
    /// Its version; unknown until it is built for some directories.
    pub version: Option<Version>,
    /// What it is installed from.
    pub source: Source,
}

/// What a package is installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A wheel, ready to be unpacked.
    Wheel {
        /// The file.
        file: RemoteFile,
        /// Whether the lock names this very URL rather than an index (PEP 610 then asks for a
        /// `direct_url.json`).
        direct: bool,
    },
    /// A source distribution, to be built.
    Sdist {
        /// The file.
        file: RemoteFile,
        /// Whether the lock names this very URL.
        direct: bool,
        /// The directory in it that holds the project.
        subdirectory: Option<PathBuf>,
    },
    /// A directory, to be built or linked in place.
    Directory {
        /// Its absolute path.
        path: PathBuf,
        /// Whether edits in the directory take effect without another installation (PEP 660).
        editable: bool,
        /// The content of the files that say how it is built; absent until somebody looked.
        build_files: Option<Digest>,
    },
    /// Whichever file of the index fits; the page of the project decides.
    Index {
        /// The digests that are allowed; empty if any is.
        hashes: Vec<Hash>,
    },
}

impl Source {
    /// The file that has to be fetched, if there is one.
    pub fn file(&self) -> Option<&RemoteFile> {
        match self {
            Self::Wheel { file, .. } | Self::Sdist { file, .. } => Some(file),
            Self::Directory { .. } | Self::Index { .. } => None,
        }
    }
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is malformed, or says something that cannot be.
    #[error("`{}` line {line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It asks for something that rewarm does not do.
    #[error("`{}` line {line}: {what} is not supported; {mend}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is not supported.
        what: String,
        /// What to do instead.
        mend: String,
    },
    /// A requirement that leaves the version open.
    #[error("`{}` line {line}: `{requirement}` is not pinned; write `NAME==VERSION`, or make a lock file with `uv pip compile`", path.display())]
    NotPinned {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The requirement as it stands there.
        requirement: String,
    },
    /// The lock file was made for other interpreters or platforms.
    #[error("`{}` does not cover this environment: {reason}", path.display())]
    Environment {
        /// The file.
        path: PathBuf,
        /// Which condition does not hold.
        reason: String,
    },
    /// An extra or a group that the lock file does not know.
    #[error("`{}` has no {kind} `{name}`; it has {}", path.display(), list(known))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// `extra` or `dependency group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No file of a package can be installed here.
    #[error("`{}`: no file of `{name}` fits this interpreter: {reason}", path.display())]
    NoFile {
        /// The lock file.
        path: PathBuf,
        /// The package.
        name: PackageName,
        /// Why none fits.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A parsed lock file.
#[derive(Debug)]
pub struct Lock {
    file: LockFile,
    files: Vec<(PathBuf, Digest)>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Pylock(Box<pylock::Pylock>),
    Uv(Box<uv::UvLock>),
    Requirements(requirements::Requirements),
}

impl Lock {
    /// Reads a lock file, and for `requirements.txt` those that it includes.
    pub fn read(file: &LockFile) -> Result<Self, LockError> {
        let path = &file.path;
        if file.format == LockFormat::Requirements {
            let (requirements, files) = requirements::read(path)?;
            let content = Content::Requirements(requirements);
            return Ok(Self { file: file.clone(), files, content });
        }
        let text = read_text(path)?;
        let content = match file.format {
            LockFormat::Uv => Content::Uv(Box::new(uv::parse(path, &text)?)),
            _ => Content::Pylock(Box::new(pylock::parse(path, &text)?)),
        };
        let files = vec![(path.clone(), Digest::of(&text))];
        Ok(Self { file: file.clone(), files, content })
    }

    /// The lock file.
    pub fn file(&self) -> &LockFile {
        &self.file
    }

    /// All files that were read, the lock file first, with the sha256 of what was read.
    pub fn files(&self) -> &[(PathBuf, Digest)] {
        &self.files
    }

    /// The interpreters that the lock was made for.
    pub fn requires_python(&self) -> Option<&VersionSpecifiers> {
        match &self.content {
            Content::Pylock(lock) => lock.requires_python.as_ref(),
            Content::Uv(lock) => lock.requires_python.as_ref(),
            Content::Requirements(_) => None,
        }
    }

    /// The indexes that a `requirements.txt` names itself (`--index-url` first).
    pub fn indexes(&self) -> &[String] {
        match &self.content {
            Content::Requirements(requirements) => &requirements.indexes,
            _ => &[],
        }
    }

    /// Every file behind a URL of which the lock says the sha256, whatever it fits. A
    /// `requirements.txt` names no such files.
    pub fn pinned_files(&self) -> Vec<(&url::Url, Digest)> {
        fn pinned(file: &RemoteFile) -> Option<(&url::Url, Digest)> {
            match &file.location {
                Location::Url(url) => Some((url, file.sha256()?)),
                Location::Path(_) => None,
            }
        }
        match &self.content {
            Content::Pylock(lock) => lock.files().filter_map(pinned).collect(),
            Content::Uv(lock) => lock.files().filter_map(pinned).collect(),
            Content::Requirements(_) => Vec::new(),
        }
    }

    /// The packages to install for `target`, sorted by name.
    pub fn select(&self, target: Target<'_>) -> Result<Vec<Wanted>, LockError> {
        let path = &self.file.path;
        if let Some(wanted) = self.requires_python() {
            let found = &target.markers.python_full_version().version;
            if !wanted.contains(&found.only_release()) {
                let reason = format!("it is for Python {wanted}, the interpreter is {found}");
                return Err(LockError::Environment { path: path.clone(), reason });
            }
        }
        let mut packages = match &self.content {
            Content::Pylock(lock) => lock.select(path, target)?,
            Content::Uv(lock) => lock.select(path, target)?,
            Content::Requirements(requirements) => requirements.select(target)?,
        };
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }
}

pub(crate) fn read_text(path: &Path) -> Result<String, LockError> {
    let bytes =
        fs::read(path).map_err(|source| LockError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = line_at_bytes(error.as_bytes(), error.utf8_error().valid_up_to());
        LockError::Invalid { path: path.to_owned(), line, message: "is not UTF-8".to_owned() }
    })
}

/// The number of the line that holds the byte at `offset`.
fn line_at(text: &str, offset: usize) -> usize {
    line_at_bytes(text.as_bytes(), offset)
}

fn line_at_bytes(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Where in a lock file something stands; makes errors.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    line: usize,
}

impl Place<'_> {
    fn invalid(self, message: impl Into<String>) -> LockError {
        LockError::Invalid { path: self.path.to_owned(), line: self.line, message: message.into() }
    }

    fn unsupported(self, what: impl Into<String>, mend: impl Into<String>) -> LockError {
        let (what, mend) = (what.into(), mend.into());
        LockError::Unsupported { path: self.path.to_owned(), line: self.line, what, mend }
    }
}

/// Reads TOML into `T`; the error names the line.
pub(crate) fn parse_toml<T: serde::de::DeserializeOwned>(
    path: &Path,
    text: &str,
) -> Result<T, LockError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        let message = error.message().trim_end().replace('\n', ", ");
        Place { path, line }.invalid(message)
    })
}

impl Selection {
    /// The extras of the project that are selected out of `known`.
    fn extras(&self, path: &Path, known: &[ExtraName]) -> Result<Vec<ExtraName>, LockError> {
        pick(path, "extra", &self.extras, known)
    }

    /// The groups that are selected out of `known`; `defaults` are those of the lock file.
    fn groups(
        &self,
        path: &Path,
        known: &[GroupName],
        defaults: &[GroupName],
    ) -> Result<Vec<GroupName>, LockError> {
        let mut names = pick(path, "dependency group", &self.groups, known)?;
        if !self.no_default_groups {
            match &self.default_groups {
                Some(defaults) => names.extend(pick(path, "dependency group", defaults, known)?),
                None => names.extend_from_slice(defaults),
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn pick<T: Clone + Ord + std::fmt::Display>(
    path: &Path,
    kind: &'static str,
    wanted: &Names<T>,
    known: &[T],
) -> Result<Vec<T>, LockError> {
    match wanted {
        Names::All => Ok(known.to_vec()),
        Names::Some(wanted) => match wanted.iter().find(|name| !known.contains(name)) {
            None => Ok(wanted.clone()),
            Some(unknown) => {
                let known = known.iter().map(ToString::to_string).collect();
                let (path, name) = (path.to_owned(), unknown.to_string());
                Err(LockError::Unknown { path, kind, name, known })
            }
        },
    }
}
