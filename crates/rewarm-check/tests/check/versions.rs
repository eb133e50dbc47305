//! A mypy of another version: what it cannot do for single modules is done for whole answers.

use std::fs;
use std::sync::Mutex;

use rewarm_check::{CheckError, Event, Reuse};

use crate::support::{Bench, answer, now, venv};

/// A bench whose mypy is a copy that can be changed.
fn own_mypy() -> Bench {
    let bench = Bench::sample();
    let mypy = bench.site().join("mypy");
    fs::remove_file(&mypy).expect("a link");
    let source = rewarm_testkit::tools::site_packages(venv()).join("mypy");
    crate::support::must(std::process::Command::new("cp").arg("-r").arg(source).arg(mypy));
    bench
}

/// Checks, compares with plain mypy, and says what the run lacked.
#[track_caller]
fn lacking(bench: &Bench) -> (Reuse, Vec<String>) {
    let heard = Mutex::new(Vec::new());
    let hear = |event| {
        if let Event::Whole { lacks } = event {
            heard.lock().expect("no panic").push(lacks);
        }
    };
    let report = rewarm_check::check(&bench.store, &bench.request(), now(), &hear);
    let report = report.expect("an answer");
    assert_eq!(answer(&report), bench.plain());
    (report.reuse, heard.into_inner().expect("no panic"))
}

#[test]
fn mypy_without_a_name_that_is_needed_is_replayed_as_a_whole() {
    let bench = own_mypy();
    // After mypy itself was imported, which needs the name too.
    let main = bench.site().join("mypy/__main__.py");
    let text = fs::read_to_string(&main).expect("source");
    let hide = "\nimport mypy.cache\n\ndel mypy.cache.CacheMetaEx\n";
    crate::support::write(&main, &format!("{text}{hide}"));
    bench.write("pkg/d.py", "y: int = ''\n");
    for edit in ["", "# one\n", "z: int = ''\n"] {
        bench.write("pkg/e.py", edit);
        let (reuse, lacks) = lacking(&bench);
        assert_eq!(lacks, ["mypy.cache.CacheMetaEx"]);
        let Reuse::Ran { seeded: false, modules_rechecked: None, unstored: None, .. } = reuse
        else {
            panic!("a whole run, and kept: {reuse:?}");
        };
        assert_eq!(lacking(&bench), (Reuse::Replayed, Vec::new()));
    }
}

#[test]
fn mypy_that_is_too_old_is_named_with_the_version_that_is_needed() {
    let bench = Bench::sample();
    let site = bench.site();
    let info = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("mypy-");
    let entries = fs::read_dir(&site).expect("packages").map(|entry| entry.expect("entry"));
    let known = entries.into_iter().find(info).expect("mypy is installed").path();
    for (version, is_too_old) in [("0.812", true), ("0.910", false), ("3.0.dev0", false)] {
        let named = site.join(format!("mypy-{version}.dist-info"));
        fs::rename(&known, &named).expect("another version");
        match bench.try_check() {
            Err(error @ CheckError::OldMypy { .. }) => {
                assert!(is_too_old, "{version}");
                let text = error.to_string();
                assert!(
                    text.contains("mypy 0.812 ") && text.contains("0.910 or a later"),
                    "{text}"
                );
            }
            other => assert!(!is_too_old && other.is_ok(), "{version}: {other:?}"),
        }
        fs::rename(&named, &known).expect("the version of before");
    }
}
