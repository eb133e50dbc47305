//! Trees: what counts as whole, what damage does, and two processes at one tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rewarm_store::{Digest, Store, Tree, Verdict};

use crate::support::{leftovers, put, store};

/// Something that befalls a tree at that path.
type Damage = fn(&Path);

fn unpack(store: &Store, source: &Digest, text: &str) -> Tree {
    let writer = match store.tree_writer(source).expect("a tree can be started") {
        Ok(writer) => writer,
        Err(tree) => return tree,
    };
    fs::create_dir(writer.path().join("pkg")).expect("mkdir");
    fs::write(writer.path().join("pkg/a.py"), text).expect("write");
    fs::write(writer.path().join("tool"), "#!/bin/sh\n").expect("write");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(writer.path().join("tool"), executable).expect("chmod");
    let files = vec![
        ("tool".to_owned(), Digest::of("#!/bin/sh\n")),
        ("pkg/a.py".to_owned(), Digest::of(text)),
    ];
    writer.commit(files).expect("a small tree")
}

fn set_back(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).expect("utimes");
}

#[test]
fn tree_is_found_as_it_was_unpacked() {
    let (_dir, store) = store();
    let source = put(&store, b"wheel");
    assert!(store.tree(&source).is_none());
    let tree = unpack(&store, &source, "x = 1\n");
    assert_eq!(fs::read(tree.path.join("pkg/a.py")).unwrap(), b"x = 1\n");
    let found = store.tree(&source).unwrap();
    assert_eq!((found.path, &found.files), (tree.path, &tree.files));
    let paths: Vec<_> = found.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["pkg/a.py", "tool"]);
    assert!(store.tree_writer(&source).unwrap().is_err(), "it need not be unpacked again");
    assert!(leftovers(&store).is_empty());
}

#[test]
fn links_of_a_tree_are_judged_by_where_they_lead() {
    let (_dir, store) = store();
    let source = put(&store, b"package");
    let unpack = || {
        let writer = store.tree_writer(&source).expect("a tree").expect("a new one");
        std::os::unix::fs::symlink("nowhere", writer.path().join("link")).expect("symlink");
        std::os::unix::fs::symlink(".", writer.path().join("here")).expect("symlink");
        let files = [("link", "nowhere"), ("here", ".")];
        let files = files.map(|(path, target)| (path.to_owned(), Digest::of(target)));
        writer.commit(files.to_vec()).expect("a small tree").path
    };
    let path = unpack();
    let relink = |target: &str| {
        fs::remove_file(path.join("link")).expect("it is there");
        std::os::unix::fs::symlink(target, path.join("link")).expect("symlink");
    };
    assert!(store.tree(&source).is_some());
    relink("nowhere");
    assert!(store.tree(&source).is_some(), "the same link made anew");
    for item in store.verify_items(&[]).expect("a readable store") {
        assert_eq!(store.verify_item(&item).expect("readable"), Verdict::Sound, "{item:?}");
    }
    relink("nowherE");
    assert!(store.tree(&source).is_none());
    unpack();
    fs::remove_file(path.join("link")).expect("it is there");
    fs::write(path.join("link"), "nowhere").expect("write");
    assert!(store.tree(&source).is_none(), "a file with the text of the link");
}

#[test]
fn files_and_directories_of_a_tree_carry_the_bits_of_the_umask() {
    let (dir, store) = store();
    let probe = dir.path().join("probe");
    fs::create_dir(&probe).unwrap();
    fs::write(probe.join("file"), "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let tree = unpack(&store, &put(&store, b"wheel"), "x = 1\n");
    assert_eq!(mode(&tree.path), mode(&probe));
    assert_eq!(mode(&tree.path.join("pkg")), mode(&probe));
    assert_eq!(mode(&tree.path.join("pkg/a.py")), mode(&probe.join("file")));
    assert_eq!(mode(&tree.path.join("tool")), 0o755);
    assert_eq!(mode(tree.path.parent().unwrap()), 0o700);
}

#[test]
fn edited_removed_or_less_permitted_file_makes_the_tree_a_miss() {
    let damages: [(&str, Damage); 4] = [
        ("edited", |tree| fs::write(tree.join("pkg/a.py"), "x = 2\n").expect("write")),
        ("removed", |tree| fs::remove_file(tree.join("pkg/a.py")).expect("unlink")),
        ("chmod", |tree| {
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(tree.join("tool"), mode).expect("chmod");
        }),
        ("gone", |tree| fs::remove_dir_all(tree).expect("rmdir")),
    ];
    for (name, damage) in damages {
        let (_dir, store) = store();
        let source = put(&store, b"wheel");
        damage(&unpack(&store, &source, "x = 1\n").path);
        assert!(store.tree(&source).is_none(), "{name}");
        let again = unpack(&store, &source, "x = 1\n");
        assert_eq!(fs::read(again.path.join("pkg/a.py")).unwrap(), b"x = 1\n", "{name}");
        assert!(store.tree(&source).is_some(), "{name}");
        assert!(leftovers(&store).is_empty(), "{name}");
    }
}

#[test]
fn touched_or_linked_file_is_no_damage() {
    let (dir, store) = store();
    let source = put(&store, b"wheel");
    let tree = unpack(&store, &source, "x = 1\n");
    set_back(&tree.path.join("pkg/a.py"));
    fs::hard_link(tree.path.join("pkg/a.py"), dir.path().join("linked")).unwrap();
    assert!(store.tree(&source).is_some());
}

#[test]
fn a_reader_of_a_damaged_tree_keeps_a_path_while_it_is_replaced() {
    let (_dir, store) = store();
    let source = put(&store, b"wheel");
    let held = unpack(&store, &source, "x = 1\n");
    fs::write(held.path.join("pkg/a.py"), "x = 2\n").unwrap();
    assert!(store.tree(&source).is_none());
    assert!(held.path.join("tool").exists(), "the directory stays until it is replaced");
    unpack(&store, &source, "x = 1\n");
    assert_eq!(fs::read(held.path.join("pkg/a.py")).unwrap(), b"x = 1\n");
}

#[test]
fn a_late_look_at_old_damage_does_not_drop_the_new_tree() {
    let (_dir, store) = store();
    let source = put(&store, b"wheel");
    let path = unpack(&store, &source, "x = 1\n").path;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    fs::write(path.join("pkg/a.py"), "x = 2\n").ok();
                    let tree = unpack(&store, &source, "x = 1\n");
                    assert!(tree.path.join("tool").exists());
                }
            });
        }
    });
    unpack(&store, &source, "x = 1\n");
    assert!(leftovers(&store).is_empty());
}

#[test]
fn dropped_writer_leaves_no_tree() {
    let (_dir, store) = store();
    let source = put(&store, b"wheel");
    let writer = store.tree_writer(&source).unwrap().unwrap();
    fs::write(writer.path().join("a"), "a").unwrap();
    drop(writer);
    assert!(store.tree(&source).is_none());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn writer_that_forgot_a_file_is_an_error_and_leaves_no_tree() {
    let (_dir, store) = store();
    let source = put(&store, b"wheel");
    let writer = store.tree_writer(&source).unwrap().unwrap();
    let error = writer.commit(vec![("missing".into(), Digest::of(""))]).unwrap_err();
    assert!(error.path.ends_with("missing"));
    assert!(store.tree(&source).is_none());
    assert!(leftovers(&store).is_empty());
}

#[test]
fn record_below_and_directory_above_are_not_taken_for_one_tree() {
    let (dir, lower) = store();
    let source = put(&lower, b"wheel");
    unpack(&lower, &source, "x = 1\n");
    let upper = Store::over(&dir.path().join("upper"), lower.root()).unwrap();
    let below = upper.tree(&source).unwrap();
    assert!(below.path.starts_with(lower.root()));
    let planted = upper.root().join(below.path.strip_prefix(lower.root()).unwrap());
    fs::create_dir_all(&planted).unwrap();
    assert_eq!(upper.tree(&source).unwrap().path, below.path);
}
