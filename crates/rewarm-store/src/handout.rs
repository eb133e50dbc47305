//! Handing files out to places outside the store: publishing, reflinks, hard links, copies.
//!
//! Readers of a target see the old file or the new one, never a part. What a killed writer left in
//! a directory is removed by the next one that writes there; each process looks once per directory.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::dirs::{open_dir, remove_dir};
use crate::fs::{Modes, TempFile, effective_user, is_temp_name, lock_if_free, remove_if_present};

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

/// How files are to be handed out to an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// Copy-on-write clones, else hard links, else copies.
    #[default]
    Auto,
    /// Hard links, else copies.
    Hardlink,
    /// Copies: nothing that is edited there can be seen elsewhere.
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
/// new one. A file of another user is not linked: that user could still change it. `mode` is subject
/// to the umask; it is given to reflinks and copies, and added to the bits of the inode that a hard
/// link shares.
pub fn link_or_copy(source: &Path, target: &Path, mode: u32) -> io::Result<LinkKind> {
    let dir = dir_of(target);
    collect_once(dir);
    let metadata = fs::metadata(source)?;
    let is_ours = metadata.uid() == effective_user();
    let is_mode_given = mode & 0o777 & !metadata.mode() == 0;
    if is_ours
        && is_mode_given
        && refuses_reflinks(metadata.dev())
        && hard_link(source, target).is_ok()
    {
        return Ok(LinkKind::Hardlink);
    }
    let modes = Modes::outside(mode);
    let mut input = File::open(source)?;
    let mut temp = TempFile::create(dir, modes)?;
    match reflink(&input, &temp.file) {
        Ok(()) => {
            temp.publish(target, modes)?;
            return Ok(LinkKind::Reflink);
        }
        Err(Errno::OPNOTSUPP) => note_refusal(metadata.dev()),
        Err(_) => {}
    }
    let effective = temp.file.metadata()?.mode();
    if is_ours && widen_mode(&input, effective).is_ok() && hard_link(source, target).is_ok() {
        return Ok(LinkKind::Hardlink);
    }
    io::copy(&mut input, &mut temp.file)?;
    temp.publish(target, modes)?;
    Ok(LinkKind::Copy)
}

#[cfg(target_os = "linux")]
pub(crate) fn reflink(source: &File, target: &File) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(target, source)
}

/// Elsewhere a clone is made under a new name, not into an open file; the hard link serves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reflink(_source: &File, _target: &File) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// File systems that were found to have no reflinks, by device number: asking each time would cost
/// more than the hard link.
static REFUSALS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn refuses_reflinks(device: u64) -> bool {
    REFUSALS.lock().unwrap_or_else(PoisonError::into_inner).contains(&device)
}

fn note_refusal(device: u64) {
    let mut refusals = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner);
    if !refusals.contains(&device) {
        refusals.push(device);
    }
}

/// Makes `target` another name of `source`, replacing what was there at once.
fn hard_link(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let (wanted, present) = (fs::metadata(source)?, fs::symlink_metadata(target)?);
    if (wanted.dev(), wanted.ino()) == (present.dev(), present.ino()) {
        return Ok(());
    }
    // The lock of the source's inode is not ours to take, so an empty file stands guard for the
    // temporary name.
    let guard = TempFile::create(dir_of(target), Modes::outside(0o600))?;
    let link = guarded_by(guard.path());
    fs::hard_link(source, &link)?;
    fs::rename(&link, target).inspect_err(|_| drop(fs::remove_file(&link)))
}

/// What is appended to the name of a temporary file to make the name that it guards.
const GUARDED: &str = ".link";

fn guarded_by(guard: &Path) -> PathBuf {
    let mut name = guard.as_os_str().to_owned();
    name.push(GUARDED);
    name.into()
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
pub(crate) fn collect_once(dir: &Path) {
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
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        if is_temp_name(name) {
            let _ = remove_if_dead(&path);
        } else if name.strip_suffix(GUARDED).is_some_and(is_temp_name) {
            // The guard is there before the link and after it.
            let guard = path.with_extension("");
            if !matches!(remove_if_dead(&guard), Ok(false)) && !guard.exists() {
                let _ = remove_if_present(&path);
            }
        }
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
