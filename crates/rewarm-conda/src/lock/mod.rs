//! Lock files: which packages an environment is made of on a platform.
//!
//! `pixi.lock` of the versions 1 to 7 is read through `rattler_lock`. [`LockFile::wanted`] turns an
//! environment into the packages to install, each with where it comes from and what proves it, and
//! refuses by name what cannot be installed. [`plan`] does that for a workspace and a machine.
//! Nothing is fetched or solved.

mod check;
mod error;
mod host;
mod wanted;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rattler_lock::{CondaPackageData, LockedPackage, ParseCondaLockError};

pub use check::{Fit, check, check_environment};
pub use error::LockError;
pub(crate) use error::list;
pub use host::{Host, OVERRIDES};
pub(crate) use wanted::Reader;
pub use wanted::{CondaPackage, PypiLocation, PypiPackage, Wanted};

use crate::manifest::{self, ManifestError, Platform, PypiSource, Workspace};

/// The name of the lock file of a workspace.
pub const LOCK_FILE: &str = "pixi.lock";

/// A lock file that was read.
#[derive(Debug, Clone)]
pub struct LockFile {
    path: PathBuf,
    lock: rattler_lock::LockFile,
    /// The paths of packages that are marked as editable, which formats before 7 do.
    editable: BTreeSet<String>,
}

impl LockFile {
    /// Reads the lock file at a path.
    ///
    /// # Errors
    ///
    /// When there is none, it cannot be read, or it is malformed.
    pub fn load(path: &Path) -> Result<Self, LockError> {
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LockError::Missing { path: path.to_owned() },
            _ => LockError::Read { path: path.to_owned(), source },
        })?;
        Self::read(path, &text)
    }

    /// Reads the text of a lock file; relative paths in it are seen from the directory of `path`.
    ///
    /// # Errors
    ///
    /// When it is malformed, or of a newer format.
    pub fn read(path: &Path, text: &str) -> Result<Self, LockError> {
        let malformed = |line: Option<usize>, message: String, source| LockError::Malformed {
            path: path.to_owned(),
            line: line.map(|it| format!(" line {it}")).unwrap_or_default(),
            message,
            source,
        };
        let conflict = text.lines().position(|line| line.starts_with("<<<<<<< "));
        if let Some(at) = conflict {
            let message = "it has the marks of a merge; take one side and run `pixi lock`";
            return Err(malformed(Some(at + 1), message.to_owned(), None));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let lock = rattler_lock::LockFile::from_str_with_base_directory(text, Some(base));
        let lock = lock.map_err(|error| {
            let mend = match error {
                ParseCondaLockError::IncompatibleVersion { .. } => {
                    "a newer rewarm may read it, or an older pixi write it"
                }
                _ => "write it anew with `pixi lock`",
            };
            malformed(None, format!("{error}; {mend}"), Some(Box::new(error)))
        })?;
        Ok(Self { path: path.to_owned(), lock, editable: wanted::editable(text) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of its format.
    pub fn version(&self) -> u16 {
        self.lock.version() as u16
    }

    /// The names of its environments, sorted.
    pub fn environments(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.lock.environments().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    fn environment(&self, name: &str) -> Result<rattler_lock::Environment<'_>, LockError> {
        self.lock.environment(name).ok_or_else(|| LockError::NoEnvironment {
            path: self.path.clone(),
            environment: name.to_owned(),
            known: list(self.environments()),
        })
    }

    /// The platforms that an environment is locked for, by name.
    ///
    /// # Errors
    ///
    /// When it has no such environment.
    pub fn platforms(&self, environment: &str) -> Result<Vec<Platform>, LockError> {
        let mut found: Vec<Platform> =
            self.environment(environment)?.platforms().map(wanted::platform).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The entry that a platform of the manifest has in an environment.
    ///
    /// By its name. Formats before 7 know subdirectories only, and a platform that is named after
    /// system requirements may be there under the name of the subdirectory, if that has but one.
    fn locked_platform(
        &self,
        environment: &str,
        platform: &Platform,
    ) -> Result<rattler_lock::Platform<'_>, LockError> {
        let all: Vec<_> = self.environment(environment)?.platforms().collect();
        let named = all.iter().find(|it| it.name().as_str() == platform.name);
        let mut same = all.iter().filter(|it| it.subdir() == platform.subdir);
        let only = match (same.next(), same.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        named.or(only).copied().ok_or_else(|| LockError::NoPlatform {
            path: self.path.clone(),
            environment: environment.to_owned(),
            platform: platform.name.clone(),
            known: list(all.iter().map(|it| it.name().as_str())),
        })
    }

    /// The packages of an environment on a platform.
    ///
    /// # Errors
    ///
    /// When there is no such environment or platform in it, or a package cannot be installed.
    pub fn wanted(&self, environment: &str, platform: &Platform) -> Result<Wanted, LockError> {
        let locked = self.locked_platform(environment, platform)?;
        let entry = self.environment(environment)?;
        let mut wanted = Wanted {
            environment: environment.to_owned(),
            platform: wanted::platform(locked),
            channels: entry.channels().iter().map(|it| it.url.clone()).collect(),
            conda: Vec::new(),
            pypi: Vec::new(),
            pypi_indexes: entry.pypi_indexes().map(|it| it.indexes.clone()).unwrap_or_default(),
        };
        let reader = Reader { path: &self.path, editable: &self.editable, again: "pixi lock" };
        for package in entry.packages(locked).into_iter().flatten() {
            match package {
                LockedPackage::Conda(CondaPackageData::Binary(package)) => {
                    wanted.conda.push(reader.conda(package, locked.subdir())?);
                }
                LockedPackage::Conda(CondaPackageData::Source(package)) => {
                    return Err(reader.source_package(package));
                }
                LockedPackage::Pypi(package) => wanted.pypi.push(reader.pypi(package)?),
            }
        }
        Ok(wanted)
    }
}

/// What is wanted of an environment of a workspace on a machine, and on which of its platforms.
///
/// # Errors
///
/// As [`LockFile::wanted`], and when the machine lacks what the platform or a package asks for.
pub fn plan(
    workspace: &Workspace,
    lock: &LockFile,
    environment: &str,
    host: &Host,
) -> Result<Wanted, PlanError> {
    if !workspace.has_environment(environment) {
        return Err(workspace.no_environment(environment).into());
    }
    let platforms = workspace.environment_platforms(environment);
    let platform = host.choose(&platforms, environment)?;
    let mut wanted = lock.wanted(environment, platform)?;
    wanted.platform = platform.clone();
    for package in &wanted.conda {
        let record = &package.record.package_record;
        host.meets(record.name.as_normalized(), &record.depends)?;
    }
    let requirements = workspace.requirements(environment, platform);
    for package in &mut wanted.pypi {
        let asked = requirements.pypi.iter().find(|it| it.name.to_string() == package.name);
        if let Some(PypiSource::Path { editable: Some(yes), .. }) = asked.map(|it| &it.source)
            && let PypiLocation::Directory { editable, .. } = &mut package.location
        {
            *editable = *yes;
        }
    }
    Ok(wanted)
}

/// Why nothing can be planned for an environment.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest does not say.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The lock file does not say.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The name of the environment that is meant where none is given.
pub const DEFAULT_ENVIRONMENT: &str = manifest::DEFAULT;
