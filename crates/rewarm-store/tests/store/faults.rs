//! Full disks, read-only disks, directories that may not be written.
//!
//! Each part runs in a process of its own with a file system of its own, in a mount namespace that
//! ends with it. Where neither root nor user namespaces are to be had, the tests say so and skip.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rewarm_store::{Digest, Format, Limits, OpenError, Store, publish_file};

use crate::support::{Note, assignment, leftovers, note, now, put, store, walk, worker};

/// Exit status of the script that prepares a file system, when that is not possible.
const CANNOT: i32 = 77;

/// Runs a part in a mount namespace after a shell script, which finds the directory in `$1`.
fn run_mounted(script: &str, part: &str, root: &Path) {
    let text = format!("{{ {script}; }} || exit {CANNOT}; shift; exec \"$@\"");
    let unshare: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--mount", "--map-root-user"]
    };
    let root_text = root.to_str().expect("a temporary directory has a plain name");
    let around = [unshare, &["sh", "-c", &text, "sh", root_text]].concat();
    let output = match worker(&around, "faults::fault_worker", part, root).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED {part}: no `unshare`: {error}"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) || stderr.contains("unshare failed") {
        return eprintln!("SKIPPED {part}: no file system can be mounted here: {stderr}");
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("part done"), "the worker ran its part: {stdout}");
}

#[test]
#[ignore = "a worker of the other tests, not a test"]
fn fault_worker() {
    let Some((part, root)) = assignment() else { return };
    match part.as_str() {
        "full" => fill(&root),
        "read-only" => read_only(&root),
        "forbidden" => forbidden(&root),
        "layered" => layered(&root.join("merged/cache")),
        other => panic!("no part `{other}`"),
    }
    println!("part done");
}

#[test]
fn full_disk_is_an_error_that_tears_nothing_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    run_mounted("mount -t tmpfs -o size=600k,mode=700 rewarm \"$1\"", "full", dir.path());
}

#[test]
fn disk_without_inodes_is_an_error_that_tears_nothing_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m,nr_inodes=90,mode=700 rewarm \"$1\"";
    run_mounted(script, "full", dir.path());
}

#[test]
fn read_only_store_is_refused_at_once_and_can_be_read_from_above() {
    let (_dir, store) = store();
    let blob = put(&store, b"below");
    store.write(&Digest::of("key"), &note("below", &[blob])).unwrap();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    run_mounted(script, "read-only", store.root());
}

#[test]
fn directory_that_may_not_be_written_is_refused_and_left_alone() {
    if !rustix::process::geteuid().is_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
        return forbidden(dir.path());
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = dir.path().join("cache");
    fs::create_dir(&root).unwrap();
    chown(&root, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o500)).unwrap();
    let setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let output = match worker(&setpriv, "faults::fault_worker", "forbidden", &root).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: no `setpriv`: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("failed to execute") {
        return eprintln!("SKIPPED: another user cannot run this binary: {text}");
    }
    assert!(output.status.success() && text.contains("part done"), "{text}");
    assert!(walk(&root).is_empty());
}

#[test]
fn directories_from_a_lower_layer_of_an_overlay_can_be_replaced_and_swept() {
    let dir = tempfile::tempdir().unwrap();
    for layer in ["lower", "upper", "work", "merged"] {
        fs::create_dir(dir.path().join(layer)).unwrap();
    }
    let store = Store::open(&dir.path().join("lower/cache")).unwrap();
    write_tree(&store).unwrap();
    write_slot(&store).unwrap();
    let script = "mount -t overlay overlay \
        -o \"lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work\" \"$1/merged\"";
    run_mounted(script, "layered", dir.path());
}

fn layered(root: &Path) {
    let store = Store::open(root).expect("a store");
    let key = Digest::of("key");
    write_slot(&store).expect("the slot can be replaced");
    let tree = store.tree(&key).expect("inodes and times are those of the layer");
    fs::write(tree.path.join("a"), "edited").expect("writable");
    assert!(store.tree(&key).is_none());
    write_tree(&store).expect("the tree can be replaced");
    assert_eq!(fs::read(tree.path.join("a")).expect("readable").len(), 9000);
    assert!(leftovers(&store).is_empty());
    let report = store.sweep(&[], &Limits::nothing(), now()).expect("a sweep");
    assert!(report.failed.is_empty(), "{report:?}");
    assert!(!tree.path.exists() && leftovers(&store).is_empty());
}

fn forbidden(root: &Path) {
    for root in [root, &root.join("deeper/cache")] {
        let error = Store::open(root).expect_err("it may not be written");
        assert!(matches!(&error, OpenError::Io { path, .. } if path == root), "{error:?}");
    }
    assert!(walk(root).is_empty());
}

fn read_only(root: &Path) {
    let before = walk(root);
    let OpenError::Io { source, .. } = Store::open(root).expect_err("read-only") else {
        panic!("not foreign");
    };
    assert_eq!(source.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let (key, blob) = (Digest::of("key"), Digest::of("below"));
    let lookup = Store::for_lookup(root);
    assert_eq!(lookup.read::<Note>(&key), Some(note("below", &[blob])));
    lookup.touch::<Note>(&key, now());
    assert!(lookup.write(&key, &note("no", &[])).is_err());
    assert!(lookup.blob_writer().is_err() && lookup.lease([blob]).is_err());
    assert!(lookup.sweep(&[Format::of::<Note>()], &Limits::nothing(), now()).is_err());
    assert!(lookup.sweep_in_passing(&[], &Limits::nothing(), now()).is_none());

    let above = tempfile::tempdir().expect("a temporary directory");
    let over = Store::over(above.path(), root).expect("a writable store above");
    assert_eq!(over.read::<Note>(&key), Some(note("below", &[blob])));
    over.write(&key, &note("above", &[blob])).expect("room above");
    assert_eq!(over.read::<Note>(&key), Some(note("above", &[blob])));
    let mut text = String::new();
    let reader = over.open_blob(&blob).expect("readable").expect("it is below");
    { reader }.read_to_string(&mut text).expect("sound");
    assert_eq!(text, "below");
    drop(over.slot("mypy", &key).private(|_| false).expect("an empty slot"));
    assert_eq!(walk(root), before);
}

/// Writes blobs until there is no room, and fills the rest byte by byte.
fn fill(root: &Path) {
    let store = Store::open(&root.join("cache")).expect("a store");
    let key = Digest::of("key");
    store.write(&key, &note("before", &[])).expect("room");
    let mut kept = Vec::new();
    let error = loop {
        match put_blob(&store, &vec![u8::try_from(kept.len()).expect("few"); 40_000]) {
            Ok(digest) => kept.push(digest),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error:?}");
    assert!(!kept.is_empty());
    fill_up(root);

    let text = "long ".repeat(3000);
    assert!(store.write(&key, &note(&text, &[])).is_err());
    assert!(store.write(&Digest::of("other"), &note(&text, &[])).is_err());
    assert!(write_tree(&store).is_err());
    assert!(write_slot(&store).is_err());
    assert!(store.lease((0_u16..9999).map(|n| Digest::of(n.to_le_bytes()))).is_err());
    assert!(publish_file(&root.join("out"), text.as_bytes(), 0o644).is_err());

    assert!(leftovers(&store).is_empty(), "{:?}", leftovers(&store));
    assert!(walk(&root.join("cache/leases")).is_empty());
    let outside: Vec<_> = fs::read_dir(root).expect("readable").flatten().collect();
    assert!(outside.iter().all(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")));
    assert_eq!(store.read::<Note>(&key), Some(note("before", &[])));
    assert_eq!(store.read::<Note>(&Digest::of("other")), None);
    assert!(store.tree(&key).is_none());
    kept.iter().for_each(|digest| assert!(store.verify_blob(digest).expect("readable")));

    store.remove_blob(&kept[0]).expect("removable");
    store.remove_blob(&kept[1]).expect("removable");
    fs::remove_dir_all(root.join("filler")).expect("removable");
    store.write(&key, &note("after", &[])).expect("room again");
    let report = store.sweep(&[Format::of::<Note>()], &Limits::nothing(), now()).expect("a sweep");
    assert!(report.failed.is_empty(), "{report:?}");
    write_tree(&store).expect("room again");
    write_slot(&store).expect("room again");
}

fn fill_up(root: &Path) {
    let dir = root.join("filler");
    fs::create_dir(&dir).ok();
    for number in 0..1000 {
        let Ok(mut file) = fs::File::create(dir.join(number.to_string())) else { return };
        while file.write_all(&[0; 512]).is_ok() {}
    }
}

fn put_blob(store: &Store, bytes: &[u8]) -> io::Result<Digest> {
    let mut writer = store.blob_writer()?;
    writer.write_all(bytes)?;
    match writer.commit(None) {
        Ok(blob) => Ok(blob.digest),
        Err(rewarm_store::CommitError::Io { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn write_tree(store: &Store) -> io::Result<()> {
    let writer = store.tree_writer(&Digest::of("key")).map_err(io::Error::other)?;
    let Ok(writer) = writer else { return Ok(()) };
    fs::write(writer.path().join("a"), "a".repeat(9000))?;
    let files = vec![("a".into(), Digest::of("a".repeat(9000)))];
    writer.commit(files).map(drop).map_err(io::Error::other)
}

fn write_slot(store: &Store) -> io::Result<()> {
    let private = store.slot("mypy", &Digest::of("key")).private(|_| true)?;
    fs::write(private.path().join("a"), "a".repeat(9000))?;
    private.publish()
}

/// The process file system answers "not found" whenever a file is to be made in it.
#[test]
#[cfg(target_os = "linux")]
fn where_nothing_can_be_made_is_an_error_at_once() {
    let nowhere = Path::new("/proc/rewarm/cache");
    assert!(matches!(Store::open(nowhere), Err(OpenError::Io { .. })));
    for target in ["/proc/target", "/proc/rewarm/target"] {
        rewarm_store::publish_file(Path::new(target), b"text", 0o644).expect_err(target);
    }
}

#[test]
fn a_lock_whose_name_leads_nowhere_is_an_error_at_once() {
    let (_dir, store) = store();
    let key = Digest::of(b"key");
    let lock = store.root().join("locks").join(format!("test-{key}"));
    fs::create_dir_all(lock.parent().expect("it has one")).unwrap();
    std::os::unix::fs::symlink("nowhere", lock).unwrap();
    store.lock("test", &key).expect_err("no file to lock");
}
