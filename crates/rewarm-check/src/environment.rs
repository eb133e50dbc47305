//! The installed distributions, as far as they can change an answer of mypy.
//!
//! A distribution is its name, its version and its `RECORD` without what differs between two equal
//! installations: scripts, bytecode and the installer's own notes. To these come the `.pth` files
//! and the top-level names of each directory of packages. Edits behind the installer's back do not
//! show here; they are found among the files that the run was observed to read.

use std::io;
use std::path::{Path, PathBuf};

use rewarm_store::{Digest, Hasher, Witness};

use crate::listing;
use crate::places::{Place, Places};
use crate::witness::Table;

/// One named part of a key.
pub(crate) type Facet = (String, Digest);

/// What is installed.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Distributions, `.pth` files and top-level names, by directory.
    pub(crate) facets: Vec<Facet>,
    /// The version of mypy.
    pub(crate) mypy: Option<String>,
}

impl Environment {
    /// Reads every directory of packages; one that is not there is an input as well.
    pub(crate) fn of(sites: &[PathBuf], places: &Places, table: &mut Table) -> io::Result<Self> {
        let mut found = Self::default();
        for site in sites {
            let label = places.name(site).display();
            let names = match listing::names(site, false) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            let mut top = Hasher::new("top-level names");
            for (name, directory) in &names {
                top.field(name).field([u8::from(*directory)]);
                let text = String::from_utf8_lossy(name);
                if *directory && is_metadata(&text) {
                    let digest = distribution(site, &text, places, table)?;
                    found.facets.push((format!("distribution `{text}`"), digest));
                    if let Some(version) = text.strip_prefix("mypy-")
                        && found.mypy.is_none()
                    {
                        let end = version.rfind('.').unwrap_or(version.len());
                        found.mypy = Some(version[..end].to_owned());
                    }
                } else if text.ends_with(".pth") {
                    let digest = path_file(&site.join(&*text), places, table)?;
                    found.facets.push((format!("path file `{text}`"), digest));
                }
            }
            found.facets.push((format!("top-level names in `{label}`"), top.finish()));
        }
        Ok(found)
    }
}

fn is_metadata(name: &str) -> bool {
    name.ends_with(".dist-info") || name.ends_with(".egg-info")
}

/// Digests what one metadata directory says was installed.
fn distribution(site: &Path, name: &str, places: &Places, table: &mut Table) -> io::Result<Digest> {
    for (file, read) in
        [("RECORD", record as fn(&[u8]) -> Digest), ("METADATA", plain), ("PKG-INFO", plain)]
    {
        let path = site.join(name).join(file);
        let Some(witness) = Witness::of(&path)? else { continue };
        return table.digest(derived(places, &path), witness, || Ok(read(&std::fs::read(&path)?)));
    }
    Ok(Digest::of(""))
}

/// The table's name for something derived from a file, as opposed to its content.
fn derived(places: &Places, path: &Path) -> Place {
    let mut name = path.as_os_str().to_owned();
    name.push("#");
    places.name(Path::new(&name))
}

fn plain(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

/// A `RECORD` (recording installed projects, PyPA specification) without the lines that differ
/// between two installations of the same files.
fn record(bytes: &[u8]) -> Digest {
    let mut lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty() && is_stable(line))
        .collect();
    lines.sort_unstable();
    let mut hasher = Hasher::new("record");
    hasher.list(lines);
    hasher.finish()
}

fn is_stable(line: &[u8]) -> bool {
    const NOTES: [&str; 5] =
        ["INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"];
    let path = match line.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
        None => line.split(|byte| *byte == b',').next(),
    };
    let path = String::from_utf8_lossy(path.unwrap_or_default());
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let outside = path.starts_with('/') || path.starts_with("..");
    let note = parent.ends_with(".dist-info") && NOTES.contains(&name);
    !outside && !note && !path.ends_with(".pyc")
}

/// A `.pth` file names directories; those below the project or the environment count by what they
/// are there.
fn path_file(path: &Path, places: &Places, table: &mut Table) -> io::Result<Digest> {
    let Some(witness) = Witness::of(path)? else { return Ok(Digest::of("")) };
    table.digest(derived(places, path), witness, || {
        Ok(Digest::of(places.neutral(&std::fs::read(path)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installer_notes_and_scripts_are_no_part_of_a_distribution() {
        let one = "a/b.py,sha256=x,1\n../../../bin/t,sha256=y,2\na-1.dist-info/RECORD,,\n";
        let two =
            "a-1.dist-info/INSTALLER,sha256=z,4\r\na/__pycache__/b.pyc,,\na/b.py,sha256=x,1\n";
        assert_eq!(record(one.as_bytes()), record(two.as_bytes()));
    }

    #[test]
    fn another_file_is_another_distribution() {
        let one = record(b"a/b.py,sha256=x,1\n");
        assert_ne!(one, record(b"a/b.py,sha256=y,1\n"));
        assert_ne!(one, record(b"a/b.py,sha256=x,1\n\"c,d.py\",sha256=x,1\n"));
        assert_ne!(record(b"a/INSTALLER,sha256=x,1\n"), record(b""));
    }
}
