//! Removing a distribution by its `RECORD`, in an order that survives being cut short.
//!
//! Files go first, `RECORD` last: a removal that dies half-way is found by the next one, which
//! still knows what there is to remove. Nothing outside the environment is ever touched, whatever
//! a `RECORD` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rewarm_store::Tree;
use uv_install_wheel::Layout;

use crate::lock::normalized;
use crate::wheel::record_rows;

/// Removes the distribution described by `dist_info` from the environment at `root`.
pub(crate) fn uninstall(root: &Path, dist_info: &Path) -> io::Result<()> {
    let site_packages = dist_info.parent().unwrap_or(root);
    let rows = File::open(dist_info.join("RECORD"))
        .ok()
        .and_then(|file| record_rows(file).ok())
        .unwrap_or_default();
    let mut paths: Vec<PathBuf> = rows
        .iter()
        .map(|row| normalized(&site_packages.join(&row.path)))
        .filter(|path| !path.starts_with(dist_info))
        .collect();
    // An installation that was cut short has launchers that `RECORD` does not list yet.
    paths.extend(launchers(dist_info).into_iter().map(|name| root.join("bin").join(name)));
    remove_files(root, site_packages, &paths)?;
    remove_dist_info(dist_info)
}

/// Removes what an installation of `tree` that was cut short may have left: its files wherever
/// they were going, its launchers, and the temporary files beside them.
pub(crate) fn remove_traces(layout: &Layout, name: &str, tree: &Tree) -> io::Result<()> {
    let scheme = &layout.scheme;
    for site_packages in [&scheme.purelib, &scheme.platlib] {
        let mut data = BTreeSet::new();
        let mut paths = Vec::new();
        for file in tree.files.iter().map(|file| file.path.as_str()) {
            paths.push(site_packages.join(file));
            let Some((top, rest)) = file.split_once('/') else { continue };
            if top.ends_with(".dist-info") && rest == "entry_points.txt" {
                let names = launchers(&tree.path.join(top));
                paths.extend(names.into_iter().map(|name| scheme.scripts.join(name)));
            }
            let Some((kind, rest)) = rest.split_once('/') else { continue };
            if top.ends_with(".data") {
                data.insert(site_packages.join(top));
                match kind {
                    "data" => paths.push(scheme.data.join(rest)),
                    "scripts" => paths.push(scheme.scripts.join(rest)),
                    "headers" => paths.push(scheme.include.join(name).join(rest)),
                    _ => paths.push(site_packages.join(rest)),
                }
            }
        }
        for dir in data {
            remove_dir(&dir)?;
        }
        remove_temporary(&paths)?;
        // What only the installer writes.
        let infos: BTreeSet<_> = paths.iter().filter_map(|path| path.parent()).collect();
        for info in infos {
            if info.extension().is_some_and(|extension| extension == "dist-info") {
                remove_dir(info)?;
            }
        }
        remove_files(&scheme.data, site_packages, &paths)?;
    }
    Ok(())
}

/// Removes files and directories named `.tmp` and six more characters, as the linker names what
/// it has not renamed yet, beside any of the paths.
fn remove_temporary(paths: &[PathBuf]) -> io::Result<()> {
    let parents: BTreeSet<_> = paths.iter().filter_map(|path| path.parent()).collect();
    for parent in parents {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.len() != 10 || !name.as_encoded_bytes().starts_with(b".tmp") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                remove_dir(&entry.path())?;
            } else {
                ignore_absence(fs::remove_file(entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Removes files below `root`, what was compiled from them, and directories left empty.
fn remove_files(root: &Path, site_packages: &Path, paths: &[PathBuf]) -> io::Result<()> {
    let mut parents: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.starts_with(root) && *path != root) {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if is_harmless(&error) => {}
            // On Linux a directory in the place of a file.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(error),
        }
        let Some(parent) = path.parent() else { continue };
        let stems = parents.entry(parent).or_default();
        if path.extension().is_some_and(|extension| extension == "py") {
            stems.extend(path.file_stem().and_then(|stem| stem.to_str()));
        }
    }
    for (parent, stems) in &parents {
        remove_compiled(&parent.join("__pycache__"), stems)?;
    }
    for parent in parents.keys().rev() {
        remove_empty(parent, site_packages);
    }
    Ok(())
}

/// Removes `STEM.*.pyc`.
fn remove_compiled(cache: &Path, stems: &BTreeSet<&str>) -> io::Result<()> {
    if stems.is_empty() {
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(cache) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next());
        if stem.is_some_and(|stem| stems.contains(stem)) {
            ignore_absence(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

/// Removes directories that hold nothing any more, up to but without the package directory.
fn remove_empty(directory: &Path, site_packages: &Path) {
    let mut directory = directory;
    while directory.starts_with(site_packages) && directory != site_packages {
        let _ = fs::remove_dir(directory.join("__pycache__"));
        if fs::remove_dir(directory).is_err() && directory.exists() {
            return;
        }
        let Some(parent) = directory.parent() else { return };
        directory = parent;
    }
}

fn remove_dist_info(dist_info: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dist_info) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == "RECORD" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_dir(&entry.path())?;
        } else {
            ignore_absence(fs::remove_file(entry.path()))?;
        }
    }
    ignore_absence(fs::remove_file(dist_info.join("RECORD")))?;
    ignore_absence(fs::remove_dir(dist_info))
}

/// The names of the console and GUI scripts that a distribution declares.
fn launchers(dist_info: &Path) -> Vec<String> {
    let text = fs::read_to_string(dist_info.join("entry_points.txt")).unwrap_or_default();
    let mut section = "";
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if ["[console_scripts]", "[gui_scripts]"].contains(&section)
            && let Some((name, _)) = line.split_once('=')
            && !line.starts_with(['#', ';'])
            && !name.contains('/')
            && !["", ".", ".."].contains(&name.trim())
        {
            names.push(name.trim().to_owned());
        }
    }
    names
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    ignore_absence(fs::remove_dir_all(dir))
}

fn ignore_absence(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_harmless(&error) => Ok(()),
        other => other,
    }
}

fn is_harmless(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
