//! `pylock.toml`: the lock file format of PEP 751, version 1.
//!
//! Everything the specification defines is read; what it calls a MUST is checked, and a source
//! that cannot be installed (a VCS checkout) is an error only when a marker selects it. Unknown
//! keys are ignored, as the specification asks for newer minor versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;
use uv_distribution_filename::WheelFilename;
use uv_normalize::{ExtraName, GroupName, PackageName};
use uv_pep440::{Version, VersionSpecifiers};
use uv_pep508::MarkerTree;

use super::file::{filename_of, location, normalized};
use super::{
    Hash, LockError, Place, RemoteFile, Source, Target, Wanted, choose, line_at, parse_toml,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    lock_version: Spanned<String>,
    #[serde(default)]
    environments: Vec<Spanned<String>>,
    requires_python: Option<VersionSpecifiers>,
    #[serde(default)]
    extras: Vec<ExtraName>,
    #[serde(default)]
    dependency_groups: Vec<GroupName>,
    #[serde(default)]
    default_groups: Vec<GroupName>,
    #[serde(default)]
    packages: Vec<Spanned<PackageTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PackageTable {
    name: Spanned<PackageName>,
    version: Option<Version>,
    marker: Option<Spanned<String>>,
    requires_python: Option<VersionSpecifiers>,
    vcs: Option<VcsTable>,
    directory: Option<DirectoryTable>,
    archive: Option<FileTable>,
    sdist: Option<FileTable>,
    #[serde(default)]
    wheels: Vec<FileTable>,
}

#[derive(Debug, Deserialize)]
struct VcsTable {
    r#type: Option<String>,
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DirectoryTable {
    path: String,
    #[serde(default)]
    editable: bool,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FileTable {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    subdirectory: Option<String>,
    hashes: BTreeMap<String, String>,
}

/// A parsed `pylock.toml`.
#[derive(Debug)]
pub(super) struct Pylock {
    environments: Vec<MarkerTree>,
    pub(super) requires_python: Option<VersionSpecifiers>,
    extras: Vec<ExtraName>,
    groups: Vec<GroupName>,
    default_groups: Vec<GroupName>,
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    line: usize,
    name: PackageName,
    version: Option<Version>,
    marker: MarkerTree,
    requires_python: Option<VersionSpecifiers>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Files { wheels: Vec<RemoteFile>, sdist: Option<RemoteFile> },
    Archive { file: RemoteFile, subdirectory: Option<PathBuf> },
    Directory { path: PathBuf, editable: bool },
    Vcs { kind: String, url: String },
}

impl Pylock {
    /// Every file that the lock names.
    pub(super) fn files(&self) -> impl Iterator<Item = &RemoteFile> {
        self.packages.iter().flat_map(|package| match &package.origin {
            Origin::Files { wheels, sdist } => wheels.iter().chain(sdist),
            Origin::Archive { file, .. } => std::slice::from_ref(file).iter().chain(&None),
            Origin::Directory { .. } | Origin::Vcs { .. } => [].iter().chain(&None),
        })
    }
}

/// Reads the text of a `pylock.toml` that lies at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Pylock, LockError> {
    let document: Document = parse_toml(path, text)?;
    let place = |offset: usize| Place { path, line: line_at(text, offset) };
    let version = &document.lock_version;
    if version.get_ref().split('.').next() != Some("1") {
        let what = format!("lock-version `{}`", version.get_ref());
        let mend = "lock again with a tool that writes version 1.0";
        return Err(place(version.span().start).unsupported(what, mend));
    }
    let mut environments = Vec::new();
    for marker in &document.environments {
        environments.push(parse_marker(place(marker.span().start), marker.get_ref())?);
    }
    let base = path.parent().unwrap_or(Path::new("."));
    let mut packages = Vec::with_capacity(document.packages.len());
    for table in document.packages {
        let start = table.get_ref().name.span().start;
        let marker = match &table.get_ref().marker {
            Some(marker) => parse_marker(place(marker.span().start), marker.get_ref())?,
            None => MarkerTree::TRUE,
        };
        packages.push(package(place(start), base, table.into_inner(), marker)?);
    }
    Ok(Pylock {
        environments,
        requires_python: document.requires_python,
        extras: document.extras,
        groups: document.dependency_groups,
        default_groups: document.default_groups,
        packages,
    })
}

fn parse_marker(place: Place<'_>, text: &str) -> Result<MarkerTree, LockError> {
    // The error's display draws the place over several lines; its first line says what is wrong.
    MarkerTree::from_str(text).map_err(|error| {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default().to_owned();
        place.invalid(format!("marker `{text}`: {first}"))
    })
}

fn package(
    place: Place<'_>,
    base: &Path,
    table: PackageTable,
    marker: MarkerTree,
) -> Result<Package, LockError> {
    let name = table.name.get_ref().clone();
    let has_files = !table.wheels.is_empty() || table.sdist.is_some();
    let origin = match (table.vcs, table.directory, table.archive, has_files) {
        (Some(vcs), None, None, false) => Origin::Vcs {
            kind: vcs.r#type.unwrap_or_else(|| "VCS".to_owned()),
            url: vcs.url.unwrap_or_default(),
        },
        (None, Some(directory), None, false) => {
            let inner = base.join(directory.path).join(directory.subdirectory.unwrap_or_default());
            Origin::Directory { path: normalized(&inner), editable: directory.editable }
        }
        (None, None, Some(archive), false) => Origin::Archive {
            subdirectory: archive.subdirectory.clone().map(PathBuf::from),
            file: file(place, base, archive, None)?,
        },
        (None, None, None, true) => {
            let mut wheels = Vec::with_capacity(table.wheels.len());
            for wheel in table.wheels {
                wheels.push(file(place, base, wheel, Some(&name))?);
            }
            let sdist = table.sdist.map(|sdist| file(place, base, sdist, None)).transpose()?;
            Origin::Files { wheels, sdist }
        }
        _ => {
            let message = format!(
                "package `{name}` needs exactly one of `wheels`/`sdist`, `archive`, `directory`, `vcs`"
            );
            return Err(place.invalid(message));
        }
    };
    let (version, requires_python) = (table.version, table.requires_python);
    Ok(Package { line: place.line, name, version, marker, requires_python, origin })
}

/// Reads a table that names a file; of a wheel, the name must be one of `package`.
fn file(
    place: Place<'_>,
    base: &Path,
    table: FileTable,
    package: Option<&PackageName>,
) -> Result<RemoteFile, LockError> {
    let location = location(place, base, (table.url.as_deref(), table.path.as_deref()))?;
    let Some(filename) = table.name.or_else(|| filename_of(&location)) else {
        return Err(place.invalid("a file has no name"));
    };
    if let Some(package) = package {
        let wheel = WheelFilename::from_str(&filename)
            .map_err(|error| place.invalid(format!("wheel `{filename}`: {error}")))?;
        if wheel.name != *package {
            return Err(place.invalid(format!("wheel `{filename}` is not one of `{package}`")));
        }
    }
    let mut hashes = Vec::new();
    for (algorithm, hex) in &table.hashes {
        match Hash::parse(algorithm, hex) {
            Some(hash) => hashes.push(hash),
            None if super::HashAlgorithm::from_name(algorithm).is_some() => {
                return Err(place.invalid(format!("`{filename}`: `{hex}` is no {algorithm}")));
            }
            None => {}
        }
    }
    if hashes.is_empty() {
        return Err(
            place.invalid(format!("`{filename}` has no sha256, sha384 or sha512 in `hashes`"))
        );
    }
    Ok(RemoteFile { filename, location, size: table.size, hashes })
}

impl Pylock {
    /// PEP 751, "Installation".
    pub(super) fn select(&self, path: &Path, target: Target<'_>) -> Result<Vec<Wanted>, LockError> {
        let selection = target.selection;
        let extras = selection.extras(path, &self.extras)?;
        let groups = selection.groups(path, &self.groups, &self.default_groups)?;
        let applies =
            |marker: &MarkerTree| marker.evaluate_pep751(target.markers, &extras, &groups);
        if !self.environments.is_empty() && !self.environments.iter().any(applies) {
            let reason = "none of its `environments` applies".to_owned();
            return Err(LockError::Environment { path: path.to_owned(), reason });
        }
        let mut wanted: BTreeMap<PackageName, (usize, Wanted)> = BTreeMap::new();
        for package in self.packages.iter().filter(|package| applies(&package.marker)) {
            let place = Place { path, line: package.line };
            let selected = package.select(place, target)?;
            if let Some((line, _)) = wanted.get(&package.name) {
                let message = format!(
                    "package `{}` is selected twice; line {line} selects it as well",
                    package.name
                );
                return Err(place.invalid(message));
            }
            wanted.insert(package.name.clone(), (package.line, selected));
        }
        Ok(wanted.into_values().map(|(_, wanted)| wanted).collect())
    }
}

impl Package {
    fn select(&self, place: Place<'_>, target: Target<'_>) -> Result<Wanted, LockError> {
        let python = &target.markers.python_full_version().version;
        if let Some(wanted) = &self.requires_python
            && !wanted.contains(&python.only_release())
        {
            let reason = format!("`{}` is for Python {wanted}, not {python}", self.name);
            return Err(LockError::Environment { path: place.path.to_owned(), reason });
        }
        let source = match &self.origin {
            Origin::Files { wheels, sdist } => choose(wheels, sdist.as_ref(), target.tags)
                .map_err(|reason| {
                    let (path, name) = (place.path.to_owned(), self.name.clone());
                    LockError::NoFile { path, name, reason }
                })?,
            Origin::Archive { file, .. } if is_wheel(&file.filename) => {
                Source::Wheel { file: file.clone(), direct: true }
            }
            Origin::Archive { file, subdirectory } => Source::Sdist {
                file: file.clone(),
                direct: true,
                subdirectory: subdirectory.clone(),
            },
            Origin::Directory { path, editable } => {
                Source::Directory { path: path.clone(), editable: *editable, build_files: None }
            }
            Origin::Vcs { kind, url } => {
                let what = format!("`{}` from a {kind} checkout (`{url}`)", self.name);
                let mend = "lock a release of it, or an archive of that commit by its https URL";
                return Err(place.unsupported(what, mend));
            }
        };
        Ok(Wanted { name: self.name.clone(), version: self.version.clone(), source })
    }
}

fn is_wheel(filename: &str) -> bool {
    Path::new(filename).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}
