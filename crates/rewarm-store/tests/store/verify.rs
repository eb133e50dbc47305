//! Verifying a whole store: what is sound stays, what is damaged goes, and the report says so.

use std::fs;
use std::path::PathBuf;

use rewarm_store::{Digest, Format, Store, VerifyItem, VerifyReport};

use crate::support::{NextNote, Note, leftovers, note, put, store};

fn verify(store: &Store) -> VerifyReport {
    let items = store.verify_items(&[Format::of::<Note>()]).expect("a readable store");
    let mut report = VerifyReport::default();
    for item in items {
        let verdict = store.verify_item(&item);
        report.add(item, verdict);
    }
    report
}

/// Two blobs, two records, a tree.
fn filled() -> (tempfile::TempDir, Store, Digest) {
    let (dir, store) = store();
    let source = put(&store, b"wheel");
    put(&store, b"other");
    for text in ["a", "b"] {
        store.write(&Digest::of(text), &note(text, &[source])).expect("a small record");
    }
    let writer = store.tree_writer(&source).expect("a tree can be started").expect("a new tree");
    fs::create_dir(writer.path().join("pkg")).expect("mkdir");
    fs::write(writer.path().join("pkg/a.py"), "x = 1\n").expect("write");
    writer.commit(vec![("pkg/a.py".into(), Digest::of("x = 1\n"))]).expect("a small tree");
    (dir, store, source)
}

fn tree_file(store: &Store, source: &Digest, name: &str) -> PathBuf {
    store.tree(source).expect("a whole tree").path.join(name)
}

#[test]
fn sound_store_is_found_sound() {
    let (_dir, store, _) = filled();
    let report = verify(&store);
    // The tree is listed by a record of its own.
    assert_eq!(report.sound.entries, 2 + 2 + 1 + 1);
    assert!(report.damaged.is_empty() && report.failed.is_empty());
}

#[test]
fn damaged_blob_and_record_are_dropped_and_named() {
    let (_dir, store, source) = filled();
    fs::write(store.blob_path(&source).unwrap(), "wheeL").unwrap();
    let key = Digest::of("a");
    let path = store.record_path::<Note>(&key);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let report = verify(&store);
    let damaged = |item: &VerifyItem| match item {
        VerifyItem::Blob(blob) => blob.digest == source,
        VerifyItem::DamagedRecord(stray) => path.ends_with(&stray.path),
        _ => false,
    };
    assert_eq!(report.damaged.len(), 2);
    assert!(report.damaged.iter().all(damaged), "{:?}", report.damaged);
    assert_eq!(store.blob_path(&source), None);
    assert!(!path.exists());
    assert!(verify(&store).damaged.is_empty());
}

#[test]
fn record_damaged_after_the_items_were_listed_is_found() {
    let (_dir, store, _) = filled();
    let items = store.verify_items(&[Format::of::<Note>()]).unwrap();
    let path = store.record_path::<Note>(&Digest::of("a"));
    fs::rename(store.record_path::<Note>(&Digest::of("b")), &path).unwrap();
    let mut report = VerifyReport::default();
    for item in items {
        let verdict = store.verify_item(&item);
        report.add(item, verdict);
    }
    assert_eq!(report.damaged.len(), 1, "one in the wrong place, one gone");
    assert!(!path.exists());
}

#[test]
fn tree_edited_without_a_trace_in_its_stat_data_is_found() {
    let (_dir, store, source) = filled();
    let path = tree_file(&store, &source, "pkg/a.py");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "x = 2\n").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert!(store.tree(&source).is_some(), "too well hidden for a look at stat data");
    assert_eq!(verify(&store).damaged.len(), 1);
    assert!(store.tree(&source).is_none());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn file_that_does_not_belong_to_a_tree_is_damage() {
    let (_dir, store, source) = filled();
    fs::write(tree_file(&store, &source, "pkg/planted.py"), "").unwrap();
    assert_eq!(verify(&store).damaged.len(), 1);
    assert!(store.tree(&source).is_none());
}

#[test]
fn records_of_other_formats_are_not_touched() {
    let (_dir, store, _) = filled();
    let key = Digest::of("next");
    store.write(&key, &NextNote { words: vec![], blobs: vec![] }).unwrap();
    let path = store.record_path::<NextNote>(&key);
    fs::write(&path, "what only a later version understands").unwrap();
    assert!(verify(&store).damaged.is_empty());
    assert!(path.exists());
}
