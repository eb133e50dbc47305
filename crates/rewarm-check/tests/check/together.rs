//! Several processes at once, and one that is killed.
//!
//! A process is this test binary again, told by variables to answer one request.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use rewarm_check::Reuse;
use rewarm_store::Store;

use crate::faults::rest;
use crate::support::{Bench, must, now};

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
    };
    let store = Store::open(store.as_ref()).expect("store");
    let report = rewarm_check::check(&store, &request, now(), &|_| {}).expect("an answer");
    std::io::stderr().write_all(&report.stdout).expect("answer written");
}

/// Starts a process that checks the bench with some arguments.
fn start(bench: &Bench, arguments: &[&str]) -> Child {
    let home = bench.base().join("home");
    let python = bench.venv.join("bin/python");
    let paths = [bench.store.root(), &bench.project, &python, &home];
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
fn checks_at_once_over_two_option_sets_do_not_mix() {
    let mut bench = Bench::sample();
    let sets: [&[&str]; 2] = [&["."], &[".", "--no-strict-optional", "--pretty"]];
    for round in 0..3 {
        bench.write("pkg/d.py", &format!("y: int = None\nz: str = {round}\n"));
        let expected = sets.map(|set| {
            bench.arguments = set.iter().map(OsString::from).collect();
            bench.plain().0
        });
        let mut running: Vec<_> = (0..4).map(|n| (n % 2, start(&bench, sets[n % 2]))).collect();
        for (set, child) in &mut running {
            assert_eq!(answer(child), expected[*set], "round {round}");
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
