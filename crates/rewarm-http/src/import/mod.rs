//! Taking over what other tools' caches hold: read-only on their side, verified on ours.
//!
//! What a cache says about a response is trusted no further than it can be checked: a body must have
//! the announced length, and the digest that an index names if one does. A response of which the URL
//! is known, and which nobody needed credentials for, becomes a record as if it had been downloaded.
//! Any other file is kept under its digest, by which a lock file finds it. Bodies are cloned or
//! copied, never linked.

mod links;
mod msgpack;
pub mod pip;
pub mod uv;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use http::{HeaderMap, StatusCode};
use rewarm_store::{CommitError, Digest, Hasher, Kind, LinkKind, Store, Witness, digest_of_part};
use serde::{Deserialize, Serialize};

use crate::ledger;
use crate::policy::storing::Unstorable;
use crate::record::{self, StoredBody, Variant};
use crate::url::Url;

/// A file that came from another tool's cache, and whose URL is not known or not to be reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The tool.
    pub tool: String,
    /// The file's name, if it is known.
    pub name: Option<String>,
    /// The file.
    pub digest: Digest,
}

impl Kind for Imported {
    const NAME: &'static str = "import";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        vec![self.digest]
    }
}

/// What is known beside a cache: where its entries may have come from.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Roots of package indexes, below which a project has a page under its name.
    pub indexes: Vec<Url>,
    /// URLs that may be in the cache.
    pub urls: Vec<Url>,
    /// Any URL of an origin that serves everybody the same: what came from there is reused for
    /// requests without credentials. A cache that does not say whose request an answer was for
    /// cannot be believed for any other origin.
    pub public: Vec<Url>,
}

/// Something of another cache that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it lies.
    pub path: PathBuf,
    /// Its URL, if it is known.
    pub url: Option<Url>,
    pub(crate) tool: &'static str,
    pub(crate) body: PathBuf,
    pub(crate) part: Range<u64>,
    pub(crate) expected: Option<Digest>,
    pub(crate) response: Option<Box<Stored>>,
}

/// A response to be stored with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) variant: Variant,
    pub(crate) request: HeaderMap,
}

/// What is not taken, and why not.
#[derive(Debug)]
pub struct Skipped {
    /// Where it lies.
    pub path: PathBuf,
    /// Its URL, if it is known.
    pub url: Option<Url>,
    /// Why not.
    pub reason: Skip,
}

/// Why something is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Skip {
    /// The file system refused.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Damaged, or of another version of the tool.
    #[error("it is damaged, or in a format that is not known")]
    Format,
    /// Half of it is missing.
    #[error("its body is missing")]
    NoBody,
    /// The body was cut, or is another's.
    #[error("its body has {actual} bytes, {announced} were announced")]
    Length {
        /// In the head.
        announced: u64,
        /// In the file.
        actual: u64,
    },
    /// Nothing to check the body against.
    #[error("nothing says how long its body should be")]
    NoLength,
    /// The body is not what an index says.
    #[error("its body is not the file that its index page names")]
    Wrong,
    /// Head and body may be of two versions.
    #[error("its head was renewed after its body was written, and may be of another version")]
    Torn,
    /// RFC 9111 does not let it be stored.
    #[error("{0}")]
    Unstorable(#[from] Unstorable),
    /// A page or piece of data that nothing can ask for.
    #[error("its URL is not known")]
    Nameless,
    /// What it answers to others is not known.
    #[error("its origin is not known to answer everybody alike")]
    NotPublic,
    /// Our own cache refused.
    #[error(transparent)]
    Store(#[from] CommitError),
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its body.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// How the body got into the store; `None` if it was there already.
    pub how: Option<LinkKind>,
    /// Whether it will answer requests for its URL, and not only for its digest.
    pub is_response: bool,
}

/// The key under which an imported file is kept.
fn import_key(digest: &Digest) -> Digest {
    let mut hasher = Hasher::new("import, 1");
    hasher.field(digest.as_bytes());
    hasher.finish()
}

impl Candidate {
    /// The name of the file in its URL.
    pub fn file_name(&self) -> Option<&str> {
        self.url.as_ref().map(Url::file_name).filter(|name| !name.is_empty())
    }

    /// Bytes of the body.
    pub fn size(&self) -> u64 {
        self.part.end - self.part.start
    }

    /// Reads the body and checks it. Changes nothing.
    pub fn check(&self) -> Result<Taken, Skip> {
        let digest = self.digest(&File::open(&self.body)?)?;
        Ok(Taken { digest, size: self.size(), how: None, is_response: self.response.is_some() })
    }

    fn digest(&self, body: &File) -> Result<Digest, Skip> {
        let digest = digest_of_part(body, self.part.clone())?;
        match self.expected {
            Some(expected) if expected != digest => Err(Skip::Wrong),
            _ => Ok(digest),
        }
    }

    /// Takes the body into the store, and what is known about it. Doing so twice is harmless.
    pub fn take(&self, store: &Store) -> Result<Taken, Skip> {
        let file = File::open(&self.body)?;
        let digest = self.digest(&file)?;
        let (how, witness) = match present(store, &digest)? {
            Some(witness) => (None, witness),
            None => {
                // What changed since it was hashed is refused.
                let adopted = store.adopt(&file, self.part.clone(), Some(&digest))?;
                (Some(adopted.how), adopted.witness)
            }
        };
        let body = StoredBody { digest, size: self.size(), witness: Some(witness) };
        match (&self.response, &self.url) {
            (Some(stored), Some(url)) => {
                let variant = Variant { body, ..stored.variant.clone() };
                let key = record::key(url, &HeaderMap::new());
                ledger::insert_unless_newer(store, &key, url, variant, &stored.request);
            }
            _ => {
                let name = self.file_name().map(str::to_owned);
                let imported = Imported { tool: self.tool.to_owned(), name, digest };
                let path = store.root().to_owned();
                store
                    .write(&import_key(&digest), &imported)
                    .map_err(|error| CommitError::Io { path, source: error.source })?;
            }
        }
        Ok(Taken { digest, size: body.size, how, is_response: self.response.is_some() })
    }
}

/// The witness of a blob that is there and right; one that is damaged is dropped.
fn present(store: &Store, digest: &Digest) -> io::Result<Option<Witness>> {
    let Some(path) = store.blob_path(digest) else { return Ok(None) };
    let before = Witness::of(&path)?;
    Ok(if store.verify_blob(digest)? { before } else { None })
}

/// Whether a response of that status is a file and not an answer about one.
fn is_file(status: u16, kind: &str, size: u64) -> bool {
    status == StatusCode::OK.as_u16() && size > 0 && !links::is_page(kind)
}
