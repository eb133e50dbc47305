//! Pages of a simple index in JSON (PEP 691), for lock files that name no files.
//!
//! The caller fetches `INDEX/NAME/` with the media type [`ACCEPT`] and hands in the bytes; here
//! they become the files of one project, and one of those is chosen: of the pinned version, with
//! an allowed digest, for this interpreter, and not yanked unless nothing else is left (PEP 592).

use serde::Deserialize;
use std::collections::BTreeMap;
use std::str::FromStr;
use url::Url;
use uv_distribution_filename::DistFilename;
use uv_normalize::PackageName;
use uv_pep440::{Version, VersionSpecifiers};
use uv_platform_tags::Tags;

use crate::lock::{Hash, Location, RemoteFile, Source, Wanted, choose};

/// What to ask an index for.
pub const ACCEPT: &str = "application/vnd.pypi.simple.v1+json";

/// The files of one project.
#[derive(Debug, Clone)]
pub struct IndexPage {
    /// The project.
    pub project: PackageName,
    files: Vec<IndexFile>,
}

#[derive(Debug, Clone)]
struct IndexFile {
    name: DistFilename,
    file: RemoteFile,
    requires_python: Option<VersionSpecifiers>,
    yanked: bool,
}

/// Why an index does not help.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// What came is no page in the JSON format.
    #[error("the index page `{url}` is not in the JSON format of PEP 691")]
    Format {
        /// Where the page came from.
        url: Url,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The page of a project was not handed in.
    #[error("there is no index page of `{project}`")]
    NoPage {
        /// The project.
        project: PackageName,
    },
    /// No file on the page fits.
    #[error("the index has no file of `{project}` {version} that can be installed: {reason}")]
    NoFile {
        /// The project.
        project: PackageName,
        /// The pinned version.
        version: String,
        /// Why none fits.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PageFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    requires_python: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    yanked: Yanked,
}

/// A reason, or whether at all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Yanked {
    Flag(bool),
    Reason(serde::de::IgnoredAny),
}

impl Default for Yanked {
    fn default() -> Self {
        Self::Flag(false)
    }
}

/// Reads the page of `project` that was fetched from `url`. Files that are no distributions of the
/// project, or in no known format, are left out.
pub fn parse(project: &PackageName, url: &Url, bytes: &[u8]) -> Result<IndexPage, IndexError> {
    let page: Page = serde_json::from_slice(bytes)
        .map_err(|source| IndexError::Format { url: url.clone(), source })?;
    let files = page.files.into_iter().filter_map(|file| index_file(project, url, file)).collect();
    Ok(IndexPage { project: project.clone(), files })
}

fn index_file(project: &PackageName, base: &Url, file: PageFile) -> Option<IndexFile> {
    let name = DistFilename::try_from_filename(&file.filename, project)?;
    let url = base.join(&file.url).ok()?;
    let location = match url.scheme() {
        "http" | "https" => Location::Url(url),
        "file" => Location::Path(url.to_file_path().ok()?),
        _ => return None,
    };
    let hashes =
        file.hashes.iter().filter_map(|(algorithm, hex)| Hash::parse(algorithm, hex)).collect();
    // A specifier that cannot be understood excludes nothing, as with pip.
    let requires_python =
        file.requires_python.and_then(|text| VersionSpecifiers::from_str(&text).ok());
    let yanked = match file.yanked {
        Yanked::Flag(flag) => flag,
        Yanked::Reason(_) => true,
    };
    let file = RemoteFile { filename: file.filename, location, size: file.size, hashes };
    Some(IndexFile { name, file, requires_python, yanked })
}

/// Chooses the file of a package that was only pinned.
pub(crate) fn resolve(
    wanted: &mut Wanted,
    pages: &[IndexPage],
    python: [u64; 3],
    tags: &Tags,
) -> Result<(), IndexError> {
    let Source::Index { hashes } = &wanted.source else { return Ok(()) };
    let project = wanted.name.clone();
    let page = pages.iter().find(|page| page.project == project);
    let page = page.ok_or_else(|| IndexError::NoPage { project: project.clone() })?;
    let version = wanted.version.as_ref();
    let python = Version::new(python);
    let mut reasons = Vec::new();
    let mut candidates: Vec<&IndexFile> = Vec::new();
    for file in page.files.iter().filter(|file| Some(file.name.version()) == version) {
        let requires = file.requires_python.as_ref();
        if requires.is_some_and(|requires| !requires.contains(&python)) {
            reasons.push(format!("`{}` is for another Python", file.file.filename));
        } else if !hashes.is_empty() && !is_allowed(&file.file, hashes) {
            reasons.push(format!("`{}` has none of the allowed digests", file.file.filename));
        } else {
            candidates.push(file);
        }
    }
    if candidates.iter().any(|file| !file.yanked) {
        candidates.retain(|file| !file.yanked);
    }
    let pick = |wheel: bool| {
        let files = candidates.iter();
        let files =
            files.filter(move |file| matches!(file.name, DistFilename::WheelFilename(_)) == wheel);
        files.map(|file| restricted(&file.file, hashes))
    };
    let (wheels, sdists): (Vec<_>, Vec<_>) = (pick(true).collect(), pick(false).collect());
    let source = choose(&wheels, sdists.first(), tags).map_err(|reason| IndexError::NoFile {
        project,
        version: version.map(ToString::to_string).unwrap_or_default(),
        reason: if candidates.is_empty() && reasons.is_empty() {
            "it lists none of that version".to_owned()
        } else if candidates.is_empty() {
            reasons.join(", ")
        } else {
            reason
        },
    })?;
    wanted.source = source;
    Ok(())
}

/// Whether the index itself says that a file has an allowed digest, or cannot tell.
fn is_allowed(file: &RemoteFile, allowed: &[Hash]) -> bool {
    let comparable = |hash: &&Hash| allowed.iter().any(|other| other.algorithm == hash.algorithm);
    let mut known = file.hashes.iter().filter(comparable).peekable();
    known.peek().is_none() || known.any(|hash| allowed.contains(hash))
}

/// A file with the digests that the lock allows rather than those the index claims.
fn restricted(file: &RemoteFile, allowed: &[Hash]) -> RemoteFile {
    if allowed.is_empty() {
        return file.clone();
    }
    let known = file.hashes.iter().filter(|hash| allowed.contains(hash)).cloned();
    let known: Vec<Hash> = known.collect();
    let hashes = if known.is_empty() { allowed.to_vec() } else { known };
    RemoteFile { hashes, ..file.clone() }
}
