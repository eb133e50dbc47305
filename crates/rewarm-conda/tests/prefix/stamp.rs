//! When a prefix counts as up to date without a look at its records.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewarm_conda::prefix::{Outdated, STAMP_FILE, is_current, note, remove};
use rewarm_store::Digest;
use rewarm_testkit::conda::{CondaPackage, Format};

use crate::support::{Fixture, Result, python};

/// A moment at which everything that a test wrote has long been written.
fn later() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1 << 34)
}

fn request() -> Digest {
    Digest::of("default")
}

/// A prefix that was installed and noted, with the lock file it was made from.
fn noted() -> Result<(Fixture, PathBuf)> {
    let fixture = Fixture::new()?;
    let module = CondaPackage::python("module", "1").archive(Format::Conda);
    fixture.install(&[python("3.11.5"), module])?;
    let lock = fixture.path("pixi.lock");
    fs::write(&lock, "lock")?;
    note(&fixture.prefix(), &request(), &[(lock.clone(), Digest::of("lock"))], later())?;
    Ok((fixture, lock))
}

fn touch(path: &std::path::Path) -> Result {
    Ok(fs::File::open(path)?.set_modified(UNIX_EPOCH + Duration::from_secs(7))?)
}

#[test]
fn what_was_noted_is_current_also_after_a_touch() -> Result {
    let (fixture, lock) = noted()?;
    let prefix = fixture.prefix();
    for _ in 0..2 {
        assert_eq!(is_current(&prefix, &request(), later()), Ok(()));
        touch(&lock)?;
        touch(&prefix.join("bin"))?;
        touch(&prefix.join("conda-meta"))?;
        touch(&prefix.join("conda-meta/pixi"))?;
        fs::create_dir_all(prefix.join("lib/python3.11/site-packages/__pycache__"))?;
        fs::write(fixture.path("elsewhere"), "")?;
    }
    Ok(())
}

#[test]
fn each_change_is_seen() -> Result {
    type Change = fn(&Fixture, &std::path::Path) -> std::io::Result<()>;
    let changes: [(&str, Change); 9] = [
        ("pixi.lock", |_, lock| fs::write(lock, "locK")),
        ("pixi.lock", |_, lock| fs::remove_file(lock)),
        ("conda-meta", |f, _| fs::remove_file(f.prefix().join("conda-meta/module-1-py_0.json"))),
        ("conda-meta", |f, _| {
            let record = f.prefix().join("conda-meta/module-1-py_0.json");
            let text = fs::read_to_string(&record)?;
            fs::remove_file(&record)?;
            fs::write(record, text + "\n")
        }),
        (".pixi-environment-fingerprint", |f, _| {
            let path = f.prefix().join("conda-meta/.pixi-environment-fingerprint");
            fs::File::options().write(true).open(path)?.write_all(b"pixi:installing!")
        }),
        ("bin", |f, _| fs::remove_file(f.prefix().join("bin/python3.11"))),
        ("lib", |f, _| fs::remove_dir_all(f.prefix().join("lib"))),
        ("site-packages", |f, _| {
            fs::create_dir(f.prefix().join("lib/python3.11/site-packages/new"))
        }),
        ("bin", |f, _| fs::write(f.prefix().join("bin/new"), "")),
    ];
    for (number, (name, change)) in changes.into_iter().enumerate() {
        let (fixture, lock) = noted()?;
        change(&fixture, &lock)?;
        match is_current(&fixture.prefix(), &request(), later()) {
            Err(Outdated::Changed(path)) => {
                // What is deeper shows in what is above or below it, whichever comes first.
                let is_named = path.ends_with(name) || path.to_string_lossy().contains(name);
                assert!(is_named, "{number}: {}", path.display());
            }
            other => panic!("{number}, {name}: {other:?}"),
        }
    }
    Ok(())
}

#[test]
fn another_request_a_moved_prefix_and_a_damaged_stamp_are_seen() -> Result {
    let (fixture, _) = noted()?;
    let prefix = fixture.prefix();
    assert_eq!(is_current(&prefix, &Digest::of("test"), later()), Err(Outdated::Request));
    let moved = fixture.path("moved");
    fs::rename(&prefix, &moved)?;
    assert_eq!(is_current(&moved, &request(), later()), Err(Outdated::Moved));
    fs::rename(&moved, &prefix)?;
    let path = prefix.join(STAMP_FILE);
    let sound = fs::read(&path)?;
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes)?;
        assert_eq!(is_current(&prefix, &request(), later()), Err(Outdated::Unknown), "{at}");
    }
    fs::remove_file(&path)?;
    assert_eq!(is_current(&prefix, &request(), later()), Err(Outdated::Unknown));
    Ok(())
}

#[test]
fn a_lock_that_changed_while_it_was_read_is_not_taken_for_the_one_that_was_read() -> Result {
    let (fixture, lock) = noted()?;
    let prefix = fixture.prefix();
    note(&prefix, &request(), &[(lock.clone(), Digest::of("what was read"))], later())?;
    assert_eq!(is_current(&prefix, &request(), later()), Err(Outdated::Changed(lock)));
    Ok(())
}

#[test]
fn a_removed_prefix_is_gone_with_all_that_was_in_it() -> Result {
    let (fixture, _) = noted()?;
    let prefix = fixture.prefix();
    fs::write(prefix.join("bin/mine"), "")?;
    std::os::unix::fs::symlink(fixture.path("channel"), prefix.join("link"))?;
    remove(&prefix)?;
    assert!(!prefix.exists());
    assert!(fixture.path("channel").exists(), "a link was followed");
    Ok(())
}
