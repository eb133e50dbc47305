//! Damage to what is stored: every kind of file of the cache, in every way that a file can be
//! damaged, met by every kind of request.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::harness::{
    Act, Case, Draw, Handler, Scene, Tally, Way, block_on, fetched, files_below, rounds, run,
    sound, validated,
};

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Blob,
    Record,
    /// The locks of the record and of the download.
    Locks,
    /// The bytes of a download that broke off.
    PartialData,
    /// What a download that broke off says about itself.
    PartialHead,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// One bit of the byte at this share of the file, in thousandths.
    Flip(u64),
    /// Cut at this share of the file, in thousandths.
    Cut(u64),
    Extended,
    Empty,
    Missing,
    /// In its place stands a directory with a file in it.
    Directory,
    /// In its place stands a link that leads nowhere.
    DanglingLink,
    /// In its place stands a link to a file with other bytes.
    Link,
    /// It has changed places with that of another URL.
    Swapped,
    /// The directory around it is gone.
    NoDirectory,
}

const HARMS: [Harm; 16] = [
    Harm::Flip(0),
    Harm::Flip(500),
    Harm::Flip(1000),
    Harm::Cut(1),
    Harm::Cut(500),
    Harm::Cut(999),
    Harm::Extended,
    Harm::Empty,
    Harm::Missing,
    Harm::Directory,
    Harm::DanglingLink,
    Harm::Link,
    Harm::Swapped,
    Harm::NoDirectory,
    Harm::Flip(123),
    Harm::Flip(877),
];

/// How the entry stands to the request that meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// May be used as it is.
    Fresh,
    /// The origin has to be asked.
    Stale,
    /// The digest is demanded.
    ByDigest,
}

/// The files of a part, without those of the other URL.
fn files(root: &Path, part: Part) -> Vec<PathBuf> {
    let below = |area: &str| files_below(&root.join(area));
    match part {
        Part::Blob => below("blobs-v1"),
        Part::Record => below("http-v1"),
        Part::Locks => {
            let mut locks = below("locks");
            locks.retain(|path| path.to_string_lossy().contains("-"));
            locks
        }
        Part::PartialData | Part::PartialHead => {
            let is_data = |path: &Path| path.extension().is_some_and(|e| e == "data");
            let mut found = below("partial-v1");
            found.retain(|path| is_data(path) == (part == Part::PartialData));
            found
        }
    }
}

fn harm(root: &Path, path: &Path, harm: Harm, other: &Path) {
    let length = fs::metadata(path).expect("it was just written").len();
    let share = |thousandths: u64| length * thousandths / 1000;
    let write = || fs::File::options().write(true).open(path).expect("writable");
    let replace = || fs::remove_file(path).expect("it was there");
    match harm {
        Harm::Flip(at) if length > 0 => {
            let at = share(at).min(length - 1);
            let mut byte = [0];
            fs::File::open(path).expect("readable").read_exact_at(&mut byte, at).expect("a byte");
            write().write_all_at(&[byte[0] ^ 4], at).expect("writable");
        }
        Harm::Cut(at) => write().set_len(share(at)).expect("writable"),
        Harm::Extended | Harm::Flip(_) => write().set_len(length + 1000).expect("writable"),
        Harm::Empty => write().set_len(0).expect("writable"),
        Harm::Missing => replace(),
        Harm::Directory => {
            replace();
            fs::create_dir(path).expect("a free name");
            fs::write(path.join("inside"), "x").expect("writable");
        }
        Harm::DanglingLink => {
            replace();
            symlink(root.join("nowhere"), path).expect("a free name");
        }
        Harm::Link => {
            replace();
            symlink(other, path).expect("a free name");
        }
        Harm::Swapped => {
            let aside = path.with_extension("aside");
            fs::rename(path, &aside).expect("renamed");
            fs::rename(other, path).expect("renamed");
            fs::rename(&aside, other).expect("renamed");
        }
        Harm::NoDirectory => {
            let dir = path.parent().expect("below the root");
            fs::remove_dir_all(dir).expect("removed");
        }
    }
}

fn origin(stand: Stand) -> Handler {
    Arc::new(move |_| match stand {
        Stand::Stale => validated(),
        Stand::Fresh | Stand::ByDigest => sound(),
    })
}

fn case(part: Part, what: Harm, stand: Stand, way: Way) -> Case {
    let name = format!("{part:?} {what:?} {stand:?} {way:?}");
    let hashed = stand == Stand::ByDigest;
    let prepare: Act = Box::new(move |scene| scene.store_both(hashed));
    let fault: Act = Box::new(move |scene| {
        let root = scene.sandbox.cache();
        let found = files(&root, part);
        let is_own = |path: &PathBuf| {
            part != Part::Blob && part != Part::Record || belongs(scene, part, path)
        };
        let (own, others): (Vec<PathBuf>, Vec<PathBuf>) = found.into_iter().partition(is_own);
        assert!(!own.is_empty(), "nothing to damage");
        for path in own {
            // Of the locks, the first may have taken all with it.
            if path.symlink_metadata().is_ok() {
                let stand_in = scene.sandbox.cache().join("CACHEDIR.TAG");
                harm(&root, &path, what, others.first().unwrap_or(&stand_in));
            }
        }
    });
    Case { hashed, prepare, fault, ..Case::new(name, way, origin(stand)) }
}

/// Whether a blob or record is the file's, not the other's.
fn belongs(scene: &Scene, part: Part, path: &Path) -> bool {
    let bytes = fs::read(path).expect("readable");
    match part {
        Part::Blob => bytes == scene.body,
        _ => bytes.windows(5).any(|window| window == b"/file"),
    }
}

#[test]
fn damaged_entries_are_found_and_replaced_in_the_same_request() {
    let mut tally = Tally::default();
    for part in [Part::Blob, Part::Record, Part::Locks] {
        for what in HARMS {
            // Locks hold nothing that could be elsewhere.
            if part == Part::Locks && what == Harm::Swapped {
                continue;
            }
            for stand in [Stand::Fresh, Stand::Stale, Stand::ByDigest] {
                for way in [Way::Keep, Way::Read] {
                    run(&case(part, what, stand, way), &mut tally);
                }
            }
        }
    }
    tally.report("damaged entries");
    assert_eq!(tally.errors(), 0, "the origin is sound, so every request can be answered");
}

#[test]
fn record_torn_at_any_byte_is_a_miss() {
    let mut tally = Tally::default();
    let scene = Scene::new("torn record", origin(Stand::Fresh), origin(Stand::Fresh));
    scene.store_both(false);
    let record = files(&scene.sandbox.cache(), Part::Record);
    let path = record.into_iter().find(|path| belongs(&scene, Part::Record, path)).expect("one");
    let whole = fs::read(&path).expect("readable");
    let asking = Case::new("torn record", Way::Keep, origin(Stand::Fresh));
    let client = scene.client(|_| {});
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("writable");
        let before = scene.server.count("/file");
        let got = block_on(fetched(&client, &scene.request(false), Way::Keep));
        assert!(got.expect("a sound origin") == scene.body, "{length} bytes");
        assert_eq!(scene.server.count("/file"), before + 1, "{length} bytes are no record");
        tally.add(&Ok(()));
    }
    crate::harness::recover(&scene, &asking);
    tally.report("torn records");
}

#[test]
fn broken_off_downloads_that_were_damaged_are_not_built_upon() {
    let mut tally = Tally::default();
    for part in [Part::PartialData, Part::PartialHead] {
        for what in HARMS {
            if what == Harm::Swapped {
                continue;
            }
            for (way, hashed) in [(Way::Keep, false), (Way::Read, false), (Way::Keep, true)] {
                let name = format!("{part:?} {what:?} {way:?} hashed {hashed}");
                let good: Handler = Arc::new(|_| sound());
                let cut: Handler = Arc::new(|seen| match seen.nth {
                    0 => sound().cut_after(100_000),
                    _ => sound(),
                });
                let prepare: Act = Box::new(move |scene| {
                    scene.set_faulty(true);
                    let client = scene.client(|_| {});
                    let request = scene.request(hashed);
                    block_on(fetched(&client, &request, Way::Keep)).expect_err("cut");
                });
                let fault: Act = Box::new(move |scene| {
                    let root = scene.sandbox.cache();
                    let found = files(&root, part);
                    assert_eq!(found.len(), 1, "{found:?}");
                    harm(&root, &found[0], what, &root.join("CACHEDIR.TAG"));
                });
                let new = Case::new(name, way, good);
                run(&Case { hashed, faulty: cut, prepare, fault, ..new }, &mut tally);
            }
        }
    }
    tally.report("damaged partial downloads");
    assert_eq!(tally.errors(), 0, "the origin is sound, so every request can be answered");
}

#[test]
fn random_damage_to_random_files_is_survived() {
    let mut tally = Tally::default();
    for seed in 1..=rounds(40) {
        let mut draw = Draw::new(seed);
        let stand = [Stand::Fresh, Stand::Stale, Stand::ByDigest][draw_index(&mut draw, 3)];
        let way = [Way::Keep, Way::Read][draw_index(&mut draw, 2)];
        let hashed = stand == Stand::ByDigest;
        let prepare: Act = Box::new(move |scene| scene.store_both(hashed));
        let fault: Act = Box::new(move |scene| {
            let mut draw = Draw::new(seed ^ 0xface);
            let root = scene.sandbox.cache();
            for _ in 0..=draw.below(4) {
                let found = files_below(&root);
                if found.is_empty() {
                    return;
                }
                let path = &found[draw_index(&mut draw, found.len())];
                let other = &found[draw_index(&mut draw, found.len())];
                let what = match draw_index(&mut draw, HARMS.len() + 4) {
                    index if index < HARMS.len() => HARMS[index],
                    _ => Harm::Flip(draw.below(1001)),
                };
                let whole = path.metadata().is_ok_and(|metadata| metadata.is_file());
                if whole && path != other && other.is_file() {
                    harm(&root, path, what, other);
                }
            }
        });
        let name = format!("seed {seed} {stand:?} {way:?}");
        run(&Case { hashed, prepare, fault, ..Case::new(name, way, origin(stand)) }, &mut tally);
    }
    tally.report("random damage");
    assert_eq!(tally.errors(), 0, "the origin is sound, so every request can be answered");
}

fn draw_index(draw: &mut Draw, length: usize) -> usize {
    usize::try_from(draw.below(length as u64)).expect("small")
}

#[test]
fn the_command_survives_damage_as_the_library_does() {
    let mut tally = Tally::default();
    for part in [Part::Blob, Part::Record, Part::Locks] {
        for what in [Harm::Flip(500), Harm::Cut(500), Harm::Directory, Harm::NoDirectory] {
            run(&case(part, what, Stand::Fresh, Way::Command), &mut tally);
        }
    }
    tally.report("damaged entries, by command");
    assert_eq!(tally.errors(), 0, "the origin is sound, so every request can be answered");
}
