//! What the lock files of a project say of the files that a command will ask for.
//!
//! They only help: one that cannot be read says nothing here, and the command itself will tell.

use std::path::Path;

use rewarm_env::{Lock, LockFormat, Project};
use rewarm_http::Url;
use rewarm_proxy::packages::KnownFiles;

/// The files that are pinned, with URL and digest, by the lock files of the project around a
/// directory.
pub(super) fn pinned(start: &Path) -> KnownFiles {
    let known = KnownFiles::default();
    let Some(project) = Project::find(start) else { return known };
    let names_files = |format| matches!(format, LockFormat::Pylock | LockFormat::Uv);
    let locks = project.lock.iter().chain(&project.other_locks);
    for lock in locks.filter(|lock| names_files(lock.format)).filter_map(|it| Lock::read(it).ok()) {
        for (url, digest) in lock.pinned_files() {
            if let Ok(url) = Url::parse(url.as_str()) {
                known.note(&url, digest);
            }
        }
    }
    known
}
