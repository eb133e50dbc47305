//! Where everything lives below the root of a store, and in which format version.
//!
//! No other module spells a path of the store. The layout is described for readers in
//! `docs/store-format.md`; the two change together.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::fs::is_temp_name;

/// Content-addressed files.
pub(crate) const BLOBS: &str = "blobs-v1";
/// Directories unpacked from one blob, named by the blob's digest.
pub(crate) const TREES: &str = "trees-v1";
/// Directories that are replaced as a whole, by kind.
pub(crate) const SLOTS: &str = "slots-v1";
/// Files and directories that a living writer has not published yet.
pub(crate) const TMP: &str = "tmp";
/// Downloads under way or broken off: `<key>.data` with `<key>.head` or `<key>.kept`.
pub(crate) const PARTIAL: &str = "partial-v1";
/// Files that exist only to be locked.
pub(crate) const LOCKS: &str = "locks";
/// Files that name what living processes use.
pub(crate) const LEASES: &str = "leases";
/// The lock that guards a partial download goes by this purpose and the download's key.
pub(crate) const PARTIAL_LOCK: &str = "flight";
/// A file whose modification time says when the store was last swept in passing.
pub(crate) const SWEPT: &str = "swept";

/// Held shared while a lease is taken, exclusively while a sweeper removes a few entries.
pub(crate) fn gate(root: &Path) -> PathBuf {
    root.join(LOCKS).join("gate")
}

/// Held exclusively by a sweeper from start to end, shared while a lease is given up.
pub(crate) fn sweep_lock(root: &Path) -> PathBuf {
    root.join(LOCKS).join("sweep")
}

/// Marks the directory as a cache for backup programs (<https://bford.info/cachedir/>).
pub(crate) const CACHEDIR_TAG: &str = "CACHEDIR.TAG";
/// The content of [`CACHEDIR_TAG`].
pub(crate) const CACHEDIR_TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds caches of rewarm. Everything in it can be made again.\n";

/// `<root>/slots-v1/<kind>/ab/abcdef…`
pub(crate) fn slot(root: &Path, kind: &str, key: &Digest) -> PathBuf {
    sharded(&root.join(SLOTS), kind, key)
}

/// `<root>/<area>/ab/abcdef…`: two hex digits of fan-out keep directories small.
pub(crate) fn sharded(root: &Path, area: &str, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    let mut path = PathBuf::with_capacity(root.as_os_str().len() + area.len() + 70);
    path.push(root);
    path.push(area);
    path.push(&name[..2]);
    path.push(name);
    path
}

/// The directory of one kind of record in one format version, for example `http-v1`.
pub(crate) fn kind_dir(name: &str, version: u16) -> String {
    format!("{name}-v{version}")
}

/// Whether a name in [`TMP`] can be that of a writer's file or directory.
pub(crate) fn is_temporary(name: &str) -> bool {
    let source = name.strip_prefix("tree-");
    is_temp_name(name) || source.is_some_and(|source| source.parse::<Digest>().is_ok())
}

/// Whether a name in [`LOCKS`] can be that of a lock with a key.
pub(crate) fn is_lock(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, key)| key.parse::<Digest>().is_ok())
}

/// Whether a name in [`PARTIAL`] can be that of a part of a download.
pub(crate) fn is_partial(name: &str) -> bool {
    name.split_once('.').is_some_and(|(key, _)| key.parse::<Digest>().is_ok())
}

/// The parts of a name like `http-v1`; `None` if it is none.
pub(crate) fn parse_area(name: &str) -> Option<(&str, u16)> {
    let (kind, version) = name.rsplit_once("-v")?;
    let is_plain = !kind.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    Some((kind, version.parse().ok().filter(|_| is_plain)?))
}
