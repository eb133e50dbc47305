//! A `rewarm check` that is killed leaves no mypy behind that goes on alone.

use std::io::Read;
use std::process::Stdio;

use crate::support::{sandbox, tool};

/// A plugin that says on a pipe that it has started, and, much later, that it still runs.
const SLOW: &str = "import time\nfrom mypy.plugin import Plugin\n\n\
    with open('pipe', 'wb', buffering=0) as pipe:\n    pipe.write(b'started')\n    \
    time.sleep(60)\n    pipe.write(b', went on alone')\n\n\
    def plugin(version):\n    return Plugin\n";

/// Kills a check with these arguments while mypy loads a plugin; mypy has to end.
fn killed(args: &[&str]) {
    let sandbox = sandbox();
    let environment = rewarm_testkit::tools::environment();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['a.py']\nplugins = ['slow.py']\n");
    sandbox.write("a.py", "");
    sandbox.write("slow.py", SLOW);
    tool(&sandbox, "mkfifo", &["pipe"]).expect_code(0);
    let mut command = sandbox.command([&["check"], args].concat());
    command.env("VIRTUAL_ENV", &environment).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let mut pipe = std::fs::File::open(sandbox.project().join("pipe")).expect("mypy runs");
    let mut said = [0; 7];
    pipe.read_exact(&mut said).expect("mypy runs");
    child.kill().expect("it runs");
    child.wait().expect("an end");
    // The end of a pipe is when nobody has it open any more.
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("an end");
    assert_eq!(rest, "", "{args:?}");
}

#[test]
fn mypy_ends_with_a_killed_check() {
    killed(&["--no-worker"]);
}

#[test]
fn run_of_a_worker_ends_with_a_killed_check() {
    killed(&[]);
}

#[test]
fn mypy_that_is_run_as_it_is_ends_with_a_killed_check() {
    killed(&["--", "--junit-xml", "report.xml"]);
}

#[test]
fn purge_ends_the_workers() {
    let sandbox = sandbox();
    sandbox.write("a.py", "");
    let environment = rewarm_testkit::tools::environment();
    let mut command = sandbox.command(["check", "a.py"]);
    sandbox.output(command.env("VIRTUAL_ENV", &environment)).expect_code(0);
    let sockets = || {
        let entries = std::fs::read_dir(sandbox.cache().join("workers")).expect("a directory");
        entries.count()
    };
    if sockets() == 0 {
        eprintln!("SKIPPED: there is no worker, because the environment is too new");
    }
    sandbox.run(["cache", "purge", "--yes"]).expect_code(0);
    assert_eq!(sockets(), 0);
}
