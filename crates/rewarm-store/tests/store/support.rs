//! What the tests share: a fresh store, two kinds of record, a look at what is left over, and a
//! way to run a part of a test in a process of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

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

const PART: &str = "REWARM_TEST_PART";
const ROOT: &str = "REWARM_TEST_ROOT";

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "how a worker learns its part")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::disallowed_methods, reason = "tests look at the clock as the binary does")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// What this process was told to do, if it is a worker, and in which directory.
pub(crate) fn assignment() -> Option<(String, PathBuf)> {
    Some((variable(PART)?, variable(ROOT)?.into()))
}

/// This binary, started for the one ignored test `worker` with a part in its environment. `around`
/// is a command that runs the command after it.
pub(crate) fn worker(around: &[&str], worker: &str, part: &str, root: &Path) -> Command {
    let binary = std::env::current_exe().expect("the test binary");
    let mut words = around.iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().expect("at least the binary"));
    command.args(words).args(["--exact", worker, "--ignored", "--nocapture", "--quiet"]);
    command.env(PART, part).env(ROOT, root);
    command
}
