//! What mypy would check, and in which directories it would look for modules, as it says itself.
//!
//! Configuration, excludes and the crawl for sources are mypy's; asking costs a start of Python. So
//! the answer is kept under everything that it is made of: the global facets of a check,
//! among them the arguments, and the names of all sources and directories (but not what is in them). An answer that
//! depends on more, on files outside the project or on a plugin in it, is not kept.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rewarm_store::{Digest, Hasher, Kind, Store};
use serde::{Deserialize, Serialize};

use crate::key::{Snapshot, Subject};
use crate::places::{PROJECT, Place, absolute};
use crate::request::{CheckError, Event};
use crate::run::{self, Scratch};

/// mypy's view of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Targets {
    pub(super) sources: Vec<Target>,
    /// Where modules are looked for.
    pub(super) search: Vec<Place>,
    /// Files that plugins were made of.
    pub(super) plugins: Vec<Place>,
    /// Why imports do not tell everything.
    pub(super) reasons: Vec<String>,
}

/// One source that would be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) place: Place,
    /// The name of its module.
    pub(super) module: String,
    /// The directory that the name begins in.
    pub(super) base: Option<Place>,
}

impl Kind for Targets {
    const NAME: &'static str = "mypy-targets";
    const VERSION: u16 = 1;
}

impl Targets {
    /// Asks mypy, or the store. `None` if mypy has something against the arguments.
    pub(super) fn of(
        store: &Store,
        subject: &Subject<'_>,
        snapshot: &Snapshot,
        events: &dyn Fn(Event),
    ) -> Result<Option<Self>, CheckError> {
        let key = key(snapshot);
        if let Some(known) = store.read(&key) {
            return Ok(Some(known));
        }
        let (scratch, _) = Scratch::new(store, subject.request)?;
        let file = scratch.path().join("targets");
        if !run::targets(subject.request, &file, events)? {
            return Ok(None);
        }
        let found = std::fs::read(&file).ok().and_then(|bytes| parse(&bytes, subject));
        if let Some(found) = found.as_ref().filter(|found| found.may_be_kept(snapshot)) {
            // Without the record the next check asks again, that is all.
            let _ = store.write(&key, found);
        }
        Ok(found)
    }

    /// Whether the key covers what the answer is made of.
    fn may_be_kept(&self, snapshot: &Snapshot) -> bool {
        let is_listed = |place: &Place| {
            let listed = place.below_project();
            listed.is_some_and(|relative| snapshot.listing.files.contains_key(relative))
        };
        self.reasons.is_empty()
            && self.sources.iter().all(|source| is_listed(&source.place))
            && !self.plugins.iter().any(is_listed)
    }
}

fn key(snapshot: &Snapshot) -> Digest {
    let mut hasher = Hasher::new("mypy targets 1");
    hasher.field(snapshot.everything_but_sources().as_bytes());
    hasher.list(snapshot.listing.directories.iter());
    hasher.list(snapshot.sources.iter().map(|(path, _)| path));
    // What is listed beside sources says which of them are left out.
    let is_source = |path: &[u8]| path.ends_with(b".py") || path.ends_with(b".pyi");
    for (path, digest) in snapshot.sources.iter().filter(|(path, _)| !is_source(path)) {
        hasher.field(path).field(digest.as_bytes());
    }
    hasher.finish()
}

/// Reads what the driver wrote; `None` if it is not whole.
fn parse(bytes: &[u8], subject: &Subject<'_>) -> Option<Targets> {
    let fields: Vec<&[u8]> = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0).collect();
    let (last, records) = fields.as_chunks::<2>().0.split_last()?;
    if last[0] != b"end" {
        return None;
    }
    let place = |value: &[u8]| {
        subject.places.name(&absolute(&subject.cwd, Path::new(OsStr::from_bytes(value))))
    };
    let mut found = Targets::default();
    for [tag, value] in records {
        let text = || String::from_utf8_lossy(value).into_owned();
        match *tag {
            b"s" => {
                let place = place(value);
                found.sources.push(Target { place, module: String::new(), base: None });
            }
            b"m" => found.sources.last_mut()?.module = text(),
            b"b" if !value.is_empty() => found.sources.last_mut()?.base = Some(place(value)),
            b"d" => found.search.push(place(value)),
            b"g" => found.plugins.push(place(value)),
            b"x" => found.reasons.push(text()),
            _ => {}
        }
    }
    for list in [&mut found.search, &mut found.plugins] {
        list.sort_unstable();
        list.dedup();
    }
    Some(found)
}

/// The path of a source as an argument of a checker that runs in `cwd`: relative to that, as mypy
/// itself names what it finds.
pub(super) fn argument(path: &Path, cwd: &Path) -> PathBuf {
    let common = cwd.ancestors().find(|above| path.starts_with(above)).unwrap_or(Path::new("/"));
    let up = cwd.strip_prefix(common).map_or(0, |below| below.components().count());
    let mut relative: PathBuf = std::iter::repeat_n("..", up).collect();
    relative.push(path.strip_prefix(common).unwrap_or(path));
    relative
}

impl Place {
    /// The path below the project, if that is where it points to.
    pub(super) fn below_project(&self) -> Option<&[u8]> {
        self.as_bytes().strip_prefix(PROJECT.as_bytes())?.strip_prefix(b":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_relative_to_the_working_directory() {
        let argument = |path: &str, cwd: &str| argument(Path::new(path), Path::new(cwd));
        assert_eq!(argument("/w/a/b.py", "/w"), Path::new("a/b.py"));
        assert_eq!(argument("/w/a/b.py", "/w/c/d"), Path::new("../../a/b.py"));
        assert_eq!(argument("/w/a.py", "/"), Path::new("w/a.py"));
    }
}
