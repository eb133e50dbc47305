//! `requirements*.txt` in which everything is pinned.
//!
//! A requirement is pinned by `==` or `===`, by a direct reference, or by a constraint (`-c`) that
//! pins it. Where one requirement has a digest all must have one, as with pip. Such a file names
//! no URLs: what it pins waits for the pages of an index.

mod lines;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rewarm_store::Digest;
use url::Url;
use uv_distribution_filename::WheelFilename;
use uv_normalize::PackageName;
use uv_pep440::{Operator, Version};
use uv_pep508::{MarkerTree, Requirement, VersionOrUrl};

use super::file::{filename_of, from_url, normalized};
use super::{
    Hash, Location, LockError, Place, RemoteFile, Source, Target, Wanted, line_at, read_text,
};
use lines::{Line, logical_lines};

/// Files may include each other this deep.
const DEPTH: usize = 16;

/// A parsed requirements file with all that it includes.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    pub(super) indexes: Vec<String>,
    pins: Vec<Pin>,
    constraints: BTreeMap<PackageName, Vec<(MarkerTree, Version, Vec<Hash>)>>,
    require_hashes: bool,
}

#[derive(Debug)]
struct Pin {
    path: PathBuf,
    line: usize,
    text: String,
    name: PackageName,
    marker: MarkerTree,
    origin: Origin,
    hashes: Vec<Hash>,
}

#[derive(Debug)]
enum Origin {
    Version(Version),
    Unpinned,
    File { file: RemoteFile, subdirectory: Option<PathBuf> },
    Directory { path: PathBuf, editable: bool },
}

/// Reads a file and those that it includes; gives all of them with the digest of what was read.
pub(super) fn read(path: &Path) -> Result<(Requirements, Vec<(PathBuf, Digest)>), LockError> {
    let mut reader = Reader { requirements: Requirements::default(), files: Vec::new() };
    reader.read(path, false, 0)?;
    let hashed = reader.requirements.pins.iter().any(|pin| !pin.hashes.is_empty());
    reader.requirements.require_hashes |= hashed;
    Ok((reader.requirements, reader.files))
}

struct Reader {
    requirements: Requirements,
    files: Vec<(PathBuf, Digest)>,
}

impl Reader {
    fn read(&mut self, path: &Path, constraints: bool, depth: usize) -> Result<(), LockError> {
        let text = read_text(path)?;
        self.files.push((path.to_owned(), Digest::of(&text)));
        let base = path.parent().unwrap_or(Path::new("."));
        for (line, text) in logical_lines(&text) {
            let place = Place { path, line };
            match lines::parse(place, &text)? {
                Line::Nothing => {}
                Line::RequireHashes => self.requirements.require_hashes = true,
                Line::Index(url) => self.requirements.indexes.insert(0, url),
                Line::ExtraIndex(url) => self.requirements.indexes.push(url),
                Line::Include(file) => self.include(place, (base, &file), constraints, depth)?,
                Line::Constraints(file) => self.include(place, (base, &file), true, depth)?,
                Line::Editable(target) => {
                    self.requirements.pins.push(editable(place, base, &target)?)
                }
                Line::Requirement(text, hashes) => {
                    let pin = pin(place, base, &text, hashes)?;
                    if constraints { self.constrain(pin) } else { self.requirements.pins.push(pin) }
                }
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        place: Place<'_>,
        (base, file): (&Path, &str),
        constraints: bool,
        depth: usize,
    ) -> Result<(), LockError> {
        if file.contains("://") {
            let mend = "download it and name the copy";
            return Err(place.unsupported(format!("the remote file `{file}`"), mend));
        }
        if depth == DEPTH {
            return Err(place.invalid(format!("`{file}` is included in itself")));
        }
        self.read(&normalized(&base.join(file)), constraints, depth + 1)
    }

    /// A constraint that pins nothing excludes nothing that is pinned elsewhere.
    fn constrain(&mut self, pin: Pin) {
        if let Origin::Version(version) = pin.origin {
            let known = self.requirements.constraints.entry(pin.name).or_default();
            known.push((pin.marker, version, pin.hashes));
        }
    }
}

/// Reads a requirement: PEP 508, or a bare path or URL of a wheel.
fn pin(place: Place<'_>, base: &Path, text: &str, hashes: Vec<Hash>) -> Result<Pin, LockError> {
    if let Some((location, rest)) = bare_reference(place, base, text)? {
        return bare_wheel(place, text, (location, rest), hashes);
    }
    let requirement = Requirement::<Url>::parse(text, base).map_err(|error| {
        let message = error.to_string();
        place.invalid(format!("`{text}`: {}", message.lines().next().unwrap_or_default()))
    })?;
    let origin = match requirement.version_or_url {
        Some(VersionOrUrl::Url(url)) => direct(place, &requirement.name, url, &hashes)?,
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
            let exact = [Operator::Equal, Operator::ExactEqual];
            let pinned = specifiers.iter().find(|one| exact.contains(one.operator()));
            pinned.map_or(Origin::Unpinned, |one| Origin::Version(one.version().clone()))
        }
        None => Origin::Unpinned,
    };
    let (name, marker) = (requirement.name, requirement.marker);
    let (path, text) = (place.path.to_owned(), text.to_owned());
    Ok(Pin { path, line: place.line, text, name, marker, origin, hashes })
}

/// A line that is a URL or a path rather than a name, with the marker that may follow it.
fn bare_reference<'a>(
    place: Place<'_>,
    base: &Path,
    text: &'a str,
) -> Result<Option<(Location, &'a str)>, LockError> {
    let (reference, marker) = text.split_once(" ;").unwrap_or((text, ""));
    let reference = reference.trim();
    if reference.contains(" @ ") || reference.contains("@ ") {
        return Ok(None);
    }
    let scheme = reference.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')) {
        let url = Url::parse(reference)
            .map_err(|error| place.invalid(format!("URL `{reference}`: {error}")))?;
        return Ok(Some((from_url(place, url)?, marker)));
    }
    if reference.contains('/') || reference == "." || reference.ends_with(".whl") {
        return Ok(Some((Location::Path(normalized(&base.join(reference))), marker)));
    }
    Ok(None)
}

fn bare_wheel(
    place: Place<'_>,
    text: &str,
    (location, marker): (Location, &str),
    mut hashes: Vec<Hash>,
) -> Result<Pin, LockError> {
    let named = filename_of(&location).and_then(|name| {
        let wheel = WheelFilename::from_str(&name).ok()?;
        Some((name, wheel))
    });
    let Some((filename, wheel)) = named else {
        let mend = "write `NAME @ URL`, so that it is known which package it is";
        return Err(place.unsupported(format!("`{text}` without a name"), mend));
    };
    if hashes.is_empty() {
        hashes = fragment_hashes(place, &location)?;
    }
    let marker = match marker.trim() {
        "" => MarkerTree::TRUE,
        marker => MarkerTree::from_str(marker)
            .map_err(|_| place.invalid(format!("marker `{marker}` is malformed")))?,
    };
    let file = RemoteFile { filename, location, size: None, hashes: hashes.clone() };
    let origin = Origin::File { file, subdirectory: None };
    let (path, text) = (place.path.to_owned(), text.to_owned());
    Ok(Pin { path, line: place.line, text, name: wheel.name, marker, origin, hashes })
}

/// `NAME @ URL`.
fn direct(
    place: Place<'_>,
    name: &PackageName,
    url: Url,
    hashes: &[Hash],
) -> Result<Origin, LockError> {
    if url.scheme().contains('+') {
        let what = format!("`{name}` from a checkout (`{url}`)");
        let mend = "lock a release of it, or an archive of that commit by its https URL";
        return Err(place.unsupported(what, mend));
    }
    let fragment = url.fragment().unwrap_or_default().to_owned();
    let subdirectory =
        fragment.split('&').find_map(|part| part.strip_prefix("subdirectory=")).map(PathBuf::from);
    let mut plain = url.clone();
    plain.set_fragment(None);
    let location = from_url(place, plain)?;
    if let Location::Path(path) = &location
        && path.is_dir()
    {
        let path = path.join(subdirectory.unwrap_or_default());
        return Ok(Origin::Directory { path: normalized(&path), editable: false });
    }
    let hashes = if hashes.is_empty() {
        fragment_hashes(place, &Location::Url(url))?
    } else {
        hashes.to_vec()
    };
    let filename = filename_of(&location)
        .ok_or_else(|| place.invalid(format!("the URL of `{name}` names no file")))?;
    let file = RemoteFile { filename, location, size: None, hashes };
    Ok(Origin::File { file, subdirectory })
}

/// `#sha256=…` of a URL.
fn fragment_hashes(place: Place<'_>, location: &Location) -> Result<Vec<Hash>, LockError> {
    let Location::Url(url) = location else { return Ok(Vec::new()) };
    let parts = url.fragment().unwrap_or_default().split('&');
    let hashes = parts.filter(|part| part.starts_with("sha"));
    hashes.map(|part| lines::hash(place, part)).collect()
}

/// `-e DIRECTORY`; the name is that of its `pyproject.toml`.
fn editable(place: Place<'_>, base: &Path, target: &str) -> Result<Pin, LockError> {
    let target_path = target.strip_prefix("file://").unwrap_or(target);
    if target_path.contains("://") || target.contains('+') {
        let mend = "check it out and name the directory";
        return Err(place.unsupported(format!("the editable checkout `{target}`"), mend));
    }
    let directory = target_path.split('[').next().unwrap_or_default();
    let path = normalized(&base.join(directory));
    let manifest = path.join("pyproject.toml");
    let text = read_text(&manifest)?;
    let name = project_name(&manifest, &text)?;
    let origin = Origin::Directory { path, editable: true };
    let (file, text) = (place.path.to_owned(), format!("-e {target}"));
    let (marker, hashes) = (MarkerTree::TRUE, Vec::new());
    Ok(Pin { path: file, line: place.line, text, name, marker, origin, hashes })
}

fn project_name(path: &Path, text: &str) -> Result<PackageName, LockError> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        project: Option<Project>,
    }
    #[derive(serde::Deserialize)]
    struct Project {
        name: PackageName,
    }
    let manifest: Manifest = super::parse_toml(path, text)?;
    let place = Place { path, line: line_at(text, 0) };
    let project = manifest.project.ok_or_else(|| place.invalid("`project.name` is missing"))?;
    Ok(project.name)
}

impl Requirements {
    /// The packages whose markers apply.
    pub(super) fn select(&self, target: Target<'_>) -> Result<Vec<Wanted>, LockError> {
        let mut wanted: BTreeMap<PackageName, (usize, Wanted)> = BTreeMap::new();
        for pin in self.pins.iter().filter(|pin| pin.marker.evaluate(target.markers, &[])) {
            let selected = self.select_one(pin, target)?;
            match wanted.get_mut(&pin.name) {
                None => drop(wanted.insert(pin.name.clone(), (pin.line, selected))),
                Some((line, other)) => {
                    if *other != selected && !merge(other, &selected) {
                        let message = format!("line {line} pins `{}` differently", pin.name);
                        return Err(Place { path: &pin.path, line: pin.line }.invalid(message));
                    }
                }
            }
        }
        Ok(wanted.into_values().map(|(_, wanted)| wanted).collect())
    }

    fn select_one(&self, pin: &Pin, target: Target<'_>) -> Result<Wanted, LockError> {
        let place = Place { path: &pin.path, line: pin.line };
        let mut hashes = pin.hashes.clone();
        let (version, source) = match &pin.origin {
            Origin::Version(version) => (Some(version.clone()), None),
            Origin::Unpinned => {
                let constraints = self.constraints.get(&pin.name).into_iter().flatten();
                let mut applying =
                    constraints.filter(|(marker, ..)| marker.evaluate(target.markers, &[]));
                let Some((_, version, allowed)) = applying.next() else {
                    let (path, requirement) = (pin.path.clone(), pin.text.clone());
                    return Err(LockError::NotPinned { path, line: pin.line, requirement });
                };
                hashes.extend_from_slice(allowed);
                (Some(version.clone()), None)
            }
            Origin::File { file, subdirectory } => {
                (file_version(file), Some(file_source(file, subdirectory.as_deref())))
            }
            Origin::Directory { path, editable } => {
                let source = Source::Directory {
                    path: path.clone(),
                    editable: *editable,
                    build_files: None,
                };
                (None, Some(source))
            }
        };
        let is_file = matches!(source, None | Some(Source::Wheel { .. } | Source::Sdist { .. }));
        let hashed = match source.as_ref().and_then(Source::file) {
            Some(file) => !file.hashes.is_empty(),
            None => !hashes.is_empty(),
        };
        if self.require_hashes && is_file && !hashed {
            let message = format!("`{}` has no `--hash`, but others have", pin.text);
            return Err(place.invalid(message));
        }
        let source = source.unwrap_or(Source::Index { hashes });
        Ok(Wanted { name: pin.name.clone(), version, source })
    }
}

/// Two pins of one version allow the digests of both.
fn merge(one: &mut Wanted, other: &Wanted) -> bool {
    match (&mut one.source, &other.source) {
        (Source::Index { hashes }, Source::Index { hashes: more })
            if one.version == other.version =>
        {
            hashes.extend_from_slice(more);
            hashes.sort();
            hashes.dedup();
            true
        }
        _ => false,
    }
}

fn file_version(file: &RemoteFile) -> Option<Version> {
    WheelFilename::from_str(&file.filename).ok().map(|wheel| wheel.version)
}

fn file_source(file: &RemoteFile, subdirectory: Option<&Path>) -> Source {
    if file.filename.ends_with(".whl") {
        return Source::Wheel { file: file.clone(), direct: true };
    }
    let subdirectory = subdirectory.map(Path::to_owned);
    Source::Sdist { file: file.clone(), direct: true, subdirectory }
}
