//! PyPI packages: requirements of the manifest and of locked packages, with their markers and
//! extras.
//!
//! Markers are evaluated for the locked Python on the platform. Where no Python is locked, nothing
//! can be said of them and they count as met. A conda package may stand for a PyPI package of the
//! same name, or of a name that the lock file gives it (a `purl`).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{
    ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree, PackageName, VersionOrUrl,
};
use rattler_conda_types::Subdir;
use rattler_lock::{CondaPackageData, PypiPackageData, UrlOrPath};

use super::conda::{Walk, same_path, same_repository, same_url};
use super::{Checked, Locked};
use crate::manifest::{Platform, PypiSource, Requirements, Workspace};

/// What is left to look at: a package with extras.
type Open = Vec<(PackageName, Vec<ExtraName>)>;

struct Pypi<'l, 'c> {
    by_name: BTreeMap<PackageName, &'l PypiPackageData>,
    /// Conda packages by the PyPI packages that they stand for.
    stand_in: BTreeMap<String, String>,
    markers: Option<MarkerEnvironment>,
    conda: &'c mut Walk<'l>,
}

/// Walks from what is asked for to all that is locked for it, and refuses packages that nothing
/// asked for.
pub(super) fn walk<'l>(
    workspace: &Workspace,
    platform: &Platform,
    asked: &Requirements,
    locked: &Locked<'l>,
    mut conda: Walk<'l>,
) -> Checked {
    let python = locked.conda.iter().find(|it| it.name().as_normalized() == "python");
    let python = python.and_then(|it| it.record()).map(|it| it.version.to_string());
    let markers = python.as_deref().and_then(|it| markers(platform.subdir, it));
    let version = python.and_then(|it| Version::from_str(&it).ok());
    let mut pypi = Pypi {
        by_name: locked.pypi.iter().map(|it| (it.name().clone(), *it)).collect(),
        stand_in: stand_ins(locked),
        markers,
        conda: &mut conda,
    };
    let mut open = Open::new();
    for dependency in &asked.pypi {
        let extras = extras(dependency.extras.iter());
        if !pypi.applies(&dependency.marker, &[]) {
            continue;
        }
        let name = &dependency.name;
        let who = "the manifest";
        match &dependency.source {
            PypiSource::Index(_) => {
                pypi.require(who, name, &dependency.versions, extras, &mut open)?;
            }
            source => {
                let Some(package) = pypi.by_name.get(name) else {
                    return Err(format!("`{name}` is not in it"));
                };
                comes_from(workspace, name, source, package)?;
                open.push((name.clone(), extras));
            }
        }
    }
    let reached = pypi.reach(open, version.as_ref())?;
    let surplus = pypi.by_name.keys().find(|it| !reached.contains(*it));
    if let Some(name) = surplus {
        return Err(format!("`{name}` is in it, and nothing asks for it"));
    }
    conda.finish()
}

impl Pypi<'_, '_> {
    fn applies(&self, marker: &MarkerTree, extras: &[ExtraName]) -> bool {
        self.markers.as_ref().is_none_or(|markers| marker.evaluate(markers, extras))
    }

    /// Finds the package that meets a requirement, and looks at it later.
    fn require(
        &mut self,
        who: &str,
        name: &PackageName,
        versions: &VersionSpecifiers,
        extras: Vec<ExtraName>,
        open: &mut Open,
    ) -> Checked {
        let asked = match versions.is_empty() {
            true => format!("`{name}`"),
            false => format!("`{name} {versions}`"),
        };
        let unmet =
            |found: &Version| Err(format!("{who} asks for {asked}, and `{name} {found}` is in it"));
        if let Some(package) = self.by_name.get(name) {
            if let Some(found) = package.version().filter(|it| !versions.contains(it)) {
                return unmet(found);
            }
            open.push((name.clone(), extras));
            return Ok(());
        }
        let stand_in = self.stand_in.get(&name.to_string()).cloned();
        let package = match stand_in {
            Some(stand_in) => self.conda.use_package(&stand_in)?,
            None => None,
        };
        let Some(package) = package else {
            return Err(format!("{who} asks for {asked}, which is not in it"));
        };
        let version = package.record().map(|it| it.version.to_string());
        let version = version.and_then(|it| Version::from_str(&it).ok());
        match version.filter(|it| !versions.contains(it)) {
            Some(found) => unmet(&found),
            None => Ok(()),
        }
    }

    /// Looks at packages and all that they require.
    fn reach(
        &mut self,
        mut open: Open,
        python: Option<&Version>,
    ) -> Result<BTreeSet<PackageName>, String> {
        let mut seen: BTreeSet<(PackageName, Vec<ExtraName>)> = BTreeSet::new();
        while let Some((name, extras)) = open.pop() {
            if !seen.insert((name.clone(), extras.clone())) {
                continue;
            }
            let Some(package) = self.by_name.get(&name).copied() else { continue };
            let range = package.requires_python();
            if let (Some(range), Some(python)) = (range, python)
                && !range.contains(python)
            {
                return Err(format!(
                    "`{name}` is for Python {range}, and Python {python} is in it"
                ));
            }
            for requirement in package.requires_dist() {
                if !self.applies(&requirement.marker, &extras) || requirement.name == name {
                    // A package may ask for further extras of itself.
                    if requirement.name == name && self.applies(&requirement.marker, &extras) {
                        open.push((name.clone(), requirement.extras.clone()));
                    }
                    continue;
                }
                // Without markers of an environment, what extras ask for cannot be told apart.
                if self.markers.is_none() && !requirement.marker.is_true() {
                    continue;
                }
                let versions = match &requirement.version_or_url {
                    Some(VersionOrUrl::VersionSpecifier(versions)) => versions.clone(),
                    _ => VersionSpecifiers::empty(),
                };
                let who = format!("`{name}`");
                let extras = requirement.extras.clone();
                self.require(&who, &requirement.name, &versions, extras, &mut open)?;
            }
        }
        Ok(seen.into_iter().map(|(name, _)| name).collect())
    }
}

fn extras<'a>(names: impl Iterator<Item = &'a String>) -> Vec<ExtraName> {
    names.filter_map(|it| ExtraName::from_str(it).ok()).collect()
}

/// Whether a package comes from where the manifest has it from.
fn comes_from(
    workspace: &Workspace,
    name: &PackageName,
    source: &PypiSource,
    package: &PypiPackageData,
) -> Checked {
    let location = package.location().inner();
    let (same, asked) = match (source, location) {
        (PypiSource::Url(url), UrlOrPath::Url(found)) => (same_url(found.as_str(), url), url),
        (PypiSource::Git(url), UrlOrPath::Url(found)) => {
            (same_repository(found.as_str(), url), url)
        }
        (PypiSource::Path { path, .. }, UrlOrPath::Path(found)) => {
            (same_path(workspace, found.as_str(), path), path)
        }
        (
            PypiSource::Path { path: asked, .. } | PypiSource::Url(asked) | PypiSource::Git(asked),
            _,
        ) => (false, asked),
        (PypiSource::Index(_), _) => return Ok(()),
    };
    match same {
        true => Ok(()),
        false => {
            Err(format!("the manifest asks for `{name}` at `{asked}`, and `{location}` is in it"))
        }
    }
}

/// The conda packages that stand for PyPI packages, by the names of these.
fn stand_ins(locked: &Locked<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for package in &locked.conda {
        let conda = package.name().as_normalized();
        if let Ok(name) = PackageName::from_str(conda) {
            found.entry(name.to_string()).or_insert_with(|| conda.to_owned());
        }
    }
    for package in &locked.conda {
        let CondaPackageData::Binary(binary) = package else { continue };
        for purl in binary.package_record.purls.iter().flatten() {
            if purl.package_type() == "pypi" {
                found.insert(purl.name().to_owned(), package.name().as_normalized().to_owned());
            }
        }
    }
    found
}

/// The markers of CPython on a platform.
fn markers(subdir: Subdir, python: &str) -> Option<MarkerEnvironment> {
    let (os, system, platform) = if subdir.is_windows() {
        ("nt", "Windows", "win32")
    } else if subdir.is_osx() {
        ("posix", "Darwin", "darwin")
    } else if subdir.is_linux() {
        ("posix", "Linux", "linux")
    } else {
        return None;
    };
    let machine = match subdir {
        Subdir::Linux64 | Subdir::Osx64 => "x86_64",
        Subdir::Win64 => "AMD64",
        Subdir::LinuxAarch64 => "aarch64",
        Subdir::OsxArm64 => "arm64",
        Subdir::WinArm64 => "ARM64",
        other => other.as_str().split_once('-')?.1,
    };
    let mut parts = python.split('.');
    let short = format!("{}.{}", parts.next()?, parts.next()?);
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: python,
        os_name: os,
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: system,
        platform_version: "",
        python_full_version: python,
        python_version: &short,
        sys_platform: platform,
    })
    .ok()
}
