//! What must hold of every manifest and lock file, whatever the bytes: one function for each parser,
//! which panics where a claim fails.
//!
//! Two drivers share them: the property tests beside this file, and the fuzz targets in `fuzz/`.

use std::path::Path;

use rattler_conda_types::Subdir;
use rewarm_conda::lock::{Host, LockFile, Wanted, check};
use rewarm_conda::manifest::{ManifestError, Place, Platform, Workspace, assumed, detached};
use rewarm_conda::source::{CondaEnvironment, parse_explicit};

fn linux() -> Host {
    let subdir = Subdir::Linux64;
    Host { subdir, virtual_packages: assumed(subdir) }
}

/// Whether a place is one in the text.
fn is_in(place: &Place, text: &str) {
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&place.line), "{place} of {lines} lines");
    assert!(place.column >= 1);
}

/// Whether a name can be a directory of its own.
fn is_plain(name: &str) {
    assert!(!name.is_empty() && name != "." && name != "..", "`{name}`");
    assert!(!name.contains(['/', '\\']) && !name.contains(char::is_control), "`{name}`");
}

/// An error names a place in the text. A workspace always has the environment `default`; the names
/// of environments can be directories, each answers for every platform, and each warning has a line.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for path in ["/w/pixi.toml", "/w/pyproject.toml"] {
        match Workspace::parse(Path::new(path), text) {
            Ok(workspace) => answers(&workspace, text),
            Err(ManifestError::Syntax { place, .. } | ManifestError::Value { place, .. }) => {
                is_in(&place, text);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Ok(Some(found)) = detached(Path::new("/w/.pixi/config.toml"), text) {
        let workspace = Workspace::parse(Path::new("/w/pixi.toml"), "[workspace]\nchannels = []");
        let dir = workspace.expect("sound").environments_dir(&found, Path::new("/cache"));
        assert!(dir.is_absolute(), "{}", dir.display());
    }
}

fn answers(workspace: &Workspace, text: &str) {
    assert_eq!(workspace.environments().next(), Some("default"));
    for warning in &workspace.warnings {
        assert!((1..=text.split('\n').count()).contains(&warning.line), "{warning}");
    }
    for environment in workspace.environments() {
        is_plain(environment);
        let plain = [Subdir::Linux64, Subdir::OsxArm64, Subdir::Win64].map(Platform::from);
        for platform in workspace.environment_platforms(environment).iter().chain(&plain) {
            let activation = workspace.activation(environment, platform);
            let mut names: Vec<&String> = activation.env.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), activation.env.len(), "each variable once");
            for (name, value) in &activation.env {
                assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
            }
            for task in workspace.tasks(environment, platform).values() {
                assert!((1..=text.split('\n').count()).contains(&task.line));
            }
            let _ = workspace.requirements(environment, platform);
        }
        let _ = (workspace.environment_channels(environment), workspace.solve_group(environment));
    }
}

/// A lock file is refused, or each of its packages is refused or can be installed: it has a digest,
/// comes from where packages come from, and its name is one. Checking it against a manifest ends.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(lock) = LockFile::read(Path::new("/w/pixi.lock"), text) else { return };
    for environment in lock.environments() {
        for platform in lock.platforms(environment).expect("it is listed") {
            if let Ok(wanted) = lock.wanted(environment, &platform) {
                is_sound(&wanted);
            }
        }
    }
    let manifest = "[workspace]\nchannels = [\"conda-forge\"]\nplatforms = [\"linux-64\"]\n\
                    [dependencies]\npython = \"*\"\n[pypi-dependencies]\nidna = \"*\"\n";
    let workspace = Workspace::parse(Path::new("/w/pixi.toml"), manifest).expect("sound");
    let _ = check(&workspace, &lock);
}

fn is_sound(wanted: &Wanted) {
    for package in &wanted.conda {
        let record = &package.record.package_record;
        for part in [record.name.as_normalized(), &record.version.as_str(), record.build.as_str()] {
            is_plain(part);
        }
        is_plain(&package.record.identifier.to_string());
        assert!(record.sha256.is_some() || record.md5.is_some());
        assert!(matches!(package.record.url.scheme(), "http" | "https" | "file"));
        assert!([wanted.platform.subdir.as_str(), "noarch"].contains(&record.subdir.as_str()));
    }
    for package in &wanted.pypi {
        is_plain(&package.name);
    }
}

/// A list of URLs is refused, or what is said of a lock file holds; an environment file can be
/// compared with any list.
pub fn explicit(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(wanted) = parse_explicit(Path::new("/p/explicit.txt"), text, &linux()) {
        is_sound(&wanted);
    }
    if let Ok(environment) = CondaEnvironment::parse(Path::new("/p/environment.yml"), text) {
        let empty = parse_explicit(Path::new("/p/explicit.txt"), "@EXPLICIT\n", &linux());
        let _ = environment.fits(&empty.expect("a sound list"));
    }
}
