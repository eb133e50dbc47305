//! Blobs and records: damage, misplacement, other versions, other users, a store below.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rewarm_store::{CommitError, Digest, Format, Limits, OpenError, Store};

use crate::support::{NextNote, Note, leftovers, note, now, put, store, walk};

fn read_all(store: &Store, digest: &Digest) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open_blob(digest)?.expect("the blob is there").read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn blob_with_any_byte_flipped_is_never_read_to_its_end() {
    let (_dir, store) = store();
    let digest = put(&store, b"some bytes");
    let path = store.blob_path(&digest).unwrap();
    for at in 0..10 {
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            read_all(&store, &digest).unwrap_err().kind(),
            std::io::ErrorKind::InvalidData,
            "byte {at}"
        );
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(read_all(&store, &digest).unwrap(), b"some bytes");
}

#[test]
fn damaged_blob_is_dropped_and_can_be_written_again() {
    let (_dir, store) = store();
    let digest = put(&store, b"some bytes");
    fs::write(store.blob_path(&digest).unwrap(), b"some byte").unwrap();
    assert!(!store.verify_blob(&digest).unwrap());
    assert_eq!(store.blob_path(&digest), None);
    put(&store, b"some bytes");
    assert!(store.verify_blob(&digest).unwrap());
}

#[test]
fn wrong_digest_leaves_no_blob_and_no_litter() {
    let (_dir, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"short").unwrap();
    let wanted = Digest::of("longer");
    let error = writer.commit(Some(&wanted)).unwrap_err();
    assert!(matches!(error, CommitError::WrongDigest { expected, .. } if expected == wanted));
    assert_eq!(store.blob_path(&wanted), None);
    assert_eq!(store.blob_path(&Digest::of("short")), None);
    assert!(leftovers(&store).is_empty());
}

#[test]
fn record_file_with_any_byte_flipped_is_a_miss_and_dropped() {
    let (_dir, store) = store();
    let (key, value) = (Digest::of("key"), note("text", &[Digest::of("blob")]));
    store.write(&key, &value).unwrap();
    let path = store.record_path::<Note>(&key);
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.read::<Note>(&key), None, "byte {at}");
        assert!(!path.exists(), "byte {at}");
    }
    store.write(&key, &value).unwrap();
    assert_eq!(store.read::<Note>(&key), Some(value));
}

#[test]
fn record_moved_to_another_place_is_a_miss() {
    let (_dir, store) = store();
    let (key, other) = (Digest::of("key"), Digest::of("other"));
    store.write(&key, &note("text", &[])).unwrap();
    let target = store.record_path::<Note>(&other);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::rename(store.record_path::<Note>(&key), &target).unwrap();
    assert_eq!(store.read::<Note>(&other), None);
    assert_eq!(store.read::<Note>(&key), None);
}

#[test]
fn versions_of_a_kind_live_side_by_side() {
    let (_dir, store) = store();
    let key = Digest::of("key");
    let next = NextNote { words: vec!["a".into()], blobs: vec![] };
    store.write(&key, &note("text", &[])).unwrap();
    assert_eq!(store.read::<NextNote>(&key), None);
    store.write(&key, &next).unwrap();
    assert_eq!(store.read::<Note>(&key), Some(note("text", &[])));
    store.remove::<Note>(&key).unwrap();
    assert_eq!(store.read::<NextNote>(&key), Some(next));
}

#[test]
fn private_store_is_private_and_group_store_is_open_to_the_group() {
    let (dir, store) = store();
    let digest = put(&store, b"x");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(store.root()), 0o700);
    let path = store.blob_path(&digest).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let root = dir.path().join("group");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o2770)).unwrap();
    let store = Store::open(&root).unwrap();
    let digest = put(&store, b"x");
    let path = store.blob_path(&digest).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().unwrap()), 0o2770);
    drop(store.lock("any", &digest).unwrap());
    assert_eq!(mode(&root.join("locks").join(format!("any-{digest}"))), 0o660);
    assert_eq!(mode(&root.join("tmp")), 0o2770);
}

#[test]
fn store_of_another_user_is_refused_and_its_records_do_not_count() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: giving files to another user takes root");
        return;
    }
    let (dir, store) = store();
    let key = Digest::of("key");
    store.write(&key, &note("text", &[])).unwrap();
    std::os::unix::fs::chown(store.record_path::<Note>(&key), Some(12345), None).unwrap();
    assert_eq!(store.read::<Note>(&key), None);
    assert!(store.record_path::<Note>(&key).exists(), "what is not ours is not dropped");

    std::os::unix::fs::chown(store.root(), Some(12345), None).unwrap();
    let error = Store::open(store.root()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { owner: 12345, .. }), "{error:?}");
    let over = Store::over(&dir.path().join("mine"), store.root()).unwrap();
    assert_eq!(over.read::<Note>(&key), Some(note("text", &[])));
}

#[test]
fn store_below_is_read_and_never_written() {
    let (dir, lower) = store();
    let (key, digest) = (Digest::of("key"), put(&lower, b"below"));
    lower.write(&key, &note("below", &[digest])).unwrap();
    let before: Vec<_> = crate::support::walk(lower.root());

    let upper = Store::over(&dir.path().join("upper"), lower.root()).unwrap();
    assert_eq!(upper.read::<Note>(&key), Some(note("below", &[digest])));
    assert_eq!(read_all(&upper, &digest).unwrap(), b"below");
    upper.write(&key, &note("above", &[digest])).unwrap();
    assert_eq!(upper.read::<Note>(&key), Some(note("above", &[digest])));
    upper.remove_blob(&digest).unwrap();

    assert_eq!(crate::support::walk(lower.root()), before);
    assert_eq!(lower.read::<Note>(&key), Some(note("below", &[digest])));
}

#[test]
fn record_dropped_or_damaged_above_does_not_come_back_from_below() {
    let (dir, lower) = store();
    let key = Digest::of("key");
    lower.write(&key, &note("stale", &[])).unwrap();
    let upper = Store::over(&dir.path().join("upper"), lower.root()).unwrap();
    upper.remove::<Note>(&key).unwrap();
    assert_eq!(upper.read::<Note>(&key), None);
    upper.write(&key, &note("fresh", &[])).unwrap();
    assert_eq!(upper.read::<Note>(&key), Some(note("fresh", &[])));
    fs::write(upper.record_path::<Note>(&key), b"damaged").unwrap();
    assert_eq!(upper.read::<Note>(&key), None);
    assert_eq!(upper.read::<Note>(&key), None, "also once the damaged one was dropped");
}

#[test]
fn store_opened_to_read_shows_what_is_there_and_makes_nothing() {
    let (dir, store) = store();
    let key = Digest::of("key");
    store.write(&key, &note("kept", &[])).unwrap();
    // Where files can be given away, also what somebody else made.
    for path in [store.root(), &store.record_path::<Note>(&key)] {
        let _ = std::os::unix::fs::chown(path, Some(12345), None);
    }
    let before = walk(store.root());
    let reader = Store::open_to_read(store.root()).unwrap();
    assert_eq!(reader.read::<Note>(&key), Some(note("kept", &[])));
    assert_eq!(reader.inventory(&[]).unwrap().records.len(), 1);
    assert_eq!(walk(store.root()), before);
    let missing = dir.path().join("missing");
    assert!(matches!(Store::open_to_read(&missing), Err(OpenError::Io { .. })));
    assert!(!missing.exists());
}

#[test]
fn what_stands_where_a_file_should_be_is_replaced_and_swept() {
    let (_dir, store) = store();
    let (key, blob) = (Digest::of("key"), Digest::of("bytes"));
    let places = |store: &Store| {
        let record = store.record_path::<Note>(&key);
        let blob = store.root().join("blobs-v1").join(&blob.to_string()[..2]);
        [record, blob.join(Digest::of("bytes").to_string())]
    };
    let obstruct = || {
        for place in places(&store) {
            let _ = fs::remove_file(&place);
            fs::create_dir_all(place.join("deep")).unwrap();
            fs::write(place.join("deep/file"), "x").unwrap();
        }
    };
    obstruct();
    assert_eq!(store.read::<Note>(&key), None);
    put(&store, b"bytes");
    store.write(&key, &note("again", &[blob])).unwrap();
    assert_eq!(store.read::<Note>(&key), Some(note("again", &[blob])));
    assert!(store.verify_blob(&blob).unwrap());

    obstruct();
    let lock = store.root().join("locks").join(format!("test-{key}"));
    drop(store.lock("test", &key).unwrap());
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("nowhere", &lock).unwrap();
    let report = store.sweep(&[Format::of::<Note>()], &Limits::nothing(), now()).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert!(places(&store).iter().all(|place| !place.exists()), "{report:?}");
    assert!(lock.symlink_metadata().is_err(), "{report:?}");
}
