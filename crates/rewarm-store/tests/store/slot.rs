//! Slots: seeding, publishing, and what a run may not do to another.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rewarm_store::{Digest, Slot, Store};

use crate::support::{leftovers, store};

fn in_root(path: &Path) -> bool {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count() == 1
}

fn publish(slot: &Slot, files: &[(&str, &str)]) {
    let private = slot.private(in_root).expect("a private directory");
    for (path, text) in files {
        let path = private.path().join(path);
        fs::create_dir_all(path.parent().expect("below the private directory")).expect("mkdir");
        fs::write(path, text).expect("write");
    }
    private.publish().expect("publish");
}

#[test]
fn what_one_run_published_the_next_one_finds() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    publish(&slot, &[(".gitignore", "*"), ("3.12/a.meta.json", "a"), ("3.12/p/b.meta.json", "b")]);

    let next = slot.private(in_root).unwrap();
    assert_eq!(fs::read(next.path().join(".gitignore")).unwrap(), b"*");
    assert_eq!(fs::read(next.path().join("3.12/a.meta.json")).unwrap(), b"a");
    assert_eq!(fs::read(next.path().join("3.12/p/b.meta.json")).unwrap(), b"b");
    fs::remove_file(next.path().join("3.12/a.meta.json")).unwrap();
    next.publish().unwrap();

    let last = slot.private(in_root).unwrap();
    assert!(!last.path().join("3.12/a.meta.json").exists(), "publishing replaces, it does not add");
    drop(last);
    assert!(leftovers(&store).is_empty());
}

#[test]
fn slots_of_another_kind_or_key_are_apart() {
    let (_dir, store) = store();
    publish(&store.slot("mypy", &Digest::of("key")), &[("a", "1")]);
    for other in [store.slot("mypy", &Digest::of("other")), store.slot("other", &Digest::of("key"))]
    {
        let private = other.private(in_root).unwrap();
        assert_eq!(fs::read_dir(private.path()).unwrap().count(), 0);
    }
}

#[test]
fn copied_files_may_be_changed_in_place() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    publish(&slot, &[("missing_stubs", "old"), ("3.12/a", "a")]);

    let private = slot.private(in_root).unwrap();
    fs::write(private.path().join("missing_stubs"), "new").unwrap();
    let inode = |dir: &Path| fs::metadata(dir.join("3.12/a")).unwrap().ino();
    let other = slot.private(in_root).unwrap();
    assert_eq!(fs::read(other.path().join("missing_stubs")).unwrap(), b"old");
    assert_eq!(inode(private.path()), inode(other.path()), "deeper files are links");
}

#[test]
fn copies_keep_mode_and_modification_time() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    publish(&slot, &[("3.12/a", "a")]);
    let linked = slot.private(|_| false).unwrap();
    let copied = slot.private(|_| true).unwrap();
    let stat = |dir: &Path| fs::metadata(dir.join("3.12/a")).unwrap();
    let (linked, copied) = (stat(linked.path()), stat(copied.path()));
    assert_ne!(linked.ino(), copied.ino());
    assert_eq!(linked.mode(), copied.mode());
    assert_eq!(linked.modified().unwrap(), copied.modified().unwrap());
}

#[test]
fn a_dropped_run_leaves_the_slot_as_it_was() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    publish(&slot, &[("3.12/a", "a")]);
    let private = slot.private(in_root).unwrap();
    fs::write(private.path().join("3.12/new"), "new").unwrap();
    drop(private);
    assert!(leftovers(&store).is_empty());
    let next = slot.private(in_root).unwrap();
    assert!(!next.path().join("3.12/new").exists());
    assert!(next.path().join("3.12/a").exists());
}

#[test]
fn a_run_keeps_its_files_while_another_publishes() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    publish(&slot, &[("3.12/a", "first")]);
    let slow = slot.private(in_root).unwrap();
    let quick = slot.private(in_root).unwrap();
    fs::remove_file(quick.path().join("3.12/a")).unwrap();
    fs::write(quick.path().join("3.12/a"), "second").unwrap();
    quick.publish().unwrap();
    assert_eq!(fs::read(slow.path().join("3.12/a")).unwrap(), b"first");
    slow.publish().unwrap();
    assert_eq!(fs::read(slot.private(in_root).unwrap().path().join("3.12/a")).unwrap(), b"first");
}

#[test]
fn threads_that_seed_and_publish_never_see_a_mixture() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    let check = |dir: &Path| {
        let texts: Vec<_> = (0..20).map(|i| fs::read(dir.join(format!("3.12/{i}"))).ok()).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    };
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (slot, check) = (slot.clone(), &check);
            scope.spawn(move || {
                for round in 0..20 {
                    let private = slot.private(in_root).unwrap();
                    check(private.path());
                    fs::remove_dir_all(private.path().join("3.12")).ok();
                    fs::create_dir(private.path().join("3.12")).unwrap();
                    for i in 0..20 {
                        let path = private.path().join(format!("3.12/{i}"));
                        fs::write(path, format!("{writer} {round}")).unwrap();
                    }
                    private.publish().unwrap();
                }
            });
        }
    });
    check(slot.private(in_root).unwrap().path());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn a_slot_of_the_store_below_seeds_and_stays() {
    let (dir, lower) = store();
    publish(&lower.slot("mypy", &Digest::of("key")), &[("3.12/a", "below")]);
    let upper = Store::over(&dir.path().join("upper"), lower.root()).unwrap();
    let slot = upper.slot("mypy", &Digest::of("key"));
    let private = slot.private(in_root).unwrap();
    assert_eq!(fs::read(private.path().join("3.12/a")).unwrap(), b"below");
    fs::write(private.path().join("3.12/b"), "above").unwrap();
    private.publish().unwrap();
    assert!(slot.private(in_root).unwrap().path().join("3.12/b").exists());
    let below = lower.slot("mypy", &Digest::of("key")).private(in_root).unwrap();
    assert!(!below.path().join("3.12/b").exists());
}

#[test]
#[ignore = "prints a figure; run by hand with --release --nocapture"]
fn seeding_and_publishing_2200_files_is_timed() {
    let (_dir, store) = store();
    let slot = store.slot("mypy", &Digest::of("key"));
    let private = slot.private(in_root).unwrap();
    for package in 0..22 {
        let dir = private.path().join(format!("3.12/p{package}"));
        fs::create_dir_all(&dir).unwrap();
        for module in 0..100 {
            fs::write(dir.join(format!("m{module}.meta.json")), "{}").unwrap();
        }
    }
    private.publish().unwrap();
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let private = slot.private(in_root).unwrap();
        let seeded = start.elapsed();
        private.publish().unwrap();
        println!("seed {seeded:?}, publish {:?}", start.elapsed() - seeded);
    }
}
