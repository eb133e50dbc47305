//! Projects of conda: an `environment.yml` beside a lock that names every package.
//!
//! In one directory these are looked for, in this order, and the first lock that is there counts:
//!
//! - `environment.yml`, `environment.yaml`;
//! - `conda-SUBDIR.lock` (as conda-lock writes it), `environment-SUBDIR.lock`, `explicit-SUBDIR.txt`,
//!   `explicit.txt`: lists of URLs below the word `@EXPLICIT`, for the subdirectory of the machine;
//! - `conda-lock.yml`.
//!
//! Nothing is solved: an `environment.yml` without a lock is refused with the ways to make one. A
//! list of URLs says nothing of what packages depend on; that is in the packages themselves.

mod environment;
mod explicit;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use environment::CondaEnvironment;
pub use explicit::parse as parse_explicit;

use crate::lock::{Fit, Host, LockError, LockFile, Wanted};

/// The names of environment files, the first before the second.
pub const ENVIRONMENT_FILES: [&str; 2] = ["environment.yml", "environment.yaml"];
/// The name of a lock of conda-lock for several platforms.
pub const CONDA_LOCK: &str = "conda-lock.yml";

/// The files of a conda project that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The directory.
    pub root: PathBuf,
    /// What is asked for.
    pub environment: Option<PathBuf>,
    /// What is locked for a machine.
    pub lock: Option<PathBuf>,
}

/// Why a conda project cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An environment file is malformed.
    #[error("`{}` is no environment file of conda: {message}", path.display())]
    Environment {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
    /// A line of a list of URLs is malformed.
    #[error("`{}` line {line}: {message}", path.display())]
    Explicit {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there, and what to do.
        message: String,
    },
    /// An environment file without a lock.
    #[error(
        "`{}` does not say which packages; lock it with `conda-lock -k explicit -p {subdir}`, or in \
         an environment made from it with `conda list --explicit --sha256 > {}`, or make it a \
         workspace with `pixi init --import`",
        path.display(),
        lock.display()
    )]
    NotLocked {
        /// The environment file.
        path: PathBuf,
        /// The subdirectory of the machine.
        subdir: String,
        /// Where the lock is looked for first.
        lock: PathBuf,
    },
    /// A lock that does not have what the environment file asks for.
    #[error("`{}` is outdated: {reason}; lock it again as `{}` says it", lock.display(), path.display())]
    Outdated {
        /// The environment file.
        path: PathBuf,
        /// The lock.
        lock: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A lock for other platforms.
    #[error(
        "`{}` is for {known}, and this machine is `{machine}`; lock it for that with `conda-lock -p \
         {machine}`",
        path.display()
    )]
    Machine {
        /// The lock.
        path: PathBuf,
        /// The platforms that it is for.
        known: String,
        /// The subdirectory of the machine.
        machine: String,
    },
    /// A package cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The files of a conda project in a directory, for a machine; `None` if there are none.
pub fn find(dir: &Path, host: &Host) -> Option<Files> {
    let existing = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
    let environment = ENVIRONMENT_FILES.iter().find_map(|name| existing(name));
    let lock = lock_names(host).iter().find_map(|name| existing(name));
    let found = environment.is_some() || lock.is_some();
    found.then(|| Files { root: dir.to_owned(), environment, lock })
}

/// The names of locks, the first before the later ones.
fn lock_names(host: &Host) -> Vec<String> {
    let mut names = Vec::new();
    for subdir in host.subdirs() {
        names.push(format!("conda-{subdir}.lock"));
        names.push(format!("environment-{subdir}.lock"));
        names.push(format!("explicit-{subdir}.txt"));
    }
    names.push("explicit.txt".to_owned());
    names.push(CONDA_LOCK.to_owned());
    names
}

impl Files {
    /// What the environment file says, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is malformed.
    pub fn environment(&self) -> Result<Option<CondaEnvironment>, SourceError> {
        let parse = |path: &PathBuf| CondaEnvironment::parse(path, &read(path)?);
        self.environment.as_ref().map(parse).transpose()
    }

    /// The packages that are locked for a machine.
    ///
    /// # Errors
    ///
    /// When there is no lock, it cannot be read, has not what the environment file asks for, or a
    /// package in it cannot be had on the machine.
    pub fn wanted(&self, host: &Host) -> Result<Wanted, SourceError> {
        let environment = self.environment()?;
        let Some(lock) = &self.lock else {
            let path = self.environment.clone().unwrap_or_else(|| self.root.clone());
            let subdir = host.subdir.to_string();
            let lock = self.root.join(format!("conda-{subdir}.lock"));
            return Err(SourceError::NotLocked { path, subdir, lock });
        };
        let text = read(lock)?;
        let mut wanted = match lock.file_name().is_some_and(|name| name == CONDA_LOCK) {
            true => conda_lock(lock, &text, host)?,
            false => explicit::parse(lock, &text, host)?,
        };
        if let (Some(environment), Some(path)) = (environment, &self.environment) {
            if let Fit::Outdated { reason } = environment.fits(&wanted) {
                let (path, lock) = (path.clone(), lock.clone());
                return Err(SourceError::Outdated { path, lock, reason });
            }
            wanted.environment = environment.name.unwrap_or(wanted.environment);
        }
        for package in &wanted.conda {
            let record = &package.record.package_record;
            host.meets(record.name.as_normalized(), &record.depends)?;
        }
        Ok(wanted)
    }
}

fn read(path: &Path) -> Result<String, SourceError> {
    let source = |source| SourceError::Read { path: path.to_owned(), source };
    fs::read_to_string(path).map_err(source)
}

fn conda_lock(path: &Path, text: &str, host: &Host) -> Result<Wanted, SourceError> {
    let lock = LockFile::read(path, text)?;
    let name = crate::lock::DEFAULT_ENVIRONMENT;
    let locked = lock.platforms(name)?;
    let platform = host.choose(&locked, name).map_err(|error| match error {
        LockError::Machine { known, machine, .. } => {
            SourceError::Machine { path: path.to_owned(), known, machine }
        }
        other => other.into(),
    })?;
    Ok(lock.wanted(name, platform)?)
}
