//! Packages of a lock file in the form in which they are installed.
//!
//! What later becomes a path in a prefix is checked here: a name, version or build string with a
//! separator in it is refused. So is a package of another platform, one that nothing proves, and
//! every kind that has to be built by pixi or checked out with git.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rattler_conda_types::{GenericVirtualPackage, RepoDataRecord, Subdir};
use rattler_lock::{CondaBinaryData, CondaSourceData, PypiPackageData, UrlOrPath};
use serde::Deserialize;
use url::Url;

use super::error::LockError;
use crate::manifest::{Platform, assumed, same, virtual_package};
use rewarm_store::Digest;

/// What an environment is made of on a platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The environment.
    pub environment: String,
    /// The platform.
    pub platform: Platform,
    /// The channels that it was solved with: URLs.
    pub channels: Vec<String>,
    /// Conda packages, in the order of `rattler_lock`.
    pub conda: Vec<CondaPackage>,
    /// PyPI packages, in the order of `rattler_lock`.
    pub pypi: Vec<PypiPackage>,
    /// The indexes that PyPI packages were found in.
    pub pypi_indexes: Vec<Url>,
}

/// A conda package to install.
#[derive(Debug, Clone, PartialEq)]
pub struct CondaPackage {
    /// All that the lock file says of it. It has a sha256 or an md5, and its URL may be a `file:`
    /// one.
    pub record: RepoDataRecord,
    /// Where it is, as the lock file writes it.
    pub location: String,
}

/// A PyPI package to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PypiPackage {
    /// Its name, normalised.
    pub name: String,
    /// Its version; unknown until it is built for some directories.
    pub version: Option<String>,
    /// Where it comes from.
    pub location: PypiLocation,
    /// Where it is, as the lock file writes it.
    pub locked_location: String,
    /// The index that it was found in, if the lock file tells.
    pub index: Option<Url>,
    /// Of the file.
    pub sha256: Option<Digest>,
    /// Its requirements (PEP 508).
    pub requires_dist: Vec<String>,
    /// The versions of Python that it is for.
    pub requires_python: Option<String>,
}

/// Where a PyPI package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PypiLocation {
    /// A wheel or an archive of sources behind `http:` or `https:`.
    Url(Url),
    /// A wheel or an archive of sources on this machine; absolute.
    File(PathBuf),
    /// A directory of sources; absolute.
    Directory {
        /// Where.
        path: PathBuf,
        /// Whether it is installed in place (PEP 660).
        editable: bool,
    },
}

impl PypiPackage {
    /// Whether it can be unpacked as it is; else it has to be built.
    pub fn is_wheel(&self) -> bool {
        match &self.location {
            PypiLocation::Url(url) => url.path().ends_with(".whl"),
            PypiLocation::File(path) => path.extension().is_some_and(|it| it == "whl"),
            PypiLocation::Directory { .. } => false,
        }
    }
}

/// A platform of a lock file in the form of the manifest.
pub(crate) fn platform(locked: rattler_lock::Platform<'_>) -> Platform {
    let subdir = locked.subdir();
    let assumed = assumed(subdir);
    let asked = locked.virtual_packages().iter().filter_map(|it| parse_virtual_package(it));
    Platform {
        name: locked.name().to_string(),
        subdir,
        virtual_packages: asked.filter(|it| !assumed.iter().any(|known| same(known, it))).collect(),
    }
}

/// `NAME`, `NAME=VERSION` or `NAME=VERSION=BUILD`.
fn parse_virtual_package(text: &str) -> Option<GenericVirtualPackage> {
    let mut parts = text.splitn(3, '=');
    let name = parts.next()?;
    let version = rattler_conda_types::Version::from_str(parts.next().unwrap_or("0")).ok()?;
    Some(virtual_package(name, version, parts.next().unwrap_or("0")))
}

/// The locations of the packages that are marked as editable. `rattler_lock` drops the mark.
pub(crate) fn editable(text: &str) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Lock {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        pypi: Option<String>,
        path: Option<String>,
        #[serde(default)]
        editable: bool,
    }
    if !text.contains("editable: true") {
        return BTreeSet::new();
    }
    let packages = serde_yaml::from_str(text).map(|it: Lock| it.packages).unwrap_or_default();
    let marked = packages.into_iter().filter(|it| it.editable);
    marked.filter_map(|it| it.pypi.or(it.path)).collect()
}

/// Turns the packages of one lock file into those to install.
pub(crate) struct Reader<'a> {
    pub(crate) path: &'a Path,
    pub(crate) editable: &'a BTreeSet<String>,
    /// What writes such a file, for the message.
    pub(crate) again: &'static str,
}

impl Reader<'_> {
    fn problem(&self, package: &str, problem: impl Into<String>) -> LockError {
        LockError::Package {
            path: self.path.to_owned(),
            package: package.escape_debug().to_string(),
            problem: problem.into(),
            again: self.again,
        }
    }

    fn absolute(&self, path: &str) -> PathBuf {
        let base = self.path.parent().unwrap_or(Path::new(""));
        let joined = base.join(path);
        // Only what can be told from the text: `a/./b` and, below the base, `a/../b`.
        joined.components().collect()
    }

    pub(crate) fn conda(
        &self,
        package: &CondaBinaryData,
        subdir: Subdir,
    ) -> Result<CondaPackage, LockError> {
        let record = package.package_record.clone();
        let name = record.name.as_normalized().to_owned();
        let location = package.location.to_string();
        self.check_plain(&name, &[&name, &record.version.to_string(), record.build.as_ref()])?;
        self.check_plain(&name, &[&package.file_name.to_string()])?;
        if record.subdir != "noarch" && record.subdir != subdir.as_str() {
            let text = format!("is for `{}`, in an environment for `{subdir}`", record.subdir);
            return Err(self.problem(&name, text));
        }
        if record.sha256.is_none() && record.md5.is_none() {
            return Err(self.problem(&name, "has neither a sha256 nor an md5"));
        }
        let url = match &package.location {
            UrlOrPath::Url(url) => url.clone(),
            UrlOrPath::Path(path) => {
                let path = self.absolute(path.as_str());
                Url::from_file_path(&path).map_err(|()| {
                    self.problem(
                        &name,
                        format!("is at `{}`, which is no absolute path", path.display()),
                    )
                })?
            }
        };
        if !matches!(url.scheme(), "http" | "https" | "file") {
            let text = format!("is behind `{}:`, which rewarm does not fetch from", url.scheme());
            return Err(self.problem(&name, text));
        }
        let channel = package.channel.as_ref().map(|it| it.as_str().to_owned());
        let identifier = package.file_name.clone();
        let record = RepoDataRecord { package_record: record, identifier, url, channel };
        Ok(CondaPackage { record, location })
    }

    /// Refuses what could leave the directory that it becomes a name in.
    fn check_plain(&self, package: &str, parts: &[&str]) -> Result<(), LockError> {
        let odd = |it: char| matches!(it, '/' | '\\') || it.is_control();
        match parts.iter().find(|it| it.contains(odd) || matches!(**it, "" | "." | "..")) {
            Some(part) => {
                let text = format!("has `{}` in its name, version or build", part.escape_debug());
                Err(self.problem(package, text))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn source_package(&self, package: &CondaSourceData) -> LockError {
        let what = match &package.location {
            UrlOrPath::Path(_) => "a conda package to be built from",
            UrlOrPath::Url(url) if url.scheme().starts_with("git") => {
                "a conda package to be built from git,"
            }
            UrlOrPath::Url(_) => "a conda package to be built from",
        };
        LockError::Unsupported {
            package: package.name().as_normalized().to_owned(),
            what: format!("{what} `{}`", package.location),
            mend: "run `pixi install`, which builds it, or depend on a built package".to_owned(),
        }
    }

    pub(crate) fn pypi(&self, package: &PypiPackageData) -> Result<PypiPackage, LockError> {
        let name = package.name().to_string();
        let locked = package.location().inner();
        let given = package.location().given().unwrap_or(locked.as_str());
        let sha256 = package.as_wheel().and_then(|it| it.hash.as_ref()?.sha256().copied());
        let location = match locked {
            UrlOrPath::Url(url) => self.pypi_url(&name, url)?,
            UrlOrPath::Path(path) => {
                let editable =
                    self.editable.contains(given) || self.editable.contains(path.as_str());
                let path = self.absolute(path.as_str());
                match package.as_wheel().is_some() && is_archive(&path) {
                    true => PypiLocation::File(path),
                    false => PypiLocation::Directory { path, editable },
                }
            }
        };
        let directory = matches!(location, PypiLocation::Directory { .. });
        let version = package.version().filter(|it| !directory || it.to_string() != "0a0.dev0");
        Ok(PypiPackage {
            version: version.map(ToString::to_string),
            location,
            locked_location: locked.to_string(),
            index: package.as_wheel().and_then(|it| it.index_url.clone()),
            sha256: sha256.map(|it| Digest::from_bytes(it.into())),
            requires_dist: package.requires_dist().iter().map(ToString::to_string).collect(),
            requires_python: package.requires_python().map(ToString::to_string),
            name,
        })
    }

    fn pypi_url(&self, name: &str, url: &Url) -> Result<PypiLocation, LockError> {
        // Older pixi marks URLs that are given in the manifest.
        let text = url.as_str();
        let plain = text.strip_prefix("direct+").unwrap_or(text);
        if plain.starts_with("git+") || plain.starts_with("git:") {
            return Err(LockError::Unsupported {
                package: name.to_owned(),
                what: format!("a git checkout (`{plain}`)"),
                mend: "run `pixi install`, or depend on a release or a `path`".to_owned(),
            });
        }
        let url = Url::parse(plain)
            .map_err(|error| self.problem(name, format!("is at `{plain}`: {error}")))?;
        match url.scheme() {
            "http" | "https" => Ok(PypiLocation::Url(url)),
            "file" => url
                .to_file_path()
                .map(PypiLocation::File)
                .map_err(|()| self.problem(name, format!("is at `{url}`, which is no path"))),
            other => Err(self
                .problem(name, format!("is behind `{other}:`, which rewarm does not fetch from"))),
        }
    }
}

fn is_archive(path: &Path) -> bool {
    const ENDS: [&str; 8] =
        [".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz", ".tar", ".zip"];
    path.to_str().is_some_and(|text| ENDS.iter().any(|end| text.ends_with(end)))
}
