//! Several processes at once, and one that is killed.
//!
//! A process is this test binary again, told by variables to answer one request.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rewarm_check::{Event, Reuse};
use rewarm_store::Store;

use crate::faults::rest;
use crate::support::{Bench, must, now, rounds};

const WORK: &str = "REWARM_TEST_WORK";

/// Answers the request in the variable, if there is one: store, project, working directory,
/// interpreter, a file for the id of mypy's process group, variables, an empty line, arguments.
#[test]
fn worker() {
    #[expect(clippy::disallowed_methods, reason = "a worker is told what to do")]
    let Some(work) = std::env::var_os(WORK) else { return };
    let work = work.into_string().expect("text");
    let fields: Vec<&str> = work.split('\n').collect();
    let [store, project, cwd, python, group_file, rest @ ..] = &fields[..] else {
        panic!("{work}")
    };
    let mut parts = rest.split(|field| field.is_empty());
    let variables = parts.next().unwrap_or_default().iter();
    let variables = variables.map(|text| text.split_once('=').expect("a variable"));
    let request = rewarm_check::Request {
        project_root: project.into(),
        cwd: cwd.into(),
        arguments: parts.next().unwrap_or_default().iter().map(OsString::from).collect(),
        default_target: None,
        python: python.into(),
        variables: variables.map(|(name, value)| (name.into(), value.into())).collect(),
        force: false,
        extra_inputs: Vec::new(),
        worker: None,
    };
    let tell = |event| {
        if let Event::Started { group } = event {
            std::fs::write(group_file, group.to_string()).expect("group written");
        }
    };
    let store = Store::open(store.as_ref()).expect("store");
    let report = rewarm_check::check(&store, &request, now(), &tell).expect("an answer");
    std::io::stderr().write_all(&report.stdout).expect("answer written");
}

/// Starts a process that answers the bench's request.
fn start(bench: &Bench) -> Child {
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let python = bench.venv.join("bin/python");
    let group = bench.base().join("group");
    let paths = [bench.store.root(), &bench.project, &bench.cwd, &python, &group];
    let mut work: Vec<_> = paths.map(text).to_vec();
    let variables = bench.variables.iter();
    work.extend(variables.map(|(n, v)| format!("{}={}", n.display(), v.display())));
    work.push(String::new());
    work.extend(bench.arguments.iter().map(|argument| argument.display().to_string()));
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "together::worker", "--nocapture", "--quiet"])
        .env(WORK, work.join("\n"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// Kills a check of the bench in the middle of what it happens to do then, or only its mypy.
pub(crate) fn killed_after(bench: &Bench, time: Duration, only_mypy: bool) {
    let group = bench.base().join("group");
    let _ = std::fs::remove_file(&group);
    let mut child = start(bench);
    std::thread::sleep(time);
    if !only_mypy {
        child.kill().expect("killed");
        child.wait().expect("an end");
    }
    if let Ok(group) = std::fs::read_to_string(&group)
        && let Ok(line) = std::fs::read(format!("/proc/{group}/cmdline"))
        && String::from_utf8_lossy(&line).contains(&*bench.base().to_string_lossy())
    {
        let _ = Command::new("kill").args(["-9", "--", &format!("-{group}")]).status();
    }
    rest(child.stderr.take().expect("a pipe"));
    child.wait().expect("an end");
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
    let mut known = BTreeMap::new();
    for round in 0..rounds(4) {
        let mut running = Vec::new();
        let mut expected = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            // Each tree comes where the other one was, now and then.
            let state = (round + index, (round / 2 + index) % 2);
            let text = format!("y: int = None\nz: str = {}\n", state.0);
            crate::support::write(&tree.join("pkg/d.py"), &text);
            let text = ["return b.two()", "return ''"][state.1];
            let text = format!("from pkg import b\n\ndef one() -> int:\n    {text}\n");
            crate::support::write(&tree.join("pkg/a.py"), &text);
            for set in sets {
                bench.arguments = set.iter().map(OsString::from).collect();
                bench.cwd = tree.clone();
                let plain = known.entry((state, set)).or_insert_with(|| bench.plain().0);
                expected.push((tree, set, plain.clone()));
            }
        }
        for _ in 0..2 {
            for (tree, set, text) in &expected {
                bench.arguments = set.iter().map(OsString::from).collect();
                (bench.project, bench.cwd) = ((*tree).clone(), (*tree).clone());
                running.push((start(&bench), text));
            }
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
    let mut child = start(&bench);
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
