//! The way of an answer: unknown, known, moved, incremental.

use rewarm_check::Reuse;

use crate::support::Bench;

#[test]
fn second_check_replays_the_first() {
    let bench = Bench::sample();
    let report = bench.miss("nothing is known");
    assert_eq!(report.exit_code, 1);
    assert_eq!(report.files, 5);
    bench.hit("nothing changed");
    assert!(!bench.project.join(".mypy_cache").exists(), "no litter in the project");
}

#[test]
fn moved_checkout_replays_without_mypy() {
    let mut bench = Bench::sample();
    bench.miss("nothing is known");
    bench.moved("elsewhere");
    bench.hit("only the directory differs");
}

#[test]
fn edit_rechecks_what_depends_on_it() {
    let bench = Bench::sample();
    bench.write("pkg/c.py", "import third\n\nx: str = third.f(1)\n");
    let cold = bench.miss("nothing is known");
    assert_eq!(cold.exit_code, 0);
    bench.write("pkg/d.py", "y: int = 2\n");
    let report = bench.miss("a source was edited");
    let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else {
        panic!("mypy has to run");
    };
    assert!(seeded);
    assert_eq!(modules_rechecked, Some(1));
    assert_eq!(report.differs, ["file `pkg/d.py`"]);
}
