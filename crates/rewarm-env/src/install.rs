//! Carrying out an installation: trees of the store become packages of an environment.
//!
//! One process at a time changes an environment (a lock in it sees to that), and before it changes
//! anything it notes in the state file what it is about to change; so whatever a killed
//! installation left is recognised, removed and installed again by the next. Packages are linked
//! in parallel by `uv-install-wheel`, which replaces files by rename and never writes through a
//! hard link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;
use rewarm_store::{Digest, LinkMode, Store, Tree};
use rustix::fs::{FlockOperation, flock};
use uv_distribution_filename::WheelFilename;
use uv_install_wheel::{InstallState, Layout};
use uv_normalize::PackageName;
use uv_pypi_types::DirectUrl;

use crate::lock::{Location, RemoteFile, Source, Wanted};
use crate::plan::location_url;
use crate::present::Installed;
use crate::uninstall::{remove_traces, uninstall};
use crate::venv::{LOCK_NAME, VenvError};
use crate::wheel::{UnpackError, unpack};

/// What an installation reports while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The environment was made.
    Created(PathBuf),
    /// The environment was mended, and why that was necessary.
    Repaired(PathBuf, String),
    /// The environment was emptied and made anew, and why.
    Recreated(PathBuf, String),
    /// A source distribution or directory is being built.
    Building(PackageName),
    /// A package is ready to be linked.
    Prepared(PackageName),
    /// A package was removed.
    Removed(PackageName),
    /// A package was installed.
    Installed(PackageName),
}

/// Why an installation failed. The environment knows what is unfinished.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A wheel could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A source distribution or directory could not be built.
    #[error(transparent)]
    Build(#[from] crate::build::BuildError),
    /// A local file is not there, or is not the one that was locked.
    #[error("cannot take `{}` into the cache", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file does not have the digest that the lock file asks for.
    #[error("`{file}` does not have any of the digests that the lock file allows")]
    WrongHash {
        /// The file's name.
        file: String,
    },
    /// A file was not downloaded, or the plan was not told.
    #[error("`{file}` was not downloaded")]
    NotSupplied {
        /// The file's name.
        file: String,
    },
    /// The environment itself could not be made or mended.
    #[error(transparent)]
    Environment(#[from] VenvError),
    /// A wheel could not be linked into the environment.
    #[error("cannot install `{wheel}` into `{}`", root.display())]
    Install {
        /// The wheel's file name.
        wheel: String,
        /// The environment.
        root: PathBuf,
        /// Why not.
        source: Box<uv_install_wheel::Error>,
    },
    /// A package could not be removed.
    #[error("cannot remove `{name}` from `{}`", root.display())]
    Remove {
        /// The package.
        name: String,
        /// The environment.
        root: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot write `{}`", path.display())]
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

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Only its holder changes the environment.
#[derive(Debug)]
pub(crate) struct EnvironmentLock {
    file: fs::File,
}

impl EnvironmentLock {
    /// Waits for the lock; makes the environment's directory if need be.
    pub(crate) fn acquire(root: &Path) -> io::Result<Self> {
        let path = root.join(LOCK_NAME);
        loop {
            fs::create_dir_all(root)?;
            let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = match open {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match flock(&file, FlockOperation::LockExclusive) {
                // Somebody may have removed the environment, and the lock with it, meanwhile.
                Ok(()) if is_at(&file, &path) => return Ok(Self { file }),
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for EnvironmentLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile shares the open file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// A package whose tree is at hand.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) wanted: Wanted,
    /// The wheel's file name.
    pub(crate) wheel: String,
    /// The wheel's blob.
    pub(crate) blob: Digest,
    /// The sha256 of what the lock names: the wheel, or the source it was built from.
    pub(crate) origin: Option<Digest>,
    pub(crate) tree: Tree,
}

impl Prepared {
    /// The version that the wheel's name gives.
    pub(crate) fn version(&self) -> Option<String> {
        let name = WheelFilename::from_str(&self.wheel).ok()?;
        Some(name.version.to_string())
    }
}

/// Unpacks the wheel of a package.
pub(crate) fn prepare_wheel(
    store: &Store,
    wanted: &Wanted,
    (wheel, blob): (&str, Digest),
    origin: Option<Digest>,
) -> Result<Prepared, InstallError> {
    let tree = unpack(store, &blob, wheel)?;
    Ok(Prepared { wanted: wanted.clone(), wheel: wheel.to_owned(), blob, origin, tree })
}

/// Takes a file of this machine into the store, if it is the one that is wanted.
pub(crate) fn import(
    store: &Store,
    path: &Path,
    file: &RemoteFile,
) -> Result<Digest, InstallError> {
    let sha256 = file.sha256();
    if let Some(digest) = sha256
        && store.blob_path(&digest).is_some()
    {
        return Ok(digest);
    }
    let local = |source: Box<dyn std::error::Error + Send + Sync>| InstallError::Local {
        path: path.to_owned(),
        source,
    };
    let copy = || -> io::Result<_> {
        let mut input = fs::File::open(path)?;
        let mut writer = store.blob_writer()?;
        io::copy(&mut input, &mut writer)?;
        Ok(writer)
    };
    let writer = copy().map_err(|error| local(error.into()))?;
    let blob = writer.commit(sha256.as_ref()).map_err(|error| local(error.into()))?;
    verify_hashes(store, file, &blob.digest)?;
    Ok(blob.digest)
}

/// Checks a blob against the digests of a file that are not its address.
pub(crate) fn verify_hashes(
    store: &Store,
    file: &RemoteFile,
    blob: &Digest,
) -> Result<(), InstallError> {
    use crate::lock::AnyHasher;
    if file.hashes.is_empty() || file.hashes.iter().any(|hash| hash.sha256() == Some(*blob)) {
        return Ok(());
    }
    let wrong = || InstallError::WrongHash { file: file.filename.clone() };
    for expected in file.hashes.iter().filter(|hash| hash.sha256().is_none()) {
        let Some(path) = store.blob_path(blob) else { return Err(wrong()) };
        let mut hasher = AnyHasher::new(expected.algorithm);
        let mut input = fs::File::open(&path).map_err(InstallError::io(&path))?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = io::Read::read(&mut input, &mut buffer).map_err(InstallError::io(&path))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        if hasher.finish() == expected.value() {
            return Ok(());
        }
    }
    Err(wrong())
}

/// An environment that is being changed, by the holder of its lock.
pub(crate) struct Installation<'a> {
    pub(crate) root: &'a Path,
    pub(crate) layout: Layout,
    pub(crate) link_mode: LinkMode,
    /// What to leave in `INSTALLER`.
    pub(crate) installer: &'a str,
    pub(crate) on_event: &'a (dyn Fn(Event) + Sync),
}

impl Installation<'_> {
    /// Removes distributions.
    pub(crate) fn remove(&self, installed: &Installed) -> Result<(), InstallError> {
        uninstall(self.root, &installed.dist_info).map_err(|source| InstallError::Remove {
            name: installed.name.to_string(),
            root: self.root.to_owned(),
            source,
        })
    }

    /// Removes what an installation that was cut short may have left of these packages.
    pub(crate) fn clean_up(
        &self,
        store: &Store,
        pending: &BTreeMap<String, BTreeSet<Digest>>,
    ) -> Result<(), InstallError> {
        for (name, trees) in pending {
            for tree in trees.iter().filter_map(|digest| store.tree(digest)) {
                remove_traces(&self.layout, name, &tree).map_err(|source| {
                    let (name, root) = (name.clone(), self.root.to_owned());
                    InstallError::Remove { name, root, source }
                })?;
            }
        }
        Ok(())
    }

    /// Links packages, in parallel.
    pub(crate) fn link(&self, packages: &[&Prepared]) -> Result<(), InstallError> {
        let state = InstallState::default();
        packages.par_iter().try_for_each(|package| {
            self.link_one(package, &state)?;
            (self.on_event)(Event::Installed(package.wanted.name.clone()));
            Ok(())
        })
    }

    fn link_one(&self, package: &Prepared, state: &InstallState) -> Result<(), InstallError> {
        let error = |source| InstallError::Install {
            wheel: package.wheel.clone(),
            root: self.root.to_owned(),
            source: Box::new(source),
        };
        let filename = WheelFilename::from_str(&package.wheel)
            .map_err(|e| error(uv_install_wheel::Error::InvalidWheel(e.to_string())))?;
        let direct_url = direct_url(&package.wanted.source, package.origin.as_ref());
        let mode = match self.link_mode {
            LinkMode::Auto => uv_install_wheel::LinkMode::Clone,
            LinkMode::Hardlink => uv_install_wheel::LinkMode::Hardlink,
            LinkMode::Copy => uv_install_wheel::LinkMode::Copy,
        };
        uv_install_wheel::install_wheel::<(), ()>(
            &self.layout,
            false,
            &package.tree.path,
            &filename,
            direct_url.as_ref(),
            None,
            None,
            Some(self.installer),
            true,
            mode,
            state,
        )
        .map_err(error)
    }
}

/// What `direct_url.json` says of a package that did not come from an index (PEP 610).
fn direct_url(source: &Source, origin: Option<&Digest>) -> Option<DirectUrl> {
    let (url, rest) = match source {
        Source::Wheel { file, direct: true } | Source::Sdist { file, direct: true, .. } => {
            let info = origin.map_or_else(
                || serde_json::json!({}),
                |digest| serde_json::json!({ "hashes": { "sha256": digest.to_string() } }),
            );
            (location_url(&file.location), ("archive_info", info))
        }
        Source::Directory { path, .. } => {
            let url = location_url(&Location::Path(path.clone()));
            (url, ("dir_info", serde_json::json!({})))
        }
        _ => return None,
    };
    let mut value = serde_json::json!({ "url": url, rest.0: rest.1 });
    if let Source::Sdist { subdirectory: Some(subdirectory), .. } = source {
        value["subdirectory"] = subdirectory.to_string_lossy().into();
    }
    serde_json::from_value(value).ok()
}
