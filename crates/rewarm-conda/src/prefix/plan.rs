//! The plan of an installation: wanted minus present.
//!
//! Pure but for the stat data that says whether the files of a recorded package are there. Every
//! package that a prefix records and the lock does not name is removed: a prefix belongs to its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rattler::install::PythonInfo;
use rattler_conda_types::{PackageRecord, PrefixRecord, RepoDataRecord, Subdir, prefix_record};
use rayon::prelude::*;
use rewarm_store::Digest;

use super::Records;

/// What has to be done to a prefix.
#[derive(Debug, Default)]
pub struct InstallPlan {
    /// Packages that are not there.
    pub add: Vec<RepoDataRecord>,
    /// Packages that are there, but not as they should be, and why.
    pub reinstall: Vec<(RepoDataRecord, Reason)>,
    /// Packages to remove, or to replace.
    pub remove: Vec<PrefixRecord>,
    /// Packages that are as they should be.
    pub keep: Vec<PrefixRecord>,
    /// Records that cannot be understood, to be removed.
    pub damaged: Vec<PathBuf>,
    /// Whether the Python that is there goes, or gives way to one that keeps packages elsewhere.
    pub(super) moves_python: bool,
}

/// Why a package is installed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Another version or build is there.
    Version(String),
    /// The same version and build was installed from another file.
    Source,
    /// The last installation was cut short.
    Unfinished,
    /// A file of it is missing or changed.
    Damaged(String),
    /// Its files have to go where another Python looks for them.
    Python,
    /// The user asked for it.
    Asked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{version} was installed"),
            Self::Source => f.write_str("it was installed from another file"),
            Self::Unfinished => f.write_str("an installation was cut short"),
            Self::Damaged(damage) => f.write_str(damage),
            Self::Python => f.write_str("Python changed"),
            Self::Asked => f.write_str("that was asked for"),
        }
    }
}

/// How closely the files of recorded packages are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Whether each is there.
    #[default]
    Presence,
    /// Whether each has the digest that the record names.
    Content,
}

/// Why everything is installed again, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Everything {
    Unfinished,
    Asked,
}

impl InstallPlan {
    /// Compares what is wanted with what the prefix records.
    pub(super) fn new(
        prefix: &Path,
        wanted: &[RepoDataRecord],
        present: Records,
        platform: Subdir,
        (depth, everything): (Depth, Option<Everything>),
    ) -> Self {
        let new = python(wanted.iter().map(|record| &record.package_record), platform);
        let old = python(present.packages.iter().map(package), platform);
        let moved = old.is_some_and(|old| new.is_none_or(|new| layout(&new) != layout(&old)));
        let mut by_name: BTreeMap<String, Vec<PrefixRecord>> = BTreeMap::new();
        for record in present.packages {
            by_name.entry(record.name().as_normalized().to_owned()).or_default().push(record);
        }
        let damaged = present.damaged;
        let mut plan = Self { damaged, moves_python: moved, ..Self::default() };
        let mut candidates = Vec::new();
        for package in wanted {
            let name = package.package_record.name.as_normalized();
            let mut found = by_name.remove(name).unwrap_or_default();
            match (found.pop(), found.is_empty()) {
                (None, _) => plan.add.push(package.clone()),
                (Some(record), true) => candidates.push((package, record)),
                (Some(record), false) => {
                    plan.remove.append(&mut found);
                    plan.remove.push(record);
                    let damage = "two versions were installed".to_owned();
                    plan.reinstall.push((package.clone(), Reason::Damaged(damage)));
                }
            }
        }
        let judged: Vec<_> = candidates
            .into_par_iter()
            .map(|(wanted, record)| {
                let reason = match everything {
                    Some(Everything::Asked) => Some(Reason::Asked),
                    Some(Everything::Unfinished) => Some(Reason::Unfinished),
                    None => reason(prefix, wanted, &record, (moved, depth)),
                };
                (wanted, record, reason)
            })
            .collect();
        for (wanted, record, reason) in judged {
            match reason {
                None => plan.keep.push(record),
                Some(reason) => {
                    plan.remove.push(record);
                    plan.reinstall.push((wanted.clone(), reason));
                }
            }
        }
        plan.remove.extend(by_name.into_values().flatten());
        plan
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let nothing_comes = self.add.is_empty() && self.reinstall.is_empty();
        nothing_comes && self.remove.is_empty() && self.damaged.is_empty()
    }

    /// The packages to install, new ones and others.
    pub fn to_install(&self) -> impl Iterator<Item = &RepoDataRecord> {
        self.add.iter().chain(self.reinstall.iter().map(|(wanted, _)| wanted))
    }

    /// The packages that go without a successor.
    pub fn to_remove(&self) -> impl Iterator<Item = &PrefixRecord> {
        let replaced: BTreeSet<_> =
            self.to_install().map(|wanted| wanted.package_record.name.as_normalized()).collect();
        self.remove.iter().filter(move |old| !replaced.contains(old.name().as_normalized()))
    }
}

/// One line per package: `+` for one that comes, `~` for one that comes again, `-` for one that goes.
impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |record: &PackageRecord| {
            format!("{} {} {}", record.name.as_normalized(), record.version, record.build)
        };
        for wanted in &self.add {
            writeln!(f, "+ {}", named(&wanted.package_record))?;
        }
        for (wanted, reason) in &self.reinstall {
            writeln!(f, "~ {} ({reason})", named(&wanted.package_record))?;
        }
        self.to_remove().try_for_each(|record| writeln!(f, "- {}", named(package(record))))
    }
}

fn package(record: &PrefixRecord) -> &PackageRecord {
    &record.repodata_record.package_record
}

/// Where the Python among these packages has its files.
pub(super) fn python<'a>(
    mut packages: impl Iterator<Item = &'a PackageRecord>,
    platform: Subdir,
) -> Option<PythonInfo> {
    let record = packages.find(|record| record.name.as_normalized() == "python")?;
    PythonInfo::from_python_record(record, platform).ok()
}

fn layout(python: &PythonInfo) -> (&Path, &Path, (u64, u64)) {
    (&python.path, &python.site_packages_path, python.short_version)
}

fn reason(
    prefix: &Path,
    wanted: &RepoDataRecord,
    present: &PrefixRecord,
    (moved, depth): (bool, Depth),
) -> Option<Reason> {
    let (new, old) = (&wanted.package_record, package(present));
    if (&new.version, &new.build) != (&old.version, &old.build) {
        return Some(Reason::Version(format!("{} {}", old.version, old.build)));
    }
    let is_same = match ((&new.sha256, &old.sha256), (&new.md5, &old.md5)) {
        ((Some(new), Some(old)), _) => new == old,
        (_, (Some(new), Some(old))) => new == old,
        _ => wanted.url == present.repodata_record.url,
    };
    if !is_same {
        return Some(Reason::Source);
    }
    if moved && new.noarch.is_python() {
        return Some(Reason::Python);
    }
    let mut paths = present.paths_data.paths.iter();
    paths.find_map(|entry| damage(prefix, entry, depth)).map(Reason::Damaged)
}

/// What is wrong with one file of a package.
fn damage(prefix: &Path, entry: &prefix_record::PathsEntry, depth: Depth) -> Option<String> {
    use prefix_record::PathType;
    let shown = entry.relative_path.display();
    // Compiled files come and go.
    if entry.path_type == PathType::PycFile {
        return None;
    }
    let path = prefix.join(&entry.relative_path);
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return Some(format!("`{shown}` is missing"));
    };
    if depth == Depth::Presence || metadata.is_dir() || metadata.is_symlink() {
        return None;
    }
    let expected = entry.sha256_in_prefix.as_ref().or(entry.sha256.as_ref())?;
    let digest = fs::File::open(&path)
        .and_then(|file| rewarm_store::digest_of_part(&file, 0..metadata.len()));
    match digest {
        Ok(digest) if digest == Digest::from_bytes((*expected).into()) => None,
        Ok(_) => Some(format!("`{shown}` was changed")),
        Err(error) => Some(format!("`{shown}` cannot be read: {error}")),
    }
}
