//! A file that a lock names: where it is and which digests it must have.
//!
//! A [`Location`] is an `http` or `https` URL, or a path on this machine (a `file:` URL counts as
//! its path); other schemes are refused where the lock is read. Digests weaker than sha256 are
//! not kept.

use std::path::{Path, PathBuf};

use rewarm_store::Digest;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use url::Url;

use super::{LockError, Place};

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Behind `http:` or `https:`.
    Url(Url),
    /// On this machine; absolute.
    Path(PathBuf),
}

/// A digest algorithm that is strong enough (PEP 427: sha256 or better).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// FIPS 180-4, 256 bits.
    Sha256,
    /// FIPS 180-4, 384 bits.
    Sha384,
    /// FIPS 180-4, 512 bits.
    Sha512,
}

impl HashAlgorithm {
    /// By its name as lock files and `RECORD` spell it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A digest that a file must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash {
    /// How it is computed.
    pub algorithm: HashAlgorithm,
    value: Vec<u8>,
}

impl Hash {
    /// From the algorithm's name and hex digits; `None` if it is weak or malformed.
    pub fn parse(algorithm: &str, hex: &str) -> Option<Self> {
        let algorithm = HashAlgorithm::from_name(algorithm)?;
        let digits: Option<Vec<u8>> =
            hex.chars().map(|digit| Some(u8::try_from(digit.to_digit(16)?).unwrap_or(0))).collect();
        let value: Vec<u8> =
            digits?.chunks(2).map(|pair| pair[0] << 4 | pair[pair.len() - 1]).collect();
        (hex.len() == 2 * algorithm.size()).then_some(Self { algorithm, value })
    }

    /// As the address of a blob, if it is a sha256.
    pub fn sha256(&self) -> Option<Digest> {
        let bytes = <[u8; 32]>::try_from(self.value.as_slice()).ok()?;
        (self.algorithm == HashAlgorithm::Sha256).then(|| Digest::from_bytes(bytes))
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.value
    }
}

/// Computes digests of several algorithms in one pass.
#[derive(Debug, Clone)]
pub(crate) enum AnyHasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl AnyHasher {
    pub(crate) fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            HashAlgorithm::Sha384 => Self::Sha384(Sha384::new()),
            HashAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha384(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// A file that a lock or an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name, which for a wheel says what it fits.
    pub filename: String,
    /// Where it is.
    pub location: Location,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// Any one of the digests of an algorithm will do, but one must match; empty if the lock
    /// names none.
    pub hashes: Vec<Hash>,
}

impl RemoteFile {
    /// The address of the blob, if the lock names exactly one.
    pub fn sha256(&self) -> Option<Digest> {
        let mut digests = self.hashes.iter().filter_map(Hash::sha256);
        let first = digests.next()?;
        digests.next().is_none().then_some(first)
    }
}

/// Reads a location: a URL, or a path relative to the directory `base`.
pub(super) fn location(
    place: Place<'_>,
    base: &Path,
    (url, path): (Option<&str>, Option<&str>),
) -> Result<Location, LockError> {
    if let Some(text) = url {
        let url =
            Url::parse(text).map_err(|error| place.invalid(format!("URL `{text}`: {error}")))?;
        return from_url(place, url);
    }
    match path {
        Some(path) => Ok(Location::Path(normalized(&base.join(path)))),
        None => Err(place.invalid("a file needs `url` or `path`")),
    }
}

pub(super) fn from_url(place: Place<'_>, url: Url) -> Result<Location, LockError> {
    match url.scheme() {
        "http" | "https" => Ok(Location::Url(url)),
        "file" => {
            let path = url.to_file_path();
            path.map(Location::Path)
                .map_err(|()| place.invalid(format!("URL `{url}` names no path on this machine")))
        }
        scheme => Err(place.unsupported(
            format!("a URL of scheme `{scheme}`"),
            "publish the package as a wheel or source distribution behind https",
        )),
    }
}

/// The last segment of a URL or path, percent-decoded.
pub(super) fn filename_of(location: &Location) -> Option<String> {
    match location {
        Location::Url(url) => {
            let last = url.path_segments()?.next_back()?.to_owned();
            // A file URL of the same path decodes the escapes.
            let decoded = Url::parse(&format!("file:///{last}")).ok()?.to_file_path().ok()?;
            decoded.file_name()?.to_str().map(str::to_owned)
        }
        Location::Path(path) => path.file_name()?.to_str().map(str::to_owned),
    }
}

/// Without `.` and `..`, by text only: symbolic links are not followed.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}
