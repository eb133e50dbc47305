//! What a package says about itself, compared with what is in it.
//!
//! `info/index.json` names the package; `info/paths.json` (in old packages `info/files` and its kin) says
//! which files belong into a prefix. Both are read by rattler's types. A file that is listed and not
//! there, or is not the one that was listed, is an error: nothing of such a package is installed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rattler_conda_types::package::{
    IndexJson, LinkJson, NoArchLinks, PackageFile, PathType, PathsEntry, PathsJson,
};
use rattler_conda_types::{PackageRecord, RepoDataRecord};

use super::archive::{UnpackError, Unpacking};
use super::names;

const INDEX: &str = "info/index.json";
const PATHS: &str = "info/paths.json";
const LINK: &str = "info/link.json";

/// Compares what was unpacked with `info`.
pub(super) fn verify(unpacked: &Unpacking<'_>) -> Result<(), UnpackError> {
    let index = IndexJson::from_package_directory(unpacked.dir)
        .map_err(|error| unpacked.info_error(INDEX, unusable(&error)))?;
    if index.noarch.is_python() && unpacked.files.contains_key(LINK) {
        let link = LinkJson::from_package_directory(unpacked.dir)
            .map_err(|error| unpacked.info_error(LINK, unusable(&error)))?;
        if !matches!(link.noarch, NoArchLinks::Python(_)) {
            return Err(unpacked.info_error(LINK, "is not that of a Python package"));
        }
    }
    let paths = PathsJson::from_package_directory_with_deprecated_fallback(unpacked.dir)
        .map_err(|error| unpacked.info_error(PATHS, unusable(&error)))?;
    let mut seen = BTreeSet::new();
    for entry in &paths.paths {
        let shown = entry.relative_path.to_string_lossy();
        let wrong = |reason: &str| unpacked.info_error(PATHS, format!("lists `{shown}`, {reason}"));
        let Some(path) = entry.relative_path.to_str() else {
            return Err(wrong("whose name is not UTF-8"));
        };
        names::is_relative(path).map_err(|reason| wrong(&format!("which {reason}")))?;
        if path.starts_with("conda-meta/") {
            return Err(wrong("which is where installed packages are recorded"));
        }
        if !seen.insert(path) {
            return Err(wrong("twice"));
        }
        compare(unpacked, entry, path).map_err(wrong)?;
    }
    Ok(())
}

fn compare(unpacked: &Unpacking<'_>, entry: &PathsEntry, path: &str) -> Result<(), &'static str> {
    const ABSENT: &str = "which is not in the package";
    match entry.path_type {
        PathType::Directory if unpacked.dir.join(path).is_dir() => Ok(()),
        PathType::SoftLink if unpacked.links.contains_key(path) => Ok(()),
        PathType::Directory | PathType::SoftLink => Err(ABSENT),
        PathType::HardLink => {
            let digest = unpacked.files.get(path).ok_or(ABSENT)?;
            match &entry.sha256 {
                Some(sha256) if sha256.as_slice() != digest.as_bytes() => {
                    Err("whose digest in the package is another one")
                }
                _ => Ok(()),
            }
        }
    }
}

fn unusable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// What the tree of a package says about it.
pub(super) struct Info {
    pub(super) index: IndexJson,
    pub(super) paths: PathsJson,
}

impl Info {
    /// Reads `info` of a tree and checks that it is the package that was locked.
    pub(super) fn read(tree: &Path, wanted: &RepoDataRecord) -> Result<Self, UnpackError> {
        let package = wanted.identifier.to_string();
        let error = |file: &str, reason: String| {
            let (package, file) = (package.clone(), file.to_owned());
            UnpackError::Info { package, file, reason }
        };
        let index =
            IndexJson::from_package_directory(tree).map_err(|e| error(INDEX, unusable(&e)))?;
        let paths = PathsJson::from_package_directory_with_deprecated_fallback(tree)
            .map_err(|e| error(PATHS, unusable(&e)))?;
        let PackageRecord { name, version, build, .. } = &wanted.package_record;
        if (&index.name, &index.version, &index.build) != (name, version, build) {
            let found = format!("{} {} {}", index.name.as_normalized(), index.version, index.build);
            let reason = format!("is that of another package: {found}");
            return Err(error(INDEX, reason));
        }
        Ok(Self { index, paths })
    }
}
