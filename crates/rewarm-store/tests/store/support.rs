//! What the tests share: a fresh store, two kinds of record, a look at what is left over.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rewarm_store::{Digest, Kind, Store};
use serde::{Deserialize, Serialize};

/// A kind of record that refers to blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) blobs: Vec<Digest>,
}

impl Kind for Note {
    const NAME: &'static str = "note";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        self.blobs.clone()
    }
}

/// The same kind in its next format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NextNote {
    pub(crate) words: Vec<String>,
    pub(crate) blobs: Vec<Digest>,
}

impl Kind for NextNote {
    const NAME: &'static str = "note";
    const VERSION: u16 = 2;

    fn references(&self) -> Vec<Digest> {
        self.blobs.clone()
    }
}

pub(crate) fn note(text: &str, blobs: &[Digest]) -> Note {
    Note { text: text.to_owned(), blobs: blobs.to_vec() }
}

/// An empty store in a directory of its own.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("cache")).expect("an empty directory is a store");
    (dir, store)
}

pub(crate) fn put(store: &Store, bytes: &[u8]) -> Digest {
    let mut writer = store.blob_writer().expect("a blob can be started");
    writer.write_all(bytes).expect("a small blob");
    writer.commit(Some(&Digest::of(bytes))).expect("a small blob").digest
}

/// Every file and directory below `dir` but `dir` itself, sorted.
pub(crate) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        }
    }
    found.sort();
    found
}

/// What unfinished writers left in the store.
pub(crate) fn leftovers(store: &Store) -> Vec<PathBuf> {
    walk(&store.root().join("tmp"))
}
