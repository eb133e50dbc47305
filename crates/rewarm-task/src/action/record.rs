//! The records of actions, and the only place that knows their formats.
//!
//! `task` holds what a command made and wrote, under its key; the bytes are blobs. `task-run` holds,
//! for one task of one workspace, what the parts of its last key were, so that a miss can be
//! explained, and the digests of files with their witnesses, so that files that did not change are not
//! read again.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rewarm_store::{Digest, Format, Hasher, Kind, RecordInfo, Store, Witness};
use serde::{Deserialize, Serialize};

use crate::action::key::Part;
use crate::node::Node;

/// What a command made and wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    /// The task, for people.
    pub(crate) task: String,
    pub(crate) outputs: Vec<Output>,
    /// What it wrote to its streams, as `log` lays it out.
    pub(crate) log: Digest,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// Relative to the workspace.
    pub(crate) path: OsString,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    File {
        digest: Digest,
        mode: u32,
    },
    Link {
        target: OsString,
    },
    /// An empty directory.
    Dir {
        mode: u32,
    },
}

impl Kind for TaskRecord {
    const NAME: &'static str = "task";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        let files = self.outputs.iter().filter_map(|output| match &output.content {
            Content::File { digest, .. } => Some(*digest),
            Content::Link { .. } | Content::Dir { .. } => None,
        });
        files.chain([self.log]).collect()
    }
}

/// What is remembered of the last run of a task in a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    /// The task and the workspace, for people.
    pub(crate) about: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) files: Vec<Known>,
}

/// A file whose content was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) path: OsString,
    /// Settled when it was taken, before the content was read.
    pub(crate) witness: Witness,
    pub(crate) digest: Digest,
}

impl Kind for LastRun {
    const NAME: &'static str = "task-run";
    const VERSION: u16 = 1;
}

impl LastRun {
    /// Under which key the record is.
    pub(crate) fn key(root: &Path, node: &Node) -> Digest {
        let mut hasher = Hasher::new("task-run");
        hasher.field(root.as_os_str().as_bytes()).field(&node.task).field(&node.environment);
        let named = node.arguments.named.iter().flatten();
        hasher.list(named.flat_map(|(name, value)| [name, value]));
        hasher.list(node.arguments.extra.iter().map(|word| word.as_bytes()));
        hasher.finish()
    }
}

/// Every format of record that this crate reads and writes.
pub fn formats() -> [Format; 2] {
    [Format::of::<TaskRecord>(), Format::of::<LastRun>()]
}

/// What a record is about: a task. `None` if it is not of this crate or cannot be read.
pub fn describe(store: &Store, record: &RecordInfo) -> Option<String> {
    if Format::of::<TaskRecord>().name == record.kind {
        return store.read::<TaskRecord>(&record.key).map(|record| format!("task {}", record.task));
    }
    if Format::of::<LastRun>().name == record.kind {
        return store.read::<LastRun>(&record.key).map(|record| record.about);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_what_their_version_numbers_stand_for() {
        let digest = Digest::of("x");
        let outputs = [
            Content::File { digest, mode: 0o755 },
            Content::Link { target: "t".into() },
            Content::Dir { mode: 0o700 },
        ];
        let outputs = outputs.map(|content| Output { path: "p".into(), content });
        let task = TaskRecord { task: "t".into(), outputs: outputs.into(), log: digest };
        let witness = Witness { size: 1, mtime: 2, ctime: 3, inode: 4 };
        let last = LastRun {
            about: "a".into(),
            parts: vec![Part { label: "l".into(), digest }],
            files: vec![Known { path: "p".into(), witness, digest }],
        };
        let of = |bytes: Vec<u8>| (bytes.len(), Digest::of(&bytes).to_string());
        let task = of(postcard::to_allocvec(&task).expect("everything serialises"));
        let last = of(postcard::to_allocvec(&last).expect("everything serialises"));
        // If this fails, readers of the version cannot read what is written now: raise `VERSION`
        // and describe the new format in `docs/store-format.md`.
        assert_eq!(
            (TaskRecord::VERSION, task),
            (
                1,
                (86, "1962f71f3a04a88235ce195333fb75289500e2fb028674e7279177f77010b6ef".to_owned())
            )
        );
        assert_eq!(
            (LastRun::VERSION, last),
            (
                1,
                (77, "bc1e64b6ab79a2aa3309c994ad785be5d240665c97c7f0dd222fb77d90d64bd6".to_owned())
            )
        );
    }
}
