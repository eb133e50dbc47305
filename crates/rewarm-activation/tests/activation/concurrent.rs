//! Several processes that share one record.

use std::process::{Child, Command, Stdio};

use crate::support::{Workspace, env};

const WORKERS: u32 = 6;
const CALLERS_EACH: u32 = 2;

/// Callers differ in a variable on which the activation depends.
fn caller(number: u32) -> rewarm_activation::Variables {
    env(&[("PATH", "/usr/bin:/bin"), ("CALLER", number.to_string().as_str())])
}

/// What `Command` gave this process to do.
#[expect(clippy::disallowed_methods, reason = "a test is a program of its own")]
fn order(name: &str) -> String {
    std::env::var(name).expect("only started by the test below")
}

#[test]
#[ignore = "a process of the test below"]
fn worker() {
    let root = order("REWARM_TEST_ROOT");
    let number: u32 = order("REWARM_TEST_NUMBER").parse().expect("a number");
    let mut workspace = Workspace::at(root.as_ref());
    workspace.config.watch_env = vec!["CALLER".to_owned()];
    for round in 0..20 {
        for number in (0..CALLERS_EACH).map(|index| number * CALLERS_EACH + index) {
            let caller = caller(number);
            let (activation, miss) = workspace.run(&caller);
            assert!(miss.is_none() || round == 0, "{miss:?}");
            let expected = workspace.activate(&caller).environment_for(&caller);
            assert_eq!(activation.environment_for(&caller), expected);
        }
    }
}

#[test]
fn processes_at_once_lose_no_entry_and_serve_no_wrong_one() {
    let mut workspace = Workspace::new();
    workspace.config.watch_env = vec!["CALLER".to_owned()];
    let program = std::env::current_exe().expect("the test has a path");
    let start = |number: u32| -> Child {
        Command::new(&program)
            .args(["--ignored", "--exact", "concurrent::worker"])
            .env("REWARM_TEST_ROOT", &workspace.root)
            .env("REWARM_TEST_NUMBER", number.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test can start itself")
    };
    let workers: Vec<Child> = (0..WORKERS).map(start).collect();
    for mut worker in workers {
        assert!(worker.wait().expect("it can be waited for").success());
    }
    for number in 0..WORKERS * CALLERS_EACH {
        workspace.assert_hit(&caller(number));
    }
}
