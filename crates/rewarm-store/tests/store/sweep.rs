//! Sweeping a real store: what goes, what stays, and what others do meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rewarm_store::{Digest, Format, Kind, Limits, Store, StrayKind};

use crate::support::{NextNote, Note, leftovers, note, now, put, store, walk};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn known() -> [Format; 1] {
    [Format::of::<Note>()]
}

fn set_age(path: &Path, age: Duration) {
    let file = File::open(path).expect("an entry");
    file.set_modified(now() - age).expect("utimes");
}

/// A blob and a record that refers to it, both of that age.
fn put_note(store: &Store, text: &str, age: Duration) -> (Digest, Digest) {
    let (key, blob) = (Digest::of(text), put(store, text.as_bytes()));
    store.write(&key, &note(text, &[blob])).expect("a small record");
    set_age(&store.blob_path(&blob).expect("just written"), age);
    set_age(&store.record_path::<Note>(&key), age);
    (key, blob)
}

fn put_tree(store: &Store, source: &Digest) -> PathBuf {
    let writer = store.tree_writer(source).expect("a tree can be started").expect("a new tree");
    fs::write(writer.path().join("a"), "text").expect("write");
    writer.commit(vec![("a".into(), Digest::of("text"))]).expect("a small tree").path
}

fn older_than(days: u32) -> Limits {
    Limits { max_age: Some(DAY * days), ..Limits::default() }
}

/// Closing alone would leave the lock with a process that another test is just starting.
fn let_go(file: &File) {
    rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock).expect("a lock can be let go");
}

#[test]
fn old_goes_new_stays_and_the_plan_said_so() {
    let (_dir, store) = store();
    let old = put_note(&store, "old", DAY * 3);
    let new = put_note(&store, "new", DAY);
    let plan = store.gc_plan(&known(), &older_than(2), now()).unwrap();
    assert_eq!(plan.removals.len(), 2);
    assert!(store.read::<Note>(&old.0).is_some(), "a plan changes nothing");
    let report = store.sweep(&known(), &older_than(2), now()).unwrap();
    assert_eq!((report.total().entries, report.failed.len()), (2, 0));
    assert_eq!(report.removed["blobs"].bytes, 3);
    assert_eq!(store.read::<Note>(&old.0), None);
    assert_eq!(store.blob_path(&old.1), None);
    assert!(store.read::<Note>(&new.0).is_some() && store.verify_blob(&new.1).unwrap());
}

#[test]
fn touched_record_outlives_an_untouched_one() {
    let (_dir, store) = store();
    let (touched, _) = put_note(&store, "touched", DAY * 3);
    let (untouched, _) = put_note(&store, "untouched", DAY * 3);
    store.touch::<Note>(&touched, now());
    store.sweep(&known(), &older_than(2), now()).unwrap();
    assert!(store.read::<Note>(&touched).is_some());
    assert_eq!(store.read::<Note>(&untouched), None);
}

#[test]
fn lease_holds_a_blob_that_nothing_refers_to() {
    let (_dir, store) = store();
    let (a, b) = (put(&store, b"a"), put(&store, b"b"));
    for blob in [a, b] {
        set_age(&store.blob_path(&blob).unwrap(), DAY);
    }
    let mut lease = store.lease([a]).unwrap();
    lease.extend([b]).unwrap();
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(store.blob_path(&a).is_some() && store.blob_path(&b).is_some());
    drop(lease);
    assert!(walk(&store.root().join("leases")).is_empty());
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(store.blob_path(&a).is_none() && store.blob_path(&b).is_none());
}

#[test]
fn lease_that_ends_during_a_sweep_is_left_to_the_sweeper() {
    let (_dir, store) = store();
    let lease = store.lease([Digest::of("a")]).unwrap();
    let sweeping = File::create(store.root().join("locks/sweep")).unwrap();
    rustix::fs::flock(&sweeping, rustix::fs::FlockOperation::LockExclusive).unwrap();
    drop(lease);
    assert_eq!(walk(&store.root().join("leases")).len(), 1);
    let_go(&sweeping);
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(walk(&store.root().join("leases")).is_empty());
}

#[test]
fn lease_waits_while_a_sweeper_removes() {
    let (_dir, store) = store();
    drop(store.lease([]).unwrap());
    let gate = File::open(store.root().join("locks/gate")).unwrap();
    rustix::fs::flock(&gate, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(store.lease([]).map(drop).is_ok()));
        let early = receiver.recv_timeout(Duration::from_millis(50));
        let_go(&gate);
        assert!(early.is_err(), "it was taken before the gate was open");
        assert!(receiver.recv().unwrap());
    });
}

#[test]
fn tree_in_use_stays_and_an_unused_one_goes_with_its_record() {
    let (_dir, store) = store();
    let (used, unused) = (put(&store, b"used"), put(&store, b"unused"));
    for source in [used, unused] {
        let path = put_tree(&store, &source);
        let record = store.root().join("tree-v1").join(&source.to_string()[..2]);
        set_age(&record.join(source.to_string()), DAY * 3);
        set_age(&path, DAY * 3);
        set_age(&store.blob_path(&source).unwrap(), DAY * 3);
    }
    assert!(store.tree(&used).is_some());
    store.sweep(&known(), &older_than(2), now()).unwrap();
    assert!(store.tree(&used).is_some(), "finding it whole counted as use");
    assert!(store.blob_path(&used).is_some());
    assert!(store.tree(&unused).is_none());
    let path = store.root().join("trees-v1").join(&unused.to_string()[..2]);
    assert!(walk(&path).is_empty(), "the directory goes too");
    assert!(store.blob_path(&unused).is_none());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn litter_of_dead_writers_goes_and_work_under_way_stays() {
    let (_dir, store) = store();
    let tmp = store.root().join("tmp");
    let source = Digest::of("dead tree");
    fs::create_dir_all(tmp.join(format!("tree-{source}/pkg"))).unwrap();
    fs::create_dir_all(tmp.join(".rewarm-7-0123456789abcdef-0.tmp/3.12")).unwrap();
    fs::write(tmp.join(".rewarm-7-0123456789abcdef-1.tmp"), "half a blob").unwrap();
    let dead = 3;

    let blob = store.blob_writer().unwrap();
    let tree = store.tree_writer(&Digest::of("tree")).unwrap().unwrap();
    let slot = store.slot("mypy", &Digest::of("slot")).private(|_| true).unwrap();
    let alive = 3;

    assert_eq!(fs::read_dir(&tmp).unwrap().count(), dead + alive);
    let report = store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert_eq!(report.removed["temporary files"].entries, dead as u64);
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), alive);
    assert!(tree.path().exists() && slot.path().exists());
    blob.commit(None).unwrap();
    tree.commit(vec![]).unwrap();
    slot.publish().unwrap();
    assert!(leftovers(&store).is_empty());
}

#[test]
fn old_lock_files_go_unless_held() {
    let (_dir, store) = store();
    let (free, held) = (Digest::of("free"), Digest::of("held"));
    drop(store.lock("any", &free).unwrap());
    let lock = store.lock("any", &held).unwrap();
    let path = |key: &Digest| store.root().join("locks").join(format!("any-{key}"));
    for key in [&free, &held] {
        set_age(&path(key), HOUR * 2);
    }
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(!path(&free).exists());
    assert!(path(&held).exists());
    assert!(store.try_lock("any", &held).unwrap().is_none());
    drop(lock);
    assert!(store.try_lock("any", &held).unwrap().is_some());
}

#[test]
fn cut_off_downloads_go_when_old_and_not_under_way() {
    let (_dir, store) = store();
    let dir = store.root().join("partial-v1");
    fs::create_dir_all(&dir).unwrap();
    let place = |text: &str, age| {
        let key = Digest::of(text);
        let path = dir.join(format!("{key}.body"));
        fs::write(&path, "half").expect("write");
        set_age(&path, age);
        (key, path)
    };
    let (_, old) = place("old", DAY * 8);
    let (_, young) = place("young", DAY * 6);
    let (key, busy) = place("busy", DAY * 8);
    let _flight = store.lock("flight", &key).unwrap();
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert_eq!((old.exists(), young.exists(), busy.exists()), (false, true, true));
}

#[test]
fn unused_slot_goes_and_a_seeded_one_stays() {
    let (_dir, store) = store();
    let slots = ["old", "used"].map(|key| store.slot("mypy", &Digest::of(key)));
    for (slot, key) in slots.iter().zip(["old", "used"]) {
        let private = slot.private(|_| true).unwrap();
        fs::write(private.path().join("a"), "a").unwrap();
        private.publish().unwrap();
        let name = Digest::of(key).to_string();
        set_age(&store.root().join("slots-v1/mypy").join(&name[..2]).join(&name), DAY * 3);
    }
    drop(slots[1].private(|_| true).unwrap());
    let report = store.sweep(&known(), &older_than(2), now()).unwrap();
    assert_eq!(report.removed["slots"].entries, 1);
    assert!(!slots[0].private(|_| true).unwrap().path().join("a").exists());
    assert!(slots[1].private(|_| true).unwrap().path().join("a").exists());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn other_version_is_left_alone_with_its_blobs_then_removed_as_a_whole() {
    let (_dir, store) = store();
    let (key, blob) = (Digest::of("key"), put(&store, b"next"));
    store.write(&key, &NextNote { words: vec![], blobs: vec![blob] }).unwrap();
    set_age(&store.blob_path(&blob).unwrap(), DAY * 90);
    let path = store.record_path::<NextNote>(&key);
    let age_all = |age| {
        for path in walk(&store.root().join("note-v2")) {
            set_age(&path, age);
        }
    };
    age_all(DAY * 29);
    let tight = Limits { max_bytes: Some(0), ..older_than(1) };
    let inventory = store.inventory(&known()).unwrap();
    assert_eq!(inventory.others[0].name, "note-v2");
    assert_eq!((inventory.others[0].entries, inventory.others[0].is_readable), (1, true));
    store.sweep(&known(), &tight, now()).unwrap();
    assert!(path.exists() && store.blob_path(&blob).is_some());

    age_all(DAY * 31);
    let report = store.sweep(&known(), &tight, now()).unwrap();
    assert_eq!(report.removed["note-v2"].entries, 1);
    assert!(!path.exists() && store.blob_path(&blob).is_none());
    assert!(!store.root().join("note-v2").exists());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn what_others_put_into_the_root_is_not_touched() {
    let (_dir, store) = store();
    let digest = Digest::of("x");
    let theirs = [
        "tmp/notes.txt".to_owned(),
        "tmp/project/src/main.c".to_owned(),
        "locks/front-door".to_owned(),
        "leases/flat.pdf".to_owned(),
        "partial-v1/score.ly".to_owned(),
        "photos-v1/ab/holiday.jpg".to_owned(),
        format!("mixed-v1/{}/{digest}", &digest.to_string()[..2]),
        "mixed-v1/README".to_owned(),
        "empty-v1".to_owned(),
        "blobs-v1/README".to_owned(),
        "blobs-v1/ab/README".to_owned(),
        format!("blobs-v1/zz/{digest}"),
    ];
    for path in &theirs {
        let path = store.root().join(path);
        if path.ends_with("empty-v1") {
            fs::create_dir(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "theirs").unwrap();
        for path in path.ancestors().take_while(|path| *path != store.root()) {
            set_age(path, DAY * 400);
        }
    }
    let report = store.sweep(&known(), &Limits::nothing(), now()).unwrap();
    assert_eq!(report.total().entries, 0, "{report:?}");
    for path in &theirs {
        assert!(store.root().join(path).exists(), "{path}");
    }
}

#[test]
fn strange_file_among_the_records_does_not_cost_their_blobs() {
    let (_dir, store) = store();
    let (_, blob) = put_note(&store, "text", DAY);
    let next_blob = put(&store, b"next");
    set_age(&store.blob_path(&next_blob).unwrap(), DAY);
    let next = NextNote { words: vec![], blobs: vec![next_blob] };
    store.write(&Digest::of("key"), &next).unwrap();
    fs::write(store.root().join("note-v1/.nfs0001"), "").unwrap();
    fs::write(store.root().join("note-v2/.nfs0001"), "").unwrap();
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(store.blob_path(&blob).is_some() && store.blob_path(&next_blob).is_some());
}

#[test]
fn other_versions_of_every_area_are_removed_once_unused() {
    let (_dir, store) = store();
    let digest = Digest::of("x").to_string();
    let shard = &digest[..2];
    let areas = [
        format!("blobs-v2/{shard}/{digest}"),
        format!("trees-v9/{shard}/{digest}/pkg/a.py"),
        format!("slots-v2/mypy/{shard}/{digest}/3.12/a"),
        format!("partial-v2/{digest}.data"),
    ];
    for path in &areas {
        let path = store.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "text").unwrap();
    }
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(areas.iter().all(|path| store.root().join(path).exists()));
    let report = store.sweep(&known(), &Limits::default(), now() + DAY * 31).unwrap();
    assert_eq!(report.total().entries, 4);
    assert_eq!(report.total().bytes, 16);
    assert!(!areas.iter().any(|path| store.root().join(path).exists()));
}

#[test]
fn damaged_record_is_swept() {
    let (_dir, store) = store();
    let (key, _) = put_note(&store, "text", DAY);
    fs::write(store.record_path::<Note>(&key), "damaged").unwrap();
    let inventory = store.inventory(&known()).unwrap();
    assert_eq!(inventory.strays.iter().filter(|s| s.kind == StrayKind::Damaged).count(), 1);
    store.sweep(&known(), &Limits::default(), now()).unwrap();
    assert!(!store.record_path::<Note>(&key).exists());
}

#[test]
fn size_bound_is_kept() {
    let (_dir, store) = store();
    for age in 0..10 {
        put_note(&store, &format!("{age:0100}"), HOUR * 2 + DAY * age);
    }
    let size = |store: &Store| {
        let totals = store.inventory(&known()).expect("readable").totals();
        totals.values().map(|total| total.bytes).sum::<u64>()
    };
    let limits = Limits { max_bytes: Some(size(&store) / 2), ..Limits::default() };
    store.sweep(&known(), &limits, now()).unwrap();
    assert!(size(&store) <= limits.max_bytes.unwrap() && size(&store) > 0);
    let left =
        (0..10).filter(|age| store.read::<Note>(&Digest::of(format!("{age:0100}"))).is_some());
    assert_eq!(left.collect::<Vec<_>>(), [0, 1, 2, 3, 4], "the most recently used stay");
}

#[test]
fn purge_leaves_an_empty_store_that_works() {
    let (_dir, store) = store();
    put_note(&store, "text", Duration::ZERO);
    put_tree(&store, &put(&store, b"wheel"));
    store.sweep(&known(), &Limits::nothing(), now()).unwrap();
    let inventory = store.inventory(&known()).unwrap();
    assert!(inventory.totals().is_empty() && inventory.strays.is_empty(), "{inventory:?}");
    let left = walk(store.root());
    let names = left.iter().filter_map(|path| path.file_name()?.to_str()).collect::<Vec<_>>();
    let expected = ["CACHEDIR.TAG", "leases", "locks", "gate", "sweep", "tmp"];
    assert!(names.iter().all(|name| expected.contains(name)), "no empty directory: {names:?}");
    put_note(&store, "text", Duration::ZERO);
    assert!(store.read::<Note>(&Digest::of("text")).is_some());
}

#[test]
fn sweep_in_passing_happens_once_a_day_and_never_waits() {
    let (_dir, store) = store();
    let (old, _) = put_note(&store, "old", DAY * 3);
    let limits = older_than(2);
    assert!(store.sweep_in_passing(&known(), &limits, now()).is_none(), "a new store");
    assert!(store.sweep_in_passing(&known(), &limits, now()).is_none(), "just done");
    assert!(store.read::<Note>(&old).is_some());

    let tomorrow = now() + DAY;
    let busy = File::open(store.root().join("locks/sweep")).unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockShared).unwrap();
    assert!(store.sweep_in_passing(&known(), &limits, tomorrow).is_none(), "somebody is at it");
    let_go(&busy);
    let report = store.sweep_in_passing(&known(), &limits, tomorrow).unwrap();
    assert_eq!(report.total().entries, 2);
    assert_eq!(store.read::<Note>(&old), None);
    assert!(store.sweep_in_passing(&known(), &limits, tomorrow).is_none());
    let back = store.sweep_in_passing(&known(), &limits, now() - DAY * 9);
    assert!(back.is_some(), "a stamp from the future does not put sweeping off");
}

#[test]
fn inventory_lists_records_with_their_references_and_totals() {
    let (_dir, store) = store();
    let (key, blob) = put_note(&store, "text", DAY);
    let path = put_tree(&store, &blob);
    assert!(path.exists());
    let inventory = store.inventory(&known()).unwrap();
    let record = inventory.records.iter().find(|record| record.key == key).unwrap();
    assert_eq!((record.kind.as_str(), record.version), (Note::NAME, 1));
    assert_eq!(record.references, [blob]);
    let age = now().duration_since(record.last_used).unwrap();
    assert!(age >= DAY && age < DAY + HOUR);
    let totals = inventory.totals();
    assert_eq!(totals["note-v1"].entries, 1);
    assert_eq!(totals["note-v1"].bytes, record.bytes);
    assert_eq!(totals["note-v1"].referenced_bytes, 4 + 4, "the blob and its tree");
    assert_eq!((totals["blobs"].bytes, totals["trees"].bytes), (4, 4));
    store.remove_listed(record).unwrap();
    assert_eq!(store.read::<Note>(&key), None);
}

#[test]
fn removed_records_free_their_space_at_once_and_nobody_elses() {
    let (_dir, store) = store();
    let (gone, own) = put_note(&store, "own", Duration::from_secs(10));
    let shared = put(&store, b"shared");
    let (other, third) = (Digest::of("other"), Digest::of("third"));
    store.write(&gone, &note("own", &[own, shared])).unwrap();
    store.write(&other, &note("other", &[shared])).unwrap();
    store.write(&third, &note("third", &[shared])).unwrap();
    let leased = put(&store, b"leased");
    let (used, lease) = (Digest::of("used"), store.lease([leased]).unwrap());
    store.write(&used, &note("used", &[leased])).unwrap();

    let records = store.inventory(&known()).unwrap().records;
    let chosen: Vec<_> =
        records.into_iter().filter(|r| [gone, other, used].contains(&r.key)).collect();
    let plan = store.removal_plan(&known(), &chosen, now()).unwrap();
    assert_eq!(plan.removals.len(), 3, "{plan}");
    assert!(store.read::<Note>(&gone).is_some(), "a plan changes nothing");
    let report = store.remove_entries(&known(), &chosen, now()).unwrap();
    assert_eq!(report.removed["note-v1"].entries, 2);
    assert_eq!((report.removed["blobs"].entries, report.removed["blobs"].bytes), (1, 3));
    assert_eq!((report.shared.entries, report.spared.entries), (2, 1));
    assert!(store.blob_path(&own).is_none());
    assert!(store.blob_path(&shared).is_some() && store.read::<Note>(&third).is_some());
    assert!(store.blob_path(&leased).is_some() && store.read::<Note>(&used).is_some());
    drop(lease);
}

#[test]
fn download_under_way_is_not_cut_by_the_size_bound() {
    let (_dir, store) = store();
    let start = |text: &str| {
        let flight = store.try_flight(&Digest::of(text)).unwrap().unwrap();
        let mut writer = flight.start(&note(text, &[])).unwrap();
        writer.write(&[7; 1000]).unwrap();
        writer
    };
    let (under_way, cut_off) = (start("under way"), start("cut off"));
    drop(cut_off);
    let limits = Limits { max_bytes: Some(0), ..Limits::default() };
    let report = store.sweep(&known(), &limits, now()).unwrap();
    assert_eq!(report.removed["partial downloads"].entries, 2, "data and head");
    let left = walk(&store.root().join("partial-v1"));
    assert!(
        !left.is_empty()
            && left.iter().all(|path| {
                path.to_string_lossy().contains(&Digest::of("under way").to_string())
            })
    );
    let landed = under_way.commit(None).expect("nothing was taken from it");
    assert_eq!(landed.blob.size, 1000);
}

#[test]
fn other_format_that_a_lease_names_stays_even_when_it_is_to_go_now() {
    let (_dir, store) = store();
    let blob = put(&store, b"next");
    store.write(&Digest::of("key"), &NextNote { words: vec![], blobs: vec![blob] }).unwrap();
    let opaque = Digest::of("opaque").to_string();
    let path = store.root().join("thing-v9").join(&opaque[..2]).join(&opaque);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "of a format that nobody here can read").unwrap();
    let now_please = Limits { other_age: Duration::ZERO, ..Limits::default() };
    let lease = store.lease([blob, Digest::of("opaque")]).unwrap();
    let report = store.sweep(&known(), &now_please, now()).unwrap();
    assert_eq!((report.total().entries, report.spared.entries), (0, 2), "{report:?}");
    assert!(path.exists() && store.read::<NextNote>(&Digest::of("key")).is_some());
    drop(lease);
    let report = store.sweep(&known(), &now_please, now()).unwrap();
    assert_eq!((report.removed["note-v2"].entries, report.removed["thing-v9"].entries), (1, 1));
    assert!(!path.exists() && leftovers(&store).is_empty());
}

#[test]
fn writers_go_on_while_a_sweeper_removes_the_directories_it_emptied() {
    let (_dir, store) = store();
    let keys: Vec<Digest> = (0..200).map(|n| Digest::of(format!("{n}"))).collect();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                store.sweep(&known(), &Limits::nothing(), now()).expect("a sweep");
            }
        });
        for key in &keys {
            store.write(key, &note("text", &[])).expect("a record can always be written");
            put(&store, key.as_bytes());
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
