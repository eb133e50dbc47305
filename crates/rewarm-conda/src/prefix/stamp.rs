//! What a prefix was made from, so that "up to date" costs a few `stat` calls.
//!
//! The stamp lies in the prefix and names the directory it was written for, so a copy is recognised. It
//! holds evidence of the files that say what belongs there, of the records and the fingerprint, and of the
//! listing of each directory at the top of the prefix and of the package directory of its Python. So it
//! sees what pixi or conda changed, and a prefix of which the top is gone; a file deep in the prefix that
//! somebody removed is left to a [check](super::check). A stamp that is damaged or of another format is
//! as good as none. Format: `RWPFX`, a version byte, postcard, sha256 of all that.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Witness, publish_sealed, read_sealed};
use serde::{Deserialize, Serialize};

use super::marker::fingerprint_path;

/// The name of the file below the prefix.
pub const STAMP_FILE: &str = ".rewarm-stamp";
const MAGIC: &[u8; 6] = b"RWPFX\x01";

/// Why a prefix is not known to be up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outdated {
    /// There is no stamp, or none of this format.
    Unknown,
    /// It was copied or moved.
    Moved,
    /// Something else was asked for last time.
    Request,
    /// A file that says what belongs in it has changed, or something in it.
    Changed(PathBuf),
}

impl std::fmt::Display for Outdated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("it was not installed by this version of rewarm"),
            Self::Moved => f.write_str("it was copied or moved"),
            Self::Request => f.write_str("something else is asked for"),
            Self::Changed(path) => write!(f, "`{}` changed", path.display()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    prefix: PathBuf,
    request: Digest,
    seen: Vec<(PathBuf, Seen)>,
}

/// What was seen at one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    witness: Option<Witness>,
    settled: bool,
    digest: Option<Digest>,
}

impl Seen {
    fn take(path: &Path, now: SystemTime) -> io::Result<Self> {
        let Some(witness) = Witness::of(path)? else {
            return Ok(Self { witness: None, settled: true, digest: None });
        };
        let settled = witness.is_settled(now);
        Ok(Self { witness: Some(witness), settled, digest: Some(digest_of(path)?) })
    }

    fn is_same_by_stat(&self, path: &Path) -> bool {
        Witness::of(path).is_ok_and(|there| self.settled && there == self.witness)
    }
}

/// Of a file, its content; of a directory, the names in it, and of records what stat says of them.
fn digest_of(path: &Path) -> io::Result<Digest> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(Digest::of(fs::read(path)?));
    }
    let is_records = path.ends_with("conda-meta");
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        // Python makes it at the first import.
        if name == "__pycache__" {
            continue;
        }
        let mut line = name.as_bytes().to_vec();
        if is_records && line.ends_with(b".json") {
            let Witness { size, mtime, inode, .. } = Witness::of_metadata(&entry.metadata()?);
            line.extend(format!("/{size}/{mtime}/{inode}").into_bytes());
        }
        names.push(line);
    }
    names.sort_unstable();
    let mut hasher = Hasher::new("prefix listing, 1");
    hasher.list(names);
    Ok(hasher.finish())
}

/// Whether a prefix is as it was when it was [noted](note) for the same request. What was only
/// touched is noted anew.
pub fn is_current(prefix: &Path, request: &Digest, now: SystemTime) -> Result<(), Outdated> {
    let mut stamp = read(prefix).ok_or(Outdated::Unknown)?;
    if stamp.prefix != prefix {
        return Err(Outdated::Moved);
    }
    if stamp.request != *request {
        return Err(Outdated::Request);
    }
    let mut is_refreshed = false;
    for (path, seen) in &mut stamp.seen {
        if seen.is_same_by_stat(path) {
            continue;
        }
        match Seen::take(path, now) {
            Ok(fresh) if fresh.digest == seen.digest => {
                is_refreshed |= fresh != *seen;
                *seen = fresh;
            }
            _ => return Err(Outdated::Changed(path.clone())),
        }
    }
    if is_refreshed {
        // A prefix that cannot be written is compared by content again next time.
        let _ = write(prefix, &stamp);
    }
    Ok(())
}

/// Notes that a prefix is what `request` asks for. `inputs` are the files that say so, each with the
/// digest of what was read; if one has changed since, the prefix will not count as up to date.
pub fn note(
    prefix: &Path,
    request: &Digest,
    inputs: &[(PathBuf, Digest)],
    now: SystemTime,
) -> io::Result<()> {
    let mut seen = Vec::new();
    for (path, read) in inputs {
        let there = Seen::take(path, now)?;
        let settled = there.settled && there.digest == Some(*read);
        seen.push((path.clone(), Seen { settled, digest: Some(*read), ..there }));
    }
    let mut outputs = vec![prefix.join("conda-meta"), fingerprint_path(prefix)];
    for entry in fs::read_dir(prefix)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && !outputs.contains(&path) {
            outputs.push(path);
        }
    }
    outputs.extend(package_directories(prefix)?);
    outputs.sort();
    for path in outputs {
        let there = Seen::take(&path, now)?;
        seen.push((path, there));
    }
    write(prefix, &Stamp { prefix: prefix.to_owned(), request: *request, seen })
}

/// `lib/pythonX.Y/site-packages`, of which there is at most one in most prefixes.
fn package_directories(prefix: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(prefix.join("lib")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path().join("site-packages");
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn read(prefix: &Path) -> Option<Stamp> {
    read_sealed(&prefix.join(STAMP_FILE), MAGIC)
}

fn write(prefix: &Path, stamp: &Stamp) -> io::Result<()> {
    publish_sealed(&prefix.join(STAMP_FILE), MAGIC, stamp)
}
