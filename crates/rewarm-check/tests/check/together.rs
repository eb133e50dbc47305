//! Several processes at once, and one that is killed.
//!
//! A process is this test binary again, told by variables to answer one request.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rewarm_check::Reuse;
use rewarm_store::Store;

use crate::faults::rest;
use crate::support::{Bench, must, now, rounds};

const WORK: &str = "REWARM_TEST_WORK";

/// Answers the request in the variable, if there is one: store, project, interpreter, arguments.
#[test]
fn worker() {
    #[expect(clippy::disallowed_methods, reason = "a worker is told what to do")]
    let Some(work) = std::env::var_os(WORK) else { return };
    let work = work.into_string().expect("text");
    let fields: Vec<&str> = work.split('\n').collect();
    let [store, project, python, home, arguments @ ..] = &fields[..] else { panic!("{work}") };
    let request = rewarm_check::Request {
        project_root: project.into(),
        cwd: project.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        default_target: None,
        python: python.into(),
        variables: vec![("HOME".into(), home.into()), ("PATH".into(), "/usr/bin:/bin".into())],
        force: false,
        extra_inputs: Vec::new(),
        worker: None,
    };
    let store = Store::open(store.as_ref()).expect("store");
    let report = rewarm_check::check(&store, &request, now(), &|_| {}).expect("an answer");
    std::io::stderr().write_all(&report.stdout).expect("answer written");
}

/// Starts a process that checks the bench with some arguments.
fn start(bench: &Bench, arguments: &[&str]) -> Child {
    start_in(bench, &bench.project, arguments)
}

/// Starts a process that checks one of several projects.
fn start_in(bench: &Bench, project: &Path, arguments: &[&str]) -> Child {
    let home = bench.base().join("home");
    let python = bench.venv.join("bin/python");
    let paths = [bench.store.root(), project, &python, &home];
    let mut work: Vec<_> = paths.map(|path| path.to_str().expect("text")).to_vec();
    work.extend(arguments);
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "together::worker", "--nocapture", "--quiet"])
        .env(WORK, work.join("\n"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process")
}

fn answer(child: &mut Child) -> String {
    let text = rest(child.stderr.take().expect("a pipe"));
    child.wait().expect("an end");
    text
}

#[test]
fn checks_at_once_over_two_trees_and_two_option_sets_do_not_mix() {
    let mut bench = Bench::sample();
    let sets: [&[&str]; 2] = [&["."], &[".", "--no-strict-optional", "--pretty"]];
    let trees = [bench.project.clone(), bench.base().join("other")];
    must(Command::new("cp").arg("-r").args(&trees));
    for round in 0..rounds(1) {
        let mut running = Vec::new();
        let mut expected = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            let text = format!("y: int = None\nz: str = {}\n", (round + index) % 3);
            crate::support::write(&tree.join("pkg/d.py"), &text);
            let text = ["return b.two()", "return ''"][(round / 2 + index) % 2];
            let text = format!("from pkg import b\n\ndef one() -> int:\n    {text}\n");
            crate::support::write(&tree.join("pkg/a.py"), &text);
            for set in sets {
                bench.arguments = set.iter().map(OsString::from).collect();
                bench.cwd = tree.clone();
                expected.push((tree, set, bench.plain().0));
            }
        }
        for _ in 0..2 {
            let all = expected.iter();
            running.extend(all.map(|(tree, set, text)| (start_in(&bench, tree, set), text)));
        }
        for (child, text) in &mut running {
            assert_eq!(answer(child), **text, "round {round}");
        }
    }
}

#[test]
fn check_that_is_killed_half_way_leaves_nothing_wrong() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    // The plugin waits at the pipe if there is one: the run is half way when the other end opens.
    bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['plugin.py']\n");
    bench.write(
        "plugin.py",
        "import os\nfrom mypy.plugin import Plugin\nclass P(Plugin):\n    \
         def get_type_analyze_hook(self, name):\n        \
         if os.path.exists('gate'):\n            open('gate').read()\n\
         def plugin(version):\n    return P\n",
    );
    let gate = bench.project.join("gate");
    must(Command::new("mkfifo").arg(&gate));
    let mut child = start(&bench, &["."]);
    let open = std::fs::File::options().write(true).open(&gate).expect("mypy is at the gate");
    child.kill().expect("killed");
    child.wait().expect("an end");
    std::fs::remove_file(&gate).expect("gate removed");
    drop(open);
    bench.write("pkg/d.py", "y: int = ''\n");
    let report = bench.miss("the run after the killed one");
    assert!(matches!(report.reuse, Reuse::Ran { .. }));
    bench.hit_again("nothing changed");
}
