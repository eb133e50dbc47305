//! Outputs on their way between the workspace and the store.
//!
//! Both directions copy. A file appears under its name whole or not at all, and only below the
//! workspace: a link in its path that leads elsewhere is refused.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use rewarm_store::{Digest, Store, publish_copy};

use crate::action::{
    ActionError, Content, Entry, Output, Place, Table, TaskRecord, log, read_blob, write_blob,
};

/// What a path may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Regular,
    Link,
    Other,
}

pub(super) fn kind(metadata: &Metadata) -> FileKind {
    match metadata.file_type() {
        kind if kind.is_file() => FileKind::Regular,
        kind if kind.is_symlink() => FileKind::Link,
        _ => FileKind::Other,
    }
}

pub(super) fn is_executable(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o100 != 0
}

pub(super) fn hash(path: &Path) -> io::Result<Digest> {
    Digest::of_reader(File::open(path)?)
}

/// Copies an output into the store; `None` if it is nothing that can be kept.
pub(super) fn keep(
    place: &Place,
    path: &Path,
    metadata: &Metadata,
) -> Result<Option<Output>, ActionError> {
    let full = place.root.join(path);
    let error = |source| ActionError::Keep { path: full.clone(), source };
    let mode = metadata.mode() & 0o777;
    let content = match kind(metadata) {
        FileKind::Regular => {
            let digest = File::open(&full).and_then(|file| write_blob(&place.store, file));
            Content::File { digest: digest.map_err(error)?, mode }
        }
        FileKind::Link => {
            let target = fs::read_link(&full).map_err(error)?.into_os_string();
            Content::Link { target }
        }
        FileKind::Other if metadata.is_dir() => Content::Dir { mode },
        FileKind::Other => return Ok(None),
    };
    Ok(Some(Output { path: path.into(), content }))
}

pub(super) fn keep_bytes(store: &Store, bytes: &[u8]) -> Result<Digest, ActionError> {
    let error = |source| ActionError::Keep { path: store.root().to_owned(), source };
    write_blob(store, bytes).map_err(error)
}

/// What a record stands for, if all of it is there and sound. Outputs that are in the workspace as
/// they should be are not looked for in the store.
pub(super) fn load(
    place: &Place,
    record: TaskRecord,
    table: &mut Table,
    now: SystemTime,
) -> Option<Entry> {
    for output in &record.outputs {
        let Content::File { digest, .. } = &output.content else { continue };
        let is_there = is_regular(&place.root.join(&output.path))
            && table.digest(&place.root, &output.path, now).is_ok_and(|own| own == *digest);
        if !is_there && !place.store.verify_blob(digest).unwrap_or(false) {
            return None;
        }
    }
    let log = log::decode(&read_blob(&place.store, &record.log)?)?;
    Some(Entry { log, record })
}

fn is_regular(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Puts an output back unless it is there. Says whether something had to be done.
pub(super) fn restore(
    place: &Place,
    output: &Output,
    now: SystemTime,
) -> Result<bool, ActionError> {
    let target = place.root.join(&output.path);
    let error = |source| ActionError::Restore { path: target.clone(), source };
    check_inside(&place.root, &target)?;
    match &output.content {
        Content::File { digest, mode } => {
            let is_there = is_regular(&target)
                && Table::default().digest(&place.root, &output.path, now).ok() == Some(*digest);
            if is_there {
                return set_mode(&target, *mode).map_err(error);
            }
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no blob {digest}"));
            let blob = place.store.blob_path(digest).ok_or_else(missing).map_err(error)?;
            let copy = || {
                make_dir_of(&target)?;
                publish_copy(&File::open(blob)?, &target, *mode)?;
                set_mode(&target, *mode)
            };
            copy().map_err(error)?;
            Ok(true)
        }
        Content::Link { target: wanted } => restore_link(&target, wanted).map_err(error),
        Content::Dir { mode } => {
            let is_there = fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir());
            fs::create_dir_all(&target).map_err(error)?;
            Ok(set_mode(&target, *mode).map_err(error)? || !is_there)
        }
    }
}

fn restore_link(target: &Path, wanted: &OsStr) -> io::Result<bool> {
    if fs::read_link(target).is_ok_and(|present| present.as_os_str() == wanted) {
        return Ok(false);
    }
    make_dir_of(target)?;
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(wanted, target)?;
    Ok(true)
}

fn make_dir_of(target: &Path) -> io::Result<()> {
    target.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Says whether the bits were others.
fn set_mode(path: &Path, mode: u32) -> io::Result<bool> {
    if fs::symlink_metadata(path)?.mode() & 0o777 == mode {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(true)
}

/// Refuses a path that a link leads out of the workspace.
fn check_inside(root: &Path, target: &Path) -> Result<(), ActionError> {
    let error = |source| ActionError::Restore { path: target.to_owned(), source };
    let present = target.ancestors().skip(1).find(|dir| fs::symlink_metadata(dir).is_ok());
    let present = present.unwrap_or(root).canonicalize().map_err(error)?;
    if present.starts_with(root.canonicalize().map_err(error)?) {
        return Ok(());
    }
    Err(ActionError::Outside { path: target.to_owned() })
}
