//! Manifests and lock files of many shapes, each read and planned, with what must come out.
//!
//! The files are in `corpus/`, a directory for each case. Nothing is fetched, and nothing of the
//! machine that the tests run on counts: what a machine offers is written here.

mod bytes;
#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
mod claims;
mod fits;
mod locks;
mod manifests;
mod sources;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version};
use rewarm_conda::lock::{Host, LockFile, PlanError, Wanted, plan};
use rewarm_conda::manifest::{Platform, Workspace};

/// The directory of a case.
fn corpus(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workspace/corpus").join(case)
}

/// The manifest of a case.
fn workspace(case: &str) -> Workspace {
    let manifest = rewarm_conda::manifest::find(&corpus(case)).expect("a manifest");
    assert_eq!(manifest.parent(), Some(corpus(case).as_path()));
    Workspace::read(&manifest).expect("a sound manifest")
}

/// A manifest of that text.
fn parsed(text: &str) -> Workspace {
    Workspace::parse(Path::new("/w/pixi.toml"), text).expect("a sound manifest")
}

/// The message of what is wrong with a manifest.
fn refused(text: &str) -> String {
    let error = Workspace::parse(Path::new("/w/pixi.toml"), text);
    error.expect_err("an unsound manifest").to_string()
}

fn lock(case: &str) -> LockFile {
    LockFile::load(&corpus(case).join("pixi.lock")).expect("a sound lock file")
}

/// A machine with what is assumed of its kind, and more: `NAME=VERSION` or `NAME=0=BUILD`.
fn host(subdir: Subdir, more: &[&str]) -> Host {
    let mut virtual_packages = rewarm_conda::manifest::assumed(subdir);
    for text in more {
        let mut parts = text.split('=');
        let name = PackageName::from_str(parts.next().expect("a name")).expect("a name");
        let version = Version::from_str(parts.next().expect("a version")).expect("a version");
        let build = parts.next().unwrap_or("0").parse().expect("a build string");
        virtual_packages.retain(|it| it.name != name);
        virtual_packages.push(GenericVirtualPackage { name, version, build_string: build });
    }
    Host { subdir, virtual_packages }
}

fn linux() -> Host {
    host(Subdir::Linux64, &[])
}

fn planned(case: &str, environment: &str, host: &Host) -> Result<Wanted, PlanError> {
    plan(&workspace(case), &lock(case), environment, host)
}

/// The message that planning ends with.
fn unplanned(case: &str, environment: &str, host: &Host) -> String {
    planned(case, environment, host).expect_err("no plan").to_string()
}

/// The packages of a plan: `NAME VERSION` of conda packages, `NAME VERSION (pypi)` of the others.
fn names(wanted: &Wanted) -> Vec<String> {
    let conda = wanted.conda.iter().map(|it| {
        let record = &it.record.package_record;
        format!("{} {}", record.name.as_normalized(), record.version)
    });
    let pypi = wanted
        .pypi
        .iter()
        .map(|it| format!("{} {} (pypi)", it.name, it.version.as_deref().unwrap_or("unknown")));
    let mut all: Vec<String> = conda.chain(pypi).collect();
    all.sort();
    all
}

fn plain(subdir: Subdir) -> Platform {
    Platform::from(subdir)
}
