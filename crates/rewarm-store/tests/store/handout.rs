//! Files handed out to places outside the store.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rewarm_store::{Digest, LinkKind, ScratchDir, link_or_copy, publish_file};
use rustix::fs::{FlockOperation, flock};

use crate::support::{put, store, walk};

#[test]
fn target_is_replaced_and_the_source_left_alone() {
    let (dir, store) = store();
    let digest = put(&store, b"new");
    let target = dir.path().join("target");
    for _ in 0..2 {
        fs::write(dir.path().join("old"), "old").unwrap();
        fs::rename(dir.path().join("old"), &target).unwrap();
        let kind = store.place_blob(&digest, &target, 0o755).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o700, 0o700, "{kind:?}");
    }
    // A second time over its own link.
    store.place_blob(&digest, &target, 0o755).unwrap();
    assert_eq!(fs::read(store.blob_path(&digest).unwrap()).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["cache", "target"]);
}

#[test]
fn another_file_system_gets_a_copy() {
    let (_dir, store) = store();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no other file system at /dev/shm");
        return;
    };
    let digest = put(&store, b"new");
    let target = elsewhere.path().join("target");
    let kind = store.place_blob(&digest, &target, 0o644).unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(elsewhere.path()) != device(store.root()) {
        assert_eq!(kind, LinkKind::Copy);
    }
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(elsewhere.path()), ["target"]);
}

#[test]
fn litter_of_dead_writers_goes_and_work_under_way_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join(".rewarm-7-0123456789abcdef-0.tmp");
    let dead_dir = dir.path().join(".rewarm-7-0123456789abcdef-1.tmp");
    let alive = dir.path().join(".rewarm-7-0123456789abcdef-2.tmp");
    let dead_link = dir.path().join(".rewarm-7-0123456789abcdef-0.tmp.link");
    let lone_link = dir.path().join(".rewarm-7-0123456789abcdef-3.tmp.link");
    let alive_link = dir.path().join(".rewarm-7-0123456789abcdef-2.tmp.link");
    let unrelated = dir.path().join(".rewarm-notes.tmp");
    fs::create_dir(&dead_dir).unwrap();
    fs::write(dead_dir.join("link"), "x").unwrap();
    for path in [&dead, &alive, &unrelated, &dead_link, &lone_link, &alive_link] {
        fs::write(path, "x").unwrap();
    }
    let held = fs::File::open(&alive).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();

    publish_file(&dir.path().join("target"), b"text", 0o644).unwrap();
    let left = names(dir.path());
    let alive = ".rewarm-7-0123456789abcdef-2.tmp";
    assert_eq!(left, [alive, &format!("{alive}.link"), ".rewarm-notes.tmp", "target"]);
}

#[test]
fn missing_source_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(link_or_copy(&dir.path().join("no"), &dir.path().join("target"), 0o644).is_err());
    let (_store_dir, store) = store();
    assert!(store.place_blob(&Digest::of("no"), &dir.path().join("target"), 0o644).is_err());
    assert!(walk(dir.path()).is_empty());
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_of_another_user_is_not_linked() {
    let (dir, store) = store();
    let digest = put(&store, b"theirs");
    let path = store.blob_path(&digest).unwrap();
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        return eprintln!("skipped: files cannot be given away");
    }
    let target = dir.path().join("target");
    // Twice: what the first call learned of the file system must not matter.
    for _ in 0..2 {
        let kind = store.place_blob(&digest, &target, 0o600).unwrap();
        assert_ne!(kind, LinkKind::Hardlink);
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
        assert_ne!(fs::metadata(&target).unwrap().uid(), 65_534);
    }
}

#[test]
fn scratch_directories_go_with_their_process_however_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = ScratchDir::create(dir.path()).unwrap();
    fs::write(scratch.path().join("file"), "x").unwrap();
    assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o700);
    // One that nobody holds, as a killed process leaves it.
    let dead = dir.path().join(".rewarm-1-0123456789abcdef-7.tmp");
    let other = dir.path().join("rewarm-other");
    for path in [&dead, &other] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
    }
    // Each process looks once, so another path to the same place.
    let again = dir.path().join("link");
    std::os::unix::fs::symlink(".", &again).unwrap();
    let second = ScratchDir::create(&again).unwrap();
    assert!(!dead.exists() && other.exists());
    assert!(scratch.path().join("file").exists(), "a living one stays");
    let path = scratch.path().to_owned();
    drop((scratch, second));
    assert!(!path.exists());
}
