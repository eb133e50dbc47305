//! Conda packages into prefixes: what a prefix lacks, and bringing it there.
//!
//! [`check`] compares the packages that a lock file names with those that a prefix records and
//! gives a [`Plan`]; the caller gets the plan's downloads into the store, and [`Plan::execute`] does
//! the rest. When what else belongs into the prefix is there, [`Marker::write`] tells pixi, and
//! [`note`] the next command, for which [`is_current`] then is enough. Every package is unpacked once
//! into a tree of the store and linked from there. The prefix, its records and its marker files are
//! those that pixi makes. Scripts that packages bring for the time of their installation are not
//! run. This module knows no network.

mod archive;
mod content;
mod execute;
mod link;
mod marker;
mod names;
mod plan;
mod stamp;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rattler_conda_types::{PrefixRecord, RepoDataRecord, Subdir};
use rattler_digest::Md5Hash;
use rayon::prelude::*;
use rewarm_store::{Digest, Store};
use url::Url;

pub use archive::UnpackError;
pub use marker::{Marker, PIXI_VERSION, Progress, locked_hash};
pub use plan::{Depth, InstallPlan, Reason};
pub use rewarm_store::LinkMode;
pub use stamp::{Outdated, STAMP_FILE, is_current, note};

use plan::Everything;

/// What belongs into a prefix.
#[derive(Debug, Clone)]
pub struct Target {
    /// The prefix's directory, absolute.
    pub prefix: PathBuf,
    /// The packages, one per name.
    pub packages: Vec<RepoDataRecord>,
    /// The platform of the prefix.
    pub platform: Subdir,
}

/// How a prefix is compared and filled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether everything is installed again.
    pub reinstall: bool,
    /// How closely files are looked at.
    pub depth: Depth,
    /// How files get into the prefix.
    pub link_mode: LinkMode,
}

/// A file that has to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is.
    pub url: Url,
    /// Its name, `NAME-VERSION-BUILD.conda` or `.tar.bz2`.
    pub filename: String,
    /// Its sha256, if the lock file names it.
    pub sha256: Option<Digest>,
    /// Its MD5, if the lock file names it; all that old ones have.
    pub md5: Option<Md5Hash>,
    /// Bytes, if the lock file says so.
    pub size: Option<u64>,
}

/// What an installation reports while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A package is ready to be linked.
    Prepared(String),
    /// A package was removed without a successor.
    Removed(String),
    /// A package was installed.
    Installed(String),
    /// A package brought a script to be run at its installation; it was not run.
    ScriptSkipped {
        /// The package.
        package: String,
        /// The script, below the prefix.
        script: PathBuf,
    },
    /// More than one package brought a file.
    Shared {
        /// The file, below the prefix.
        path: PathBuf,
        /// The package whose file is there.
        from: String,
        /// The packages whose file is not.
        others: Vec<String>,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Packages that were installed.
    pub installed: usize,
    /// Packages that were removed without a successor.
    pub removed: usize,
    /// Packages that were as they should be.
    pub kept: usize,
}

impl Report {
    fn of(install: &InstallPlan) -> Self {
        let (installed, removed) = (install.to_install().count(), install.to_remove().count());
        Self { installed, removed, kept: install.keep.len() }
    }
}

/// Why there can be no plan.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The prefix cannot be read.
    #[error("cannot read the prefix at `{}`", path.display())]
    Io {
        /// The path that failed.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name, version or build cannot be part of a file name.
    #[error("package `{package}` has a name, version or build that no file can have")]
    Name {
        /// The package as the lock file names it.
        package: String,
    },
    /// Two packages have one name.
    #[error("package `{package}` is to be installed twice")]
    Twice {
        /// The name.
        package: String,
    },
    /// Python packages for any version have no Python to be installed for.
    #[error(
        "package `{package}` needs `python` in the same environment, and the lock file names none"
    )]
    NoPython {
        /// The package's file name.
        package: String,
    },
    /// The prefix's path cannot be written into the files that need it.
    #[error("the prefix `{}` is not UTF-8", path.display())]
    NotUtf8 {
        /// The prefix.
        path: PathBuf,
    },
}

/// Why an installation failed. The prefix is unchanged, or marked as unfinished.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A package could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A local file is not there, or is not the one that was locked.
    #[error("cannot take `{}` into the cache", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file does not have the digest that the lock file asks for.
    #[error("package `{package}` does not have the digest that the lock file names")]
    WrongHash {
        /// The file's name.
        package: String,
    },
    /// A file was not downloaded, or the plan was not told.
    #[error("package `{package}` was not downloaded")]
    NotSupplied {
        /// The file's name.
        package: String,
    },
    /// A package could not be linked into the prefix.
    #[error("cannot install package `{package}`")]
    Link {
        /// The file's name.
        package: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It could not be settled whose file stands where several packages bring one.
    #[error("cannot settle which packages' files stand in `{}`", prefix.display())]
    Clobber {
        /// The prefix.
        prefix: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system refused.
    #[error("cannot change the prefix at `{}`", path.display())]
    Io {
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl InstallError {
    /// Whether the plan's downloads should be looked at again: a cached file was damaged, or swept
    /// away, and is no longer there.
    pub fn wants_download(&self) -> bool {
        matches!(self, Self::Unpack(UnpackError::Damaged { .. } | UnpackError::Missing { .. }))
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn link(wanted: &RepoDataRecord, source: rattler::install::InstallError) -> Self {
        Self::Link { package: wanted.identifier.to_string(), source: Box::new(source) }
    }
}

/// What has to be done.
#[derive(Debug)]
pub struct Plan {
    /// The changes, as they follow from what is there now.
    pub install: InstallPlan,
    /// How far the last installation came.
    pub found: Progress,
    target: Target,
    options: Options,
    supplied: BTreeMap<String, Digest>,
}

/// Compares the packages that a prefix records, and their files, with those that belong into it.
pub fn check(target: Target, options: Options) -> Result<Plan, CheckError> {
    let prefix = &target.prefix;
    if prefix.to_str().is_none() {
        return Err(CheckError::NotUtf8 { path: prefix.clone() });
    }
    let mut names = std::collections::BTreeSet::new();
    let python =
        plan::python(target.packages.iter().map(|one| &one.package_record), target.platform);
    for package in &target.packages {
        let record = &package.package_record;
        let file = PrefixRecord::from_repodata_record(package.clone(), Vec::new()).file_name();
        let shown = package.identifier.to_string();
        if file.contains(['/', '\\', '\0']) {
            return Err(CheckError::Name { package: shown });
        }
        if !names.insert(record.name.as_normalized()) {
            let package = record.name.as_normalized().to_owned();
            return Err(CheckError::Twice { package });
        }
        if record.noarch.is_python() && python.is_none() {
            return Err(CheckError::NoPython { package: shown });
        }
    }
    let io = |source| CheckError::Io { path: prefix.clone(), source };
    let (found, present) = (Progress::of(prefix), Records::read(prefix).map_err(io)?);
    let mut plan =
        Plan { install: InstallPlan::default(), found, target, options, supplied: BTreeMap::new() };
    let everything = plan.everything();
    plan.install = InstallPlan::new(
        &plan.target.prefix,
        &plan.target.packages,
        present,
        plan.target.platform,
        (options.depth, everything),
    );
    Ok(plan)
}

impl Plan {
    /// The prefix's directory.
    pub fn prefix(&self) -> &Path {
        &self.target.prefix
    }

    /// Whether the prefix and all its packages are as they should be. Carrying out such a plan still
    /// notes for pixi what was found.
    pub fn is_empty(&self) -> bool {
        self.install.is_empty() && self.found != Progress::Unfinished
    }

    /// Whether the Python of the prefix goes, or gives way to one that keeps packages elsewhere.
    pub fn moves_python(&self) -> bool {
        self.install.moves_python
    }

    fn everything(&self) -> Option<Everything> {
        match self.found {
            Progress::Unfinished => Some(Everything::Unfinished),
            _ => self.options.reinstall.then_some(Everything::Asked),
        }
    }

    /// The files behind URLs that the store does not have. One whose sha256 the lock names is found
    /// under that digest; any other has to be [supplied](Self::supply).
    pub fn downloads(&self, store: &Store) -> Vec<RemoteFile> {
        let is_missing = |wanted: &&RepoDataRecord| match self.digest_of(wanted) {
            Some(digest) => store.blob_path(&digest).is_none() && store.tree(&digest).is_none(),
            None => true,
        };
        let files = self.install.to_install().filter(|wanted| local(wanted).is_none());
        files.filter(is_missing).map(remote_file).collect()
    }

    /// Tells which blob a download became, and checks it against the lock file's digests.
    pub fn supply(
        &mut self,
        store: &Store,
        file: &RemoteFile,
        blob: &Digest,
    ) -> Result<(), InstallError> {
        verify(store, file, blob)?;
        self.supplied.insert(file.filename.clone(), *blob);
        Ok(())
    }

    fn digest_of(&self, wanted: &RepoDataRecord) -> Option<Digest> {
        let known = wanted.package_record.sha256.map(|sha256| Digest::from_bytes(sha256.into()));
        known.or_else(|| self.supplied.get(&wanted.identifier.to_string()).copied())
    }

    /// Takes a file of this machine into the store, if it is the one that is wanted.
    fn import(
        &self,
        store: &Store,
        path: &Path,
        wanted: &RepoDataRecord,
    ) -> Result<Digest, InstallError> {
        let expected = self.digest_of(wanted);
        if let Some(digest) = expected
            && (store.blob_path(&digest).is_some() || store.tree(&digest).is_some())
        {
            return Ok(digest);
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| InstallError::Local {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(|error| failed(error.into()))?;
        let length = file.metadata().map_err(|error| failed(error.into()))?.len();
        let adopted = store
            .adopt(&file, 0..length, expected.as_ref())
            .map_err(|error| failed(error.into()))?;
        verify(store, &remote_file(wanted), &adopted.blob.digest)?;
        Ok(adopted.blob.digest)
    }
}

/// Removes a prefix and all that is in it. One whose removal is cut short counts as unfinished.
pub fn remove(prefix: &Path) -> Result<(), InstallError> {
    let meta = prefix.join("conda-meta");
    if !meta.is_dir() {
        return fs::remove_dir_all(prefix).map_err(InstallError::io(prefix));
    }
    let lock = marker::PrefixLock::acquire(prefix).map_err(InstallError::io(prefix))?;
    lock.begin().map_err(InstallError::io(prefix))?;
    let remove = || {
        for entry in fs::read_dir(prefix)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true if entry.path() == meta => {}
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        fs::remove_dir_all(prefix)
    };
    remove().map_err(InstallError::io(prefix))
}

/// Where a package lies on this machine, if its URL says so.
fn local(wanted: &RepoDataRecord) -> Option<PathBuf> {
    (wanted.url.scheme() == "file").then(|| wanted.url.to_file_path().ok()).flatten()
}

fn remote_file(wanted: &RepoDataRecord) -> RemoteFile {
    let record = &wanted.package_record;
    RemoteFile {
        url: wanted.url.clone(),
        filename: wanted.identifier.to_string(),
        sha256: record.sha256.map(|sha256| Digest::from_bytes(sha256.into())),
        md5: record.md5,
        size: record.size,
    }
}

/// Checks a blob against the digests of a file that are not its address.
fn verify(store: &Store, file: &RemoteFile, blob: &Digest) -> Result<(), InstallError> {
    let wrong = || InstallError::WrongHash { package: file.filename.clone() };
    match (&file.sha256, &file.md5) {
        (Some(sha256), _) if sha256 == blob => Ok(()),
        (Some(_), _) => Err(wrong()),
        (None, None) => Ok(()),
        (None, Some(md5)) => {
            let path = store.blob_path(blob).ok_or_else(wrong)?;
            let found = rattler_digest::compute_file_digest::<rattler_digest::Md5>(&path)
                .map_err(InstallError::io(&path))?;
            if found == *md5 { Ok(()) } else { Err(wrong()) }
        }
    }
}

/// What a prefix records.
#[derive(Debug, Default)]
struct Records {
    /// Sorted by name. Paths that lead out of the prefix are not among those listed.
    packages: Vec<PrefixRecord>,
    /// Files that should be records and cannot be understood.
    damaged: Vec<PathBuf>,
}

impl Records {
    fn read(prefix: &Path) -> io::Result<Self> {
        let meta = prefix.join("conda-meta");
        let entries = match fs::read_dir(&meta) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let is_record = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
        let read: Vec<_> = names
            .into_par_iter()
            .filter(is_record)
            .map(|path| {
                let bytes = fs::read(&path)?;
                Ok(serde_json::from_slice::<PrefixRecord>(&bytes).map_err(|_| path))
            })
            .collect::<io::Result<_>>()?;
        let mut found = Self::default();
        for one in read {
            match one {
                Ok(mut record) => {
                    let paths = &mut record.paths_data.paths;
                    paths
                        .retain(|entry| is_inside(&entry.relative_path) && is_inside(entry.path()));
                    found.packages.push(record);
                }
                Err(path) => found.damaged.push(path),
            }
        }
        found.packages.sort_by(|a, b| a.name().cmp(b.name()));
        found.damaged.sort();
        Ok(found)
    }
}

/// A record is somebody's text: what it lists only counts below the prefix.
fn is_inside(path: &Path) -> bool {
    use std::path::Component;
    path.components().all(|part| matches!(part, Component::Normal(_)))
}
