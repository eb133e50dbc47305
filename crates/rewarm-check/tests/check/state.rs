//! The state of a check changes with what is known before a run, and with nothing else.

use std::fs;

use rewarm_check::{Checker, Program, State};

use crate::support::{Bench, now};

fn of(bench: &Bench, program: Option<&Program>) -> State {
    State::of(&bench.store, program, &bench.request(), now()).expect("a state")
}

/// What differs after a change.
type Step = (fn(&mut Bench), &'static [&'static str]);

/// Every step changes the state, and its differences have these names among them.
fn each(bench: &mut Bench, program: Option<&Program>, steps: &[Step]) {
    for (change, names) in steps {
        let before = of(bench, program);
        assert_eq!(before, of(bench, program), "before {names:?}");
        change(bench);
        let after = of(bench, program);
        assert_ne!(before, after, "{names:?}");
        let differences = after.differences(&before);
        let is_known = |name: &&str| differences.iter().any(|other| other == *name);
        assert!(names.iter().all(is_known), "{names:?} of {differences:?}");
        assert_eq!(names.is_empty(), differences.is_empty(), "{differences:?}");
    }
}

#[test]
fn each_input_that_is_known_before_a_run_changes_it() {
    let steps: [Step; 12] = [
        (|bench| bench.write("pkg/d.py", "y: int = 2\n"), &["file `pkg/d.py`"]),
        (|bench| bench.write("pkg/e.py", ""), &["file `pkg/e.py`"]),
        (|bench| bench.remove("pkg/e.py"), &["file `pkg/e.py`"]),
        (
            |bench| fs::create_dir(bench.project.join("pkg/sub")).expect("directory"),
            &["directory `pkg/sub`"],
        ),
        (|bench| bench.write("pkg/d.pyi", "y: int\n"), &["file `pkg/d.pyi`"]),
        (|bench| bench.arguments.push("--strict".into()), &["arguments"]),
        (|bench| bench.cwd = bench.project.join("pkg"), &["working directory"]),
        (|bench| bench.cwd = bench.project.clone(), &["working directory"]),
        (|bench| bench.set("MYPYPATH", "stubs"), &["variable `MYPYPATH`"]),
        (
            |bench| bench.install("fourth", "1.0", &[("fourth/__init__.py", "")]),
            &["distribution `fourth-1.0.dist-info`"],
        ),
        // A change that was taken back.
        (
            |bench| {
                bench.write("pkg/d.py", "y: int = 3\n");
                bench.write("pkg/d.py", "y: int = 2\n");
            },
            &[],
        ),
        // Times say less than a place in the file system.
        (
            |bench| {
                bench.write("pkg/new", "y: int = 2\n");
                let path = |name| bench.project.join("pkg").join(name);
                fs::rename(path("new"), path("d.py")).expect("renamed");
            },
            &[],
        ),
    ];
    each(&mut Bench::sample(), None, &steps);
    let bench = Bench::sample();
    let before = of(&bench, None);
    bench.write("pyproject.toml", "[tool.mypy]\nstrict = false\n");
    assert!(!of(&bench, None).differences(&before).is_empty());
}

#[test]
fn nothing_else_changes_it() {
    let steps: [fn(&mut Bench); 5] = [
        |bench| bench.write("README.md", "text\n"),
        |bench| bench.write(".hidden/a.py", ""),
        |bench| bench.set("EDITOR", "ed"),
        |bench| bench.force = true,
        // What only a run is seen to read.
        |bench| {
            let path = bench.site().join("third/__init__.py");
            fs::write(path, "def f(x: int) -> int: ...\n").expect("written");
        },
    ];
    let mut bench = Bench::sample();
    let first = of(&bench, None);
    for (number, change) in steps.iter().enumerate() {
        change(&mut bench);
        assert_eq!(first, of(&bench, None), "step {number}");
    }
}

#[test]
fn checker_that_is_a_program_has_its_own() {
    let mut bench = Bench::sample();
    bench.set("PATH", "/usr/bin:/bin");
    let home = rewarm_testkit::tools::checker("ty");
    let executable = home.join("bin/ty");
    let program = Program { checker: Checker::Ty, executable, home: Some(home) };
    let steps: [Step; 4] = [
        (|bench| bench.write("pkg/d.py", "y: int = 2\n"), &["file `pkg/d.py`"]),
        (|bench| bench.write("notes.ipynb", "{}"), &["file `notes.ipynb`"]),
        (|bench| bench.arguments.push("pkg/a.py".into()), &["arguments"]),
        (
            |bench| {
                bench.write("pkg/d.py", "y: int = 3\n");
                bench.write("pkg/d.py", "y: int = 2\n");
            },
            &[],
        ),
    ];
    each(&mut bench, Some(&program), &steps);
}
