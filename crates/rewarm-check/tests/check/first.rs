//! The way of an answer: unknown, known, moved, incremental.

use std::sync::Mutex;

use rewarm_check::{Event, Reuse, WorkerOptions};

use crate::support::{Bench, now};

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

#[test]
fn progress_grows_up_to_the_modules_that_were_checked() {
    let mut bench = Bench::sample();
    let directory = bench.base().join("workers");
    let patience = std::time::Duration::from_secs(120);
    for worker in [None, Some(WorkerOptions { directory, idle: patience, patience })] {
        bench.worker = worker;
        bench.write("pkg/e.py", &format!("x = {:?}\n", bench.worker.is_some()));
        let (heard, totals) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let hear = |event| {
            if let Event::Progress { modules, of } = event {
                heard.lock().expect("no panic").push(modules);
                assert!(of.is_none_or(|all| all >= modules), "{modules} of {of:?}");
                totals.lock().expect("no panic").extend(of);
            }
        };
        let report = rewarm_check::check(&bench.store, &bench.request(), now(), &hear);
        let Reuse::Ran { modules_rechecked, .. } = report.expect("an answer").reuse else {
            panic!("an edit is a miss");
        };
        let heard = heard.into_inner().expect("no panic");
        assert!(heard.is_sorted_by(|earlier, later| earlier < later), "{heard:?}");
        let last = heard.last().map(|modules| usize::try_from(*modules).expect("small"));
        assert_eq!(last, modules_rechecked);
        // After an edit nobody knows before the end.
        let totals = totals.into_inner().expect("no panic");
        assert_eq!(totals.is_empty(), bench.worker.is_some(), "{totals:?}");
    }
}

#[test]
fn another_terminal_is_no_reason_to_check_modules_again() {
    let mut bench = Bench::sample();
    bench.write("pkg/e.py", "x: int = ''\n");
    bench.arguments.push("--pretty".into());
    bench.miss("nothing is known");
    for (name, value) in [
        ("TERM", "xterm-256color"),
        ("COLUMNS", "40"),
        ("FORCE_COLOR", "1"),
        ("MYPY_FORCE_TERMINAL_WIDTH", "60"),
        ("NO_COLOR", "1"),
    ] {
        bench.set(name, value);
        let report = bench.miss(name);
        let Reuse::Ran { seeded, modules_rechecked, .. } = report.reuse else { panic!("{name}") };
        assert_eq!((seeded, modules_rechecked), (true, Some(0)), "{name}");
    }
}
