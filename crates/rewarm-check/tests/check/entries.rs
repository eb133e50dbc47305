//! Modules that were checked once are not checked again: in another checkout, after a branch round
//! trip, in a mix of branches, with nothing but the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rewarm_check::Reuse;
use rewarm_store::Store;

use crate::support::{Bench, files, flip, packs};

/// The answer is right, and mypy checked this many modules for it.
#[track_caller]
fn rechecks(bench: &Bench, count: usize, claim: &str) {
    let report = bench.checked();
    let Reuse::Ran { seeded, modules_rechecked, unstored, .. } = report.reuse else {
        panic!("{claim}: replayed");
    };
    assert_eq!((seeded, modules_rechecked, unstored), (true, Some(count), None), "{claim}");
}

/// A package in which everything depends on `base`, without an error.
fn chain() -> Bench {
    let bench = Bench::new();
    bench.install("third", "1.0", &[("third/__init__.py", "def f(x: int) -> str: ...\n")]);
    bench.write("pkg/__init__.py", "");
    bench.write("pkg/base.py", "import third\n\ndef one() -> str:\n    return third.f(1)\n");
    bench.write("pkg/left.py", "from pkg import right\nfrom pkg.base import one\n\nx = one()\n");
    bench.write("pkg/right.py", "from pkg import left\nfrom pkg.base import one\n\ny = one()\n");
    bench.write("pkg/leaf.py", "z: int = 1\n");
    bench
}

#[test]
fn another_checkout_checks_no_module_again() {
    let mut bench = chain();
    bench.miss("nothing is known");
    bench.moved("elsewhere");
    bench.force = true;
    rechecks(&bench, 0, "only the directory differs");
    bench.write("pkg/leaf.py", "z: int = 2\n");
    rechecks(&bench, 1, "one module was edited here");
}

#[test]
fn many_edits_leave_few_files() {
    let bench = chain();
    bench.miss("nothing is known");
    for number in 0..24 {
        bench.write("pkg/leaf.py", &format!("z: int = {number}\nw: str = {number}\n"));
        let report = bench.check();
        assert!(matches!(report.reuse, Reuse::Ran { modules_rechecked: Some(1), .. }), "{number}");
        let lasting = packs(bench.store.root());
        assert!((1..=10).contains(&lasting.len()), "{lasting:?}");
    }
    bench.write("pkg/base.py", "def one() -> str: ...\n");
    rechecks(&bench, 3, "the module and a cycle of two that depends on it");
    bench.remove("pkg/leaf.py");
    bench.checked();
}

#[test]
fn branch_round_trip_checks_no_module_again() {
    let mut bench = chain();
    bench.miss("nothing is known");
    let (one, other) = ("def one() -> str: ...\n", "def one() -> int: ...\n");
    for text in [one, other] {
        bench.write("pkg/base.py", text);
        bench.miss("a new branch");
    }
    bench.force = true;
    for text in [one, other, one] {
        bench.write("pkg/base.py", text);
        rechecks(&bench, 0, "a branch that was checked before");
    }
}

#[test]
fn mix_of_branches_checks_what_is_new_in_it() {
    let bench = chain();
    bench.miss("nothing is known");
    bench.write("pkg/base.py", "def one() -> int: ...\n");
    bench.miss("one branch");
    bench.write("pkg/base.py", "import third\n\ndef one() -> str:\n    return third.f(1)\n");
    bench.write("pkg/leaf.py", "z: int = 2\n");
    rechecks(&bench, 1, "another branch");
    bench.write("pkg/base.py", "def one() -> int: ...\n");
    rechecks(&bench, 0, "both together");
}

/// The records of stored modules, by their paths in the store.
fn stored(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |path: &PathBuf| path.strip_prefix(root).expect("below").to_owned();
    let is_module = |path: &PathBuf| {
        ["mypy-module-v2", "mypy-batch-v1"].iter().any(|area| relative(path).starts_with(area))
    };
    let found = files(root).into_iter().filter(is_module);
    found.map(|path| (relative(&path), std::fs::read(&path).expect("record"))).collect()
}

#[test]
fn first_check_leaves_few_records() {
    let bench = chain();
    bench.write("pkg/leaf.py", "import yaml\nimport third\nimport asyncio\nz: int = third.f(1)\n");
    let Reuse::Ran { modules_rechecked: Some(modules), .. } = bench.checked().reuse else {
        panic!("nothing is known")
    };
    let found = stored(bench.store.root());
    assert!(modules > 100, "{modules} modules were checked");
    assert!(found.len() <= 2 + modules / 50, "{} records of {modules} modules", found.len());
}

#[test]
fn modules_of_a_damaged_batch_are_checked_again() {
    let mut bench = chain();
    bench.miss("nothing is known");
    bench.force = true;
    let slots = bench.store.root().join("slots-v1");
    std::fs::remove_dir_all(&slots).expect("slots");
    rechecks(&bench, 0, "every module is known beside the directory of the last run");
    for path in stored(bench.store.root()).keys() {
        flip(&bench.store.root().join(path));
    }
    std::fs::remove_dir_all(&slots).expect("slots");
    let report = bench.checked();
    assert!(matches!(report.reuse, Reuse::Ran { seeded: false, .. }), "{:?}", report.reuse);
    std::fs::remove_dir_all(&slots).expect("slots");
    rechecks(&bench, 0, "what was checked again is known again");
}

#[test]
fn entries_of_two_checkouts_are_equal_to_the_byte() {
    let mut bench = chain();
    bench.write("pkg/leaf.py", "import yaml\nimport third\nz: int = third.f(1)\n");
    let mut stores = Vec::new();
    for place in ["first", "second/deeper"] {
        bench.moved(place);
        bench.store = Store::open(&bench.base().join("store")).expect("store");
        bench.check();
        stores.push(stored(bench.store.root()));
    }
    let length: usize = stores[0].values().map(Vec::len).sum();
    assert!(length > 100_000, "{length} bytes of modules are stored");
    let names: [Vec<_>; 2] = [0, 1].map(|index| stores[index].keys().collect());
    assert_eq!(names[0], names[1]);
    assert!(stores[0] == stores[1], "some entry differs");
}

#[test]
fn second_project_checks_no_module_of_the_environment_again() {
    let mut bench = Bench::sample();
    let uses = "import argparse, json, third\nx: int = third.f(json.loads('1'))\n";
    let manifest = |name: &str| {
        format!("[project]\nname = '{name}'\n[tool.ruff]\n[tool.mypy]\nstrict = true\n")
    };
    bench.write("pyproject.toml", &manifest("one"));
    bench.write("pkg/uses.py", uses);
    bench.miss("nothing is known");
    bench.moved("other");
    bench.remove("pkg");
    bench.write("pyproject.toml", &manifest("two"));
    bench.write("app/main.py", uses);
    let report = bench.miss("another project with the same environment");
    let Reuse::Ran { modules_rechecked, .. } = report.reuse else { panic!("mypy has to run") };
    // `app` and `app.main`.
    assert!(modules_rechecked.is_some_and(|count| count <= 2), "{:?}", report.reuse);
    bench.write("pyproject.toml", &manifest("two").replace("strict", "pretty"));
    let report = bench.miss("other settings");
    let Reuse::Ran { modules_rechecked, .. } = report.reuse else { panic!("mypy has to run") };
    assert!(modules_rechecked.is_some_and(|count| count > 10), "{:?}", report.reuse);
}
