//! Putting the files of packages into a prefix and taking them out, by rattler's linker.
//!
//! The record of a package is there before the first of its files and goes after the last one, so
//! whatever is cut short is known to whoever mends it, be it pixi. A file that is in the way is removed
//! first: writing over it could write through a hard link into the store. Where two packages bring the
//! same path, the one that the other depends on gives way, as in rattler; the files that gave way stand
//! below `__clobbers__`.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rattler::install::PythonInfo;
use rattler_conda_types::package::PathsEntry;
use rattler_conda_types::prefix_record::{self, Link, LinkType};
use rattler_conda_types::{PrefixRecord, RepoDataRecord};
use rewarm_store::{LinkKind, LinkMode, Tree, link_or_copy, publish_file};

use super::content::Info;

/// A package whose tree is at hand.
pub(super) struct Prepared {
    pub(super) wanted: RepoDataRecord,
    pub(super) tree: Tree,
    pub(super) info: Info,
}

/// What links are to be had between the store and a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Means {
    pub(super) reflinks: bool,
    pub(super) hard_links: bool,
}

impl Means {
    /// Finds out with one small file.
    pub(super) fn find(mode: LinkMode, prefix: &Path, package: &Prepared) -> Self {
        const NONE: Means = Means { reflinks: false, hard_links: false };
        if mode == LinkMode::Copy {
            return NONE;
        }
        let (source, probe) =
            (package.tree.path.join("info/index.json"), prefix.join("conda-meta/.rewarm-probe"));
        let is_ours = fs::metadata(&source)
            .is_ok_and(|metadata| metadata.uid() == rewarm_store::effective_user());
        let kind = link_or_copy(&source, &probe, 0o600);
        let _ = fs::remove_file(&probe);
        match kind {
            Ok(LinkKind::Reflink) if mode == LinkMode::Auto => {
                Self { reflinks: true, hard_links: is_ours }
            }
            Ok(LinkKind::Reflink | LinkKind::Hardlink) => {
                Self { reflinks: false, hard_links: is_ours }
            }
            Ok(LinkKind::Copy) | Err(_) => NONE,
        }
    }
}

impl Prepared {
    /// The files of the package, and where each goes in the prefix.
    pub(super) fn targets(&self, python: Option<&PythonInfo>) -> Vec<(&PathsEntry, PathBuf)> {
        let place = |entry: &PathsEntry| match python {
            Some(python) if self.info.index.noarch.is_python() => {
                python.get_python_noarch_target_path(&entry.relative_path).into_owned()
            }
            _ => entry.relative_path.clone(),
        };
        self.info.paths.paths.iter().map(|entry| (entry, place(entry))).collect()
    }

    /// A record that says which files are about to come.
    pub(super) fn announcement(&self, python: Option<&PythonInfo>) -> PrefixRecord {
        let paths =
            self.targets(python).into_iter().map(|(entry, target)| prefix_record::PathsEntry {
                relative_path: target,
                original_path: None,
                path_type: entry.path_type.into(),
                no_link: false,
                sha256: None,
                sha256_in_prefix: None,
                size_in_bytes: None,
                file_mode: None,
                prefix_placeholder: None,
            });
        PrefixRecord::from_repodata_record(self.wanted.clone(), paths.collect())
    }

    /// The record of the package once it is linked.
    pub(super) fn record(
        &self,
        paths: Vec<prefix_record::PathsEntry>,
        link_type: LinkType,
    ) -> PrefixRecord {
        let source = self.tree.path.clone();
        PrefixRecord {
            extracted_package_dir: Some(source.clone()),
            link: Some(Link { source, link_type: Some(link_type) }),
            ..PrefixRecord::from_repodata_record(self.wanted.clone(), paths)
        }
    }
}

/// Writes a record so that readers see the old one or the new one.
pub(super) fn write_record(prefix: &Path, record: &PrefixRecord) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    publish_file(&prefix.join("conda-meta").join(record.file_name()), &bytes, 0o666)
}

/// Removes the files of a package, then its record. What somebody else removed before is no error.
pub(super) fn unlink(prefix: &Path, record: &PrefixRecord) -> io::Result<()> {
    for entry in &record.paths_data.paths {
        remove_file(&prefix.join(&entry.relative_path))?;
    }
    remove_file(&prefix.join("conda-meta").join(record.file_name()))
}

/// Removes a file or a link; a directory stays, as does what is below a file.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(())
        }
        // On Linux a directory in the place of a file.
        Err(_) if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes directories that hold nothing any more, for those of the removed packages; compiled Python
/// files whose sources are gone go with them.
pub(super) fn remove_empty_directories(
    prefix: &Path,
    removed: &[PrefixRecord],
    there: &[PrefixRecord],
) {
    let is_dir =
        |entry: &&prefix_record::PathsEntry| entry.path_type == prefix_record::PathType::Directory;
    let keep: HashSet<&Path> = there
        .iter()
        .flat_map(|record| record.paths_data.paths.iter().filter(is_dir))
        .map(|entry| entry.relative_path.as_path())
        .collect();
    let mut parents: BTreeSet<&Path> = BTreeSet::new();
    for entry in removed.iter().flat_map(|record| &record.paths_data.paths) {
        parents.extend(entry.relative_path.ancestors().skip(1));
        if entry.path_type == prefix_record::PathType::Directory {
            parents.insert(&entry.relative_path);
        }
    }
    // The deepest first: in this order a directory comes after its parents.
    for parent in parents.into_iter().rev() {
        if !parent.as_os_str().is_empty() && !keep.contains(parent) {
            let path = prefix.join(parent);
            remove_orphans(&path.join("__pycache__"));
            let _ = fs::remove_dir(&path);
        }
    }
}

/// Removes compiled files without a source beside their directory, and the directory if it is empty.
fn remove_orphans(cache: &Path) {
    let (Some(dir), Ok(entries)) = (cache.parent(), fs::read_dir(cache)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next());
        let compiled = Path::new(&name).extension().is_some_and(|extension| extension == "pyc");
        if compiled && stem.is_some_and(|stem| !dir.join(stem).with_extension("py").exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(cache);
}
