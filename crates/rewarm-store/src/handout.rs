//! Handing files out to places outside the store: publishing, reflinks, hard links, copies.
//!
//! Readers of a target see the old file or the new one, never a part. What a killed writer left in
//! a directory is removed by the next one that writes there; each process looks once per directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::dirs::{TempDir, open_dir, remove_dir};
use crate::fs::{Modes, TempFile, is_temp_name, lock_if_free, remove_if_present};

/// How a file was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A copy-on-write clone: no bytes written, independent of the store.
    Reflink,
    /// Another name of the same file: no bytes written.
    Hardlink,
    /// A copy, across file systems or where links are not to be had.
    Copy,
}

/// Writes a file outside the store so that readers see the old content or the new, never a part.
///
/// The temporary name stands in the target's directory; `mode` is subject to the umask.
pub fn publish_file(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = dir_of(target);
    collect_once(dir);
    let modes = Modes::outside(mode);
    let mut temp = TempFile::create(dir, modes)?;
    temp.file.write_all(bytes)?;
    temp.publish(target, modes)
}

/// Writes the content of an open file to `target`, so that readers see the old content or the new.
///
/// The file is read from its start. `mode` is subject to the umask.
pub fn publish_copy(mut source: &File, target: &Path, mode: u32) -> io::Result<()> {
    let dir = dir_of(target);
    collect_once(dir);
    let modes = Modes::outside(mode);
    let mut temp = TempFile::create(dir, modes)?;
    source.rewind()?;
    io::copy(&mut source, &mut temp.file)?;
    temp.publish(target, modes)
}

/// Puts the content of `source` at `target` in the cheapest way, replacing what was there.
///
/// Tries a reflink, then a hard link, then a copy; readers of `target` see the old file or the
/// new one. `mode` is subject to the umask; it is given to reflinks and copies, and added to the
/// bits of the inode that a hard link shares.
pub fn link_or_copy(source: &Path, target: &Path, mode: u32) -> io::Result<LinkKind> {
    let dir = dir_of(target);
    collect_once(dir);
    let modes = Modes::outside(mode);
    let mut input = File::open(source)?;
    let mut temp = TempFile::create(dir, modes)?;
    if rustix::fs::ioctl_ficlone(&temp.file, &input).is_ok() {
        temp.publish(target, modes)?;
        return Ok(LinkKind::Reflink);
    }
    let effective = temp.file.metadata()?.mode();
    if widen_mode(&input, effective).is_ok() && hard_link(source, target).is_ok() {
        return Ok(LinkKind::Hardlink);
    }
    io::copy(&mut input, &mut temp.file)?;
    temp.publish(target, modes)?;
    Ok(LinkKind::Copy)
}

/// Makes `target` another name of `source`, replacing what was there at once.
fn hard_link(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    // The lock of the source's inode is not ours to take, so the temporary name stands in a
    // directory that can be locked. Renaming one name of a file onto another of the same file
    // leaves both; the directory goes with what is left in it.
    let temp = TempDir::create(dir_of(target), Modes::outside(0o600))?;
    let link = temp.path().join("link");
    fs::hard_link(source, &link)?;
    fs::rename(&link, target)
}

fn dir_of(target: &Path) -> &Path {
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// Adds the permission bits of a file outside the store to an inode it is to share.
fn widen_mode(file: &File, mode: u32) -> io::Result<()> {
    let present = file.metadata()?.mode() & 0o777;
    let wanted = present | (mode & 0o777);
    if wanted == present {
        return Ok(());
    }
    file.set_permissions(PermissionsExt::from_mode(wanted))
}

/// So many directories are remembered as looked at; then it starts over.
const REMEMBERED: usize = 1 << 16;

/// Removes what dead writers left in `dir`, the first time this process writes there. Never fails
/// the write.
fn collect_once(dir: &Path) {
    static SEEN: OnceLock<Mutex<HashSet<u64>>> = OnceLock::new();
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    let seen = SEEN.get_or_init(Mutex::default);
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        if !seen.insert(hasher.finish()) {
            return;
        }
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| is_temp_name(&entry.file_name())) {
        let _ = remove_if_dead(&entry.path());
    }
}

/// Removes a temporary file or directory whose writer no longer lives. Says whether it did.
pub(crate) fn remove_if_dead(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        let dir = open_dir(rustix::fs::CWD, path)?;
        return if lock_if_free(&dir)? { remove_dir(path).map(|()| true) } else { Ok(false) };
    }
    if !metadata.is_file() {
        return Ok(false);
    }
    let file = File::open(path)?;
    if lock_if_free(&file)? { remove_if_present(path).map(|()| true) } else { Ok(false) }
}
