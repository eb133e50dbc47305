//! What is installed in an environment, as its `.dist-info` directories say.
//!
//! Read-only. A distribution counts by the name of its directory (recording installed projects,
//! "The .dist-info directory"); whether its files are there is checked against `RECORD` by
//! existence and size, not by content: that is what `rewarm doctor` and a reinstallation are for.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;
use serde::Deserialize;
use uv_normalize::PackageName;
use uv_pep440::Version;

use crate::wheel::record_rows;

/// A distribution that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Its `.dist-info` directory.
    pub dist_info: PathBuf,
    /// Who installed it, as `INSTALLER` says.
    pub installer: Option<String>,
    /// Where it came from, if not from an index (PEP 610).
    pub direct_url: Option<InstalledFrom>,
    /// Whether it brought scripts that name the environment's interpreter.
    pub has_scripts: bool,
    /// What of it is missing, if something is.
    pub damage: Option<String>,
}

/// The parts of `direct_url.json` that matter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InstalledFrom {
    /// A URL, `file:` for what was on this machine.
    pub url: String,
    dir_info: Option<DirectoryInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct DirectoryInfo {
    #[serde(default)]
    editable: bool,
}

impl InstalledFrom {
    /// Whether it is an editable installation of a directory.
    pub fn is_editable(&self) -> bool {
        self.dir_info.as_ref().is_some_and(|info| info.editable)
    }
}

/// Lists the distributions in the package directories of an environment, sorted by name.
pub fn scan(directories: &[PathBuf]) -> io::Result<Vec<Installed>> {
    let mut found = Vec::new();
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if let Some((name, version)) = identity(&path) {
                found.push((name, version, path));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found.into_par_iter().map(|(name, version, path)| describe(name, version, path)).collect())
}

/// `NAME-VERSION.dist-info`.
fn identity(path: &Path) -> Option<(PackageName, Version)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".dist-info")?;
    let (name, version) = stem.rsplit_once('-')?;
    Some((PackageName::from_str(name).ok()?, Version::from_str(version).ok()?))
}

fn describe(name: PackageName, version: Version, dist_info: PathBuf) -> Installed {
    let read = |file: &str| fs::read_to_string(dist_info.join(file)).ok();
    let installer = read("INSTALLER").map(|text| text.trim().to_owned());
    let direct_url = read("direct_url.json").and_then(|text| serde_json::from_str(&text).ok());
    let mut has_scripts = false;
    let damage = damage(&dist_info, &mut has_scripts);
    Installed { name, version, dist_info, installer, direct_url, has_scripts, damage }
}

/// The first file of a distribution that is missing or has another size.
fn damage(dist_info: &Path, has_scripts: &mut bool) -> Option<String> {
    let site_packages = dist_info.parent()?;
    let Ok(file) = File::open(dist_info.join("RECORD")) else {
        return Some("its `RECORD` is missing".to_owned());
    };
    let rows = match record_rows(file) {
        Ok(rows) => rows,
        Err(error) => return Some(format!("its `RECORD` is malformed: {error}")),
    };
    let mut damage = None;
    for row in rows {
        let outside = row.path.starts_with("../");
        *has_scripts |= outside;
        // Compiled files come and go.
        if damage.is_some() || row.path.ends_with(".pyc") {
            continue;
        }
        match fs::metadata(site_packages.join(&row.path)) {
            Err(_) => damage = Some(format!("`{}` is missing", row.path)),
            // Scripts are rewritten when an environment moves.
            Ok(found) if !outside && row.size.is_some_and(|size| size != found.len()) => {
                damage = Some(format!("`{}` was changed", row.path));
            }
            Ok(_) => {}
        }
    }
    damage
}
