//! A `rewarm check` that is killed leaves no mypy behind that goes on alone.

use std::process::Stdio;

use crate::support::{SlowPlugin, sandbox};

/// Kills a check with these arguments while mypy loads a plugin; mypy has to end.
fn killed(args: &[&str]) {
    let sandbox = sandbox();
    let environment = rewarm_testkit::tools::environment();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['a.py']\nplugins = ['slow.py']\n");
    sandbox.write("a.py", "");
    let plugin = SlowPlugin::write(&sandbox);
    let mut command = sandbox.command([&["check"], args].concat());
    command.env("VIRTUAL_ENV", &environment).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let started = plugin.started();
    child.kill().expect("it runs");
    child.wait().expect("an end");
    started.assert_ended();
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
