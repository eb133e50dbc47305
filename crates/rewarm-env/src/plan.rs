//! The plan of an installation: wanted minus present.
//!
//! Pure. What is removed besides the packages that are replaced: those that rewarm installed and
//! the lock no longer names. Whatever else somebody put into the environment is kept, unless the
//! environment is to be *exact*.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rewarm_store::{Digest, Hasher};
use uv_normalize::PackageName;
use uv_pep440::Version;

use crate::lock::{Hash, Location, RemoteFile, Source, Wanted};
use crate::present::Installed;
use crate::state::PackageState;

/// The name that rewarm leaves in `INSTALLER`.
pub const INSTALLER: &str = "rewarm";

/// What has to be done to an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallPlan {
    /// Packages that are not there.
    pub add: Vec<Wanted>,
    /// Packages that are there, but not as they should be, and why.
    pub reinstall: Vec<(Wanted, Reason)>,
    /// Distributions to remove without a successor.
    pub remove: Vec<Installed>,
    /// Packages that are as they should be.
    pub keep: Vec<Wanted>,
    /// Distributions that nobody asked for, and that stay.
    pub extraneous: Vec<Installed>,
}

/// Why a package is installed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Another version is there.
    Version(Version),
    /// The same version was installed from another file or directory.
    Source,
    /// Its installation or removal was cut short.
    Unfinished,
    /// Files of it are missing or changed.
    Damaged(String),
    /// Its scripts name a directory that the environment was moved from.
    Moved,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{version} was installed"),
            Self::Source => f.write_str("it was installed from elsewhere"),
            Self::Unfinished => f.write_str("its installation was cut short"),
            Self::Damaged(damage) => f.write_str(damage),
            Self::Moved => f.write_str("the environment was moved"),
        }
    }
}

/// What is known besides the distributions themselves.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What rewarm installed.
    pub packages: BTreeMap<String, PackageState>,
    /// Packages whose installation was begun and not finished.
    pub pending: BTreeSet<String>,
    /// Whether the environment was moved since.
    pub moved: bool,
    /// Whether everything is to be installed again.
    pub reinstall_all: bool,
    /// Another installer whose distributions count as rewarm's.
    pub installer: Option<String>,
}

impl InstallPlan {
    /// Compares what is wanted with what is present.
    pub fn new(wanted: &[Wanted], present: &[Installed], known: &Known, exact: bool) -> Self {
        let mut plan = Self::default();
        let mut by_name: BTreeMap<&PackageName, Vec<&Installed>> = BTreeMap::new();
        for installed in present {
            by_name.entry(&installed.name).or_default().push(installed);
        }
        for package in wanted {
            match by_name.remove(&package.name).as_deref() {
                None => plan.add.push(package.clone()),
                Some([installed, rest @ ..]) => {
                    let reason = match rest {
                        [] => reason(package, installed, known),
                        _ => Some(Reason::Damaged("two versions were installed".to_owned())),
                    };
                    match reason {
                        Some(reason) => plan.reinstall.push((package.clone(), reason)),
                        None => plan.keep.push(package.clone()),
                    }
                }
                Some([]) => unreachable!("a name is listed with at least one distribution"),
            }
        }
        for installed in by_name.into_values().flatten() {
            let installer = installed.installer.as_deref();
            let ours = installer == Some(INSTALLER)
                || (installer.is_some() && installer == known.installer.as_deref())
                || known.packages.contains_key(installed.name.as_str());
            if ours || exact {
                plan.remove.push(installed.clone());
            } else {
                plan.extraneous.push(installed.clone());
            }
        }
        plan
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.reinstall.is_empty() && self.remove.is_empty()
    }

    /// The packages to install, new ones and others.
    pub fn to_install(&self) -> impl Iterator<Item = &Wanted> {
        self.add.iter().chain(self.reinstall.iter().map(|(wanted, _)| wanted))
    }
}

fn reason(wanted: &Wanted, installed: &Installed, known: &Known) -> Option<Reason> {
    let name = wanted.name.as_str();
    if known.reinstall_all {
        return Some(Reason::Source);
    }
    if known.pending.contains(name) {
        return Some(Reason::Unfinished);
    }
    if wanted.version.as_ref().is_some_and(|version| *version != installed.version) {
        return Some(Reason::Version(installed.version.clone()));
    }
    if let Some(damage) = &installed.damage {
        return Some(Reason::Damaged(damage.clone()));
    }
    if known.moved && installed.has_scripts {
        return Some(Reason::Moved);
    }
    if !is_from(&wanted.source, installed) {
        return Some(Reason::Source);
    }
    let same_source = match (known.packages.get(name), &wanted.source) {
        (Some(state), source) if state.version == installed.version.to_string() => match source {
            Source::Index { hashes } => may_be(state.file.as_ref(), hashes),
            source => state.source == source_identity(source),
        },
        // A directory may have changed since somebody else installed it; a release may not.
        (_, Source::Directory { editable, .. }) => *editable,
        _ => true,
    };
    (!same_source).then_some(Reason::Source)
}

/// Whether a file has one of the digests, as far as they can be compared.
fn may_be(file: Option<&Digest>, hashes: &[Hash]) -> bool {
    let mut comparable = hashes.iter().filter_map(Hash::sha256).peekable();
    match file {
        Some(file) if comparable.peek().is_some() => comparable.any(|digest| digest == *file),
        _ => true,
    }
}

/// Whether `direct_url.json` says what it should (PEP 610).
fn is_from(source: &Source, installed: &Installed) -> bool {
    let url = installed.direct_url.as_ref();
    match source {
        Source::Directory { path, editable, .. } => url.is_some_and(|url| {
            let expected = location_url(&Location::Path(path.clone()));
            let same = url.url.trim_end_matches('/') == expected.trim_end_matches('/');
            same && url.is_editable() == *editable
        }),
        Source::Wheel { file, direct: true } | Source::Sdist { file, direct: true, .. } => {
            url.is_some_and(|url| url.url == location_url(&file.location))
        }
        Source::Wheel { .. } | Source::Sdist { .. } | Source::Index { .. } => url.is_none(),
    }
}

/// A location as a URL.
pub(crate) fn location_url(location: &Location) -> String {
    match location {
        Location::Url(url) => url.to_string(),
        Location::Path(path) => url::Url::from_file_path(path)
            .map_or_else(|()| path.display().to_string(), |url| url.to_string()),
    }
}

/// A digest of what a package is installed from: equal for equal content, wherever it lies.
pub fn source_identity(source: &Source) -> Digest {
    let mut hasher = Hasher::new("package source, 1");
    match source {
        Source::Wheel { file, .. } => {
            hasher.field("wheel");
            file_identity(&mut hasher, file);
        }
        Source::Sdist { file, subdirectory, .. } => {
            hasher.field("sdist");
            file_identity(&mut hasher, file);
            let subdirectory = subdirectory.as_ref().map(|path| path.to_string_lossy());
            hasher.optional(subdirectory.as_deref());
        }
        Source::Directory { path, editable, build_files } => {
            hasher.field("directory").field(path.to_string_lossy().as_bytes());
            hasher.field([u8::from(*editable)]);
            hasher.optional(build_files.as_ref().map(Digest::as_bytes));
        }
        Source::Index { .. } => {
            hasher.field("index");
        }
    }
    hasher.finish()
}

fn file_identity(hasher: &mut Hasher, file: &RemoteFile) {
    let hash = |hash: &Hash| [&[hash.algorithm as u8], hash.value()].concat();
    let mut hashes: Vec<_> = file.hashes.iter().map(hash).collect();
    hashes.sort_unstable();
    if hashes.is_empty() {
        hasher.field(location_url(&file.location));
    }
    hasher.field(&file.filename).list(hashes);
}
