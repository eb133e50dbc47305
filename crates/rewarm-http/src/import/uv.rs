//! uv's cache, as far as it can be of use to others.
//!
//! uv keeps no wheel as it came: it unpacks them, into `archive-v0`, and notes in `wheels-v*` which
//! wheel, of which digest, each directory came from. Index pages are kept as uv's own data, source
//! distributions as unpacked trees in which builds have worked. So there is no body here that could be
//! held against a digest, and no response that could be replayed. What is found are the unpacked
//! wheels; whether to believe uv's note about their digest is for the caller to decide.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rewarm_store::Digest;

use super::msgpack::{self, Value};
use super::{Skip, Skipped};

/// A wheel that uv has unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The note about it.
    pub note: PathBuf,
    /// Its files.
    pub dir: PathBuf,
    /// The wheel's file name.
    pub filename: String,
    /// The wheel's digest, by uv's word; `None` if uv did not need to know.
    pub sha256: Option<Digest>,
}

/// What is in a cache.
#[derive(Debug, Default)]
pub struct Scan {
    /// Unpacked wheels that came from somewhere by HTTP.
    pub unpacked: Vec<Unpacked>,
    /// Notes that cannot be read, or whose directory is gone.
    pub skipped: Vec<Skipped>,
    /// Index pages, which are not kept as they came.
    pub pages: usize,
    /// Source distributions, which are not kept as they came.
    pub sources: usize,
}

/// Whether a directory is a cache of uv's.
pub fn is_cache(dir: &Path) -> bool {
    dir.join("CACHEDIR.TAG").is_file() && dir.join("archive-v0").is_dir()
        || areas(dir, "wheels-v").is_ok_and(|areas| !areas.is_empty())
}

/// Reads uv's notes in its cache directory.
pub fn scan(dir: &Path) -> io::Result<Scan> {
    let mut found = Scan::default();
    let mut notes = Vec::new();
    for area in areas(dir, "wheels-v")? {
        walk(&area, 0, &mut |path| {
            if path.extension().is_some_and(|end| end == "http") {
                notes.push(path.to_owned());
            }
        })?;
    }
    for path in notes {
        match read(dir, &path) {
            Ok(unpacked) => found.unpacked.push(unpacked),
            Err(reason) => found.skipped.push(Skipped { path, url: None, reason }),
        }
    }
    for area in areas(dir, "simple-v")? {
        walk(&area, 0, &mut |path| {
            found.pages += usize::from(path.extension().is_some_and(|end| end == "rkyv"));
        })?;
    }
    for area in areas(dir, "sdists-v")? {
        walk(&area, 0, &mut |path| {
            found.sources += usize::from(path.ends_with("revision.http"));
        })?;
    }
    found.unpacked.sort_by(|a, b| (&a.filename, &a.note).cmp(&(&b.filename, &b.note)));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The directories of one bucket, in all its versions.
fn areas(dir: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_area = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        if is_area && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// uv's notes lie at most so deep; what is deeper are sources.
const MAX_DEPTH: usize = 5;

fn walk(dir: &Path, depth: usize, each: &mut impl FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        match entry? {
            kind if kind.is_dir() && depth < MAX_DEPTH => walk(&path, depth + 1, each)?,
            kind if kind.is_file() => each(&path),
            _ => {}
        }
    }
    Ok(())
}

/// A note begins with a list: the name of the directory, digests, the file's name, and more.
fn read(root: &Path, note: &Path) -> Result<Unpacked, Skip> {
    let value = msgpack::read_first(&mut File::open(note)?)?.ok_or(Skip::Format)?;
    let Value::Array(items) = value else { return Err(Skip::Format) };
    let [id, digests, filename, ..] = items.as_slice() else { return Err(Skip::Format) };
    let (id, filename) = (id.text().ok_or(Skip::Format)?, filename.text().ok_or(Skip::Format)?);
    let is_id = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if id.is_empty() || !is_id || !filename.ends_with(".whl") || filename.contains('/') {
        return Err(Skip::Format);
    }
    let Value::Array(digests) = digests else { return Err(Skip::Format) };
    let sha256 = digests.iter().find_map(|digest| digest.get("Sha256")?.text()?.parse().ok());
    let dir = root.join("archive-v0").join(id);
    if !dir.is_dir() {
        return Err(Skip::NoBody);
    }
    Ok(Unpacked { note: note.to_owned(), dir, filename: filename.to_owned(), sha256 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cache(note: &[u8]) -> (tempfile::TempDir, Scan) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().join("wheels-v8/pypi/six");
        fs::create_dir_all(&place).expect("directories can be made");
        fs::create_dir_all(dir.path().join("archive-v0/ab-C")).expect("directories can be made");
        fs::write(place.join("six.http"), note).expect("writable");
        let found = scan(dir.path()).expect("a readable cache");
        (dir, found)
    }

    #[test]
    fn note_names_the_directory_the_digest_and_the_wheel() {
        let digest = Digest::of("wheel");
        let note = format!("\u{1}{digest}");
        let mut bytes = b"\x95\xa4ab-C\x91\x81\xa6Sha256\xd9\x40".to_vec();
        bytes.extend(&note.as_bytes()[1..]);
        bytes.extend(b"\xa5x.whl\x00\x01and then a policy");
        let (_dir, found) = cache(&bytes);
        assert_eq!((found.unpacked.len(), found.skipped.len()), (1, 0), "{found:?}");
        assert_eq!(found.unpacked[0].sha256, Some(digest));
        assert_eq!(found.unpacked[0].filename, "x.whl");
        assert!(found.unpacked[0].dir.ends_with("archive-v0/ab-C"));
        let (_dir, found) = cache(b"\x93\xa4ab-C\x90\xa5x.whl");
        assert_eq!(found.unpacked[0].sha256, None);
    }

    #[test]
    fn note_that_leads_elsewhere_or_nowhere_is_passed_over() {
        for bad in [
            &b"\x93\xa5../ab\x90\xa5x.whl"[..],
            b"\x93\xa0\x90\xa5x.whl",
            b"\x93\xa2xy\x90\xa5x.whl",
            b"\x93\xa4ab-C\x90\xa7../.whl",
            b"\x93\xa4ab-C\xc0\xa5x.whl",
            b"\x92\xa4ab-C\x90",
            b"\x01",
            b"",
        ] {
            let (_dir, found) = cache(bad);
            assert_eq!((found.unpacked.len(), found.skipped.len()), (0, 1), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_note_is_read_or_refused(note in prop::collection::vec(any::<u8>(), 0..100)) {
            let (_dir, found) = cache(&note);
            prop_assert_eq!(found.unpacked.len() + found.skipped.len(), 1);
        }
    }
}
