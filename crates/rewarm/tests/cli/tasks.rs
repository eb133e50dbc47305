//! Tasks: graphs of them, what they print, how they end.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rewarm_testkit::sandbox::Sandbox;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{sandbox, tool};

/// A project with these tasks, and an environment in which nothing is installed.
fn project(tasks: &str) -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("rewarm.toml", format!("[tasks]\n{tasks}"));
    sandbox.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    sandbox.write(".venv/bin/python", "");
    sandbox
}

#[test]
fn independent_tasks_run_at_once() {
    // Each waits for the other; one at a time they would wait for ever.
    let sandbox = project(
        r#"
        one = "echo from one > a; cat b"
        two = "cat a; echo from two > b"
        both = ["true"]
        all = { cmd = "echo all", depends-on = ["one", "two"] }
        "#,
    );
    tool(&sandbox, "mkfifo", &["a", "b"]).expect_code(0);
    let output = sandbox.run(["run", "-j", "2", "all"]).expect_code(0);
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("all"), "{output}");
    lines.sort_unstable();
    assert_eq!(lines, ["[one] from two", "[two] from one"], "{output}");
}

#[test]
fn one_job_runs_in_the_declared_order_as_it_comes() {
    let sandbox = project(
        r#"
        one = "echo one; echo err >&2"
        two = "printf two"
        all = { cmd = ["echo", " all"], depends-on = ["one", "two"] }
        "#,
    );
    let output = sandbox.run(["run", "-j1", "all", "x"]).expect_code(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\ntwo all x\n", "err\n"));
    let output = sandbox.run(["run", "--skip-deps", "all"]).expect_code(0);
    assert_eq!(output.stdout, " all\n");
    let plan = sandbox.run(["run", "--dry-run", "all"]).expect_code(0).stdout;
    assert!(plan.ends_with("two: printf two\nall: echo ' all'\n"), "{plan}");
}

#[test]
fn grouped_output_is_not_mixed() {
    let sandbox = project(
        r#"
        one = "echo 1a; cat fifo; printf 1b"
        two = "echo 2a; echo x > fifo; echo 2b"
        all = { cmd = "echo all", depends-on = ["one", "two"] }
        "#,
    );
    tool(&sandbox, "mkfifo", &["fifo"]).expect_code(0);
    let output = sandbox.run(["run", "-j2", "--output", "group", "all"]).expect_code(0);
    let is_whole = ["1a\nx\n1b2a\n2b\nall\n", "2a\n2b\n1a\nx\n1ball\n"].contains(&&*output.stdout);
    assert!(is_whole, "{output}");
}

#[test]
fn a_failure_stops_what_depends_on_it() {
    let sandbox = project(
        r#"
        bad = "exit 3"
        after = { cmd = "echo after", depends-on = ["bad"] }
        other = "echo other"
        all = { cmd = "echo all", depends-on = ["after", "other"] }
        last = { cmd = "exit 4", depends-on = ["other"] }
        "#,
    );
    let output = sandbox.run(["run", "-j1", "all"]).expect_code(3);
    assert_eq!(output.stdout, "");
    let note = "task `bad` failed with exit code 3\n3 tasks were not run\n";
    assert_eq!(output.stderr, note);
    let output = sandbox.run(["run", "-j1", "--keep-going", "all"]).expect_code(3);
    assert_eq!(output.stdout, "other\n", "{output}");
    sandbox.run(["run", "last"]).expect_code(4);
}

#[test]
fn a_signal_reaches_every_task_and_ends_the_run() {
    let sandbox = project(
        r#"
        one = "trap 'echo one >> ended; exit 0' TERM; echo x > fifo; while :; do sleep 0.01; done"
        two = "trap 'echo two >> ended; exit 0' TERM; cat fifo; kill -TERM $PPID; while :; do sleep 0.01; done"
        all = { cmd = "echo never", depends-on = ["one", "two"] }
        "#,
    );
    tool(&sandbox, "mkfifo", &["fifo"]).expect_code(0);
    let output = sandbox.command(["run", "-j2", "all"]).output().expect("it runs");
    assert_eq!(output.status.signal(), Some(15), "{output:?}");
    let ended = std::fs::read_to_string(sandbox.project().join("ended")).expect("they say so");
    let mut ended: Vec<&str> = ended.lines().collect();
    ended.sort_unstable();
    assert_eq!(ended, ["one", "two"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("never"));
}

/// Waits until a process is stopped, or is not.
#[cfg(target_os = "linux")]
fn await_stopped(process: &str, stopped: bool) {
    let status = format!("/proc/{}/status", process.trim());
    let is_stopped = || {
        let text = std::fs::read_to_string(&status).expect("the process is there");
        text.contains("State:\tT")
    };
    while is_stopped() != stopped {
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn stopping_a_run_stops_its_tasks_and_they_go_on_with_it() {
    let sandbox = project(
        r#"
        one = "echo $$ > one.part; mv one.part one; read line < fifo1; echo one"
        two = "echo $$ > two.part; mv two.part two; read line < fifo2; echo two"
        all = { cmd = "echo all", depends-on = ["one", "two"] }
        "#,
    );
    // A shell that has started a program is not stopped before that has begun; these start none.
    tool(&sandbox, "mkfifo", &["fifo1", "fifo2"]).expect_code(0);
    let mut command = sandbox.command(["run", "-j2", "all"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let run = child.id().to_string();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("an id");
    let tasks = ["one", "two"].map(|name| {
        let path = sandbox.project().join(name);
        loop {
            match std::fs::read_to_string(&path) {
                Ok(process) => break process,
                Err(_) => std::thread::yield_now(),
            }
        }
    });
    let all = || tasks.iter().chain([&run]);
    let [stop, go_on] = [(Signal::TSTP, true), (Signal::CONT, false)];
    for (signal, stopped) in [stop, go_on, stop, go_on] {
        kill_process(pid, signal).expect("it can be sent a signal");
        all().for_each(|process| await_stopped(process, stopped));
    }
    sandbox.write("fifo1", "\n");
    sandbox.write("fifo2", "\n");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("all\n"), "{output:?}");
}

#[test]
fn a_second_signal_kills_who_does_not_listen() {
    let sandbox = project(
        r#"
        deaf = "trap '' TERM INT; kill -TERM $PPID; kill -INT $PPID; while :; do sleep 0.01; done"
        other = "true"
        all = { cmd = "echo never", depends-on = ["deaf", "other"] }
        "#,
    );
    let output = sandbox.command(["run", "-j2", "all"]).output().expect("it runs");
    assert!(matches!(output.status.signal(), Some(2 | 15)), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("never"));
}

#[test]
fn a_line_with_blanks_is_run_by_the_shell() {
    let sandbox = project("");
    let run = |line: &str| sandbox.run(["run", line]);
    assert_eq!(run("echo a b && echo $A | cat; exit 5").expect_code(5).stdout, "a b\n\n");
    assert_eq!(run("A=1 && B=2 sh -c 'echo $B' && echo \"$A\"").expect_code(0).stdout, "2\n1\n");
    run("sh -c 'kill -TERM $$' || exit 9").expect_code(9);
    let output = run("echo 'open").expect_code(125);
    assert!(output.stderr.contains("cannot parse"), "{output}");
    run("no-such-program x").expect_code(127);
}

#[test]
fn a_signal_ends_a_script_and_what_it_runs() {
    let sandbox = project("");
    let line = "sh -c 'trap \"echo got; exit 1\" TERM; kill -TERM $PPID; while :; do sleep 0.01; done'; echo never";
    let output = sandbox.command(["run", line]).output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "got\n", "{output:?}");
    assert_eq!(output.status.signal(), Some(15), "{output:?}");
}

#[test]
fn tasks_are_listed_and_shown_as_a_graph() {
    let sandbox = project(
        r#"
        build = { cmd = "make", description = "Builds all" }
        test = { cmd = "pytest", depends-on = ["build"] }
        all = ["true"]
        both = { depends-on = ["build", "test"] }
        _own = "x"
        odd = { cmd = "x", speed = 1 }
        "#,
    );
    let output = sandbox.run(["run"]).expect_code(0);
    let list =
        "all    true\nboth   depends on build, test\nbuild  Builds all\nodd    x\ntest   pytest\n";
    assert_eq!(output.stdout, list);
    assert_eq!(output.stderr, "warning: task `odd`: unknown key `speed`\n");
    assert_eq!(sandbox.run(["task", "list"]).expect_code(0).stdout, list);
    let json = sandbox.run(["task", "list", "--json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["default"]["_own"]["command"], "x");
    let graph = sandbox.run(["task", "graph", "both"]).expect_code(0);
    let tree = "both\n├─ build: make\n└─ test: pytest\n   └─ build: make\n";
    assert_eq!(graph.stdout, tree);
    let dot = sandbox.run(["task", "graph", "--dot", "test"]).expect_code(0).stdout;
    assert!(dot.contains("1 -> 0;"), "{dot}");
    let none = sandbox.run(["task", "graph", "none"]).expect_code(2);
    assert!(none.stderr.contains("there is no task `none`"), "{none}");
}

#[test]
fn a_bad_task_stops_only_itself() {
    let sandbox = project("bad = { depends-on = ['none'] }\ngood = 'echo good'");
    let output = sandbox.run(["run", "bad"]).expect_code(125);
    assert!(
        output.stderr.contains("task `bad` depends on `none`, which does not exist"),
        "{output}"
    );
    assert_eq!(sandbox.run(["run", "good"]).expect_code(0).stdout, "good\n");
}

const BUILD: &str = r#"
build = { cmd = "echo ran >> runs; echo out; echo err >&2; printf end; cat src > made", inputs = ["src"], outputs = ["made"] }
use = { cmd = "cat made", depends-on = ["build"] }
"#;

fn runs(sandbox: &Sandbox) -> usize {
    std::fs::read_to_string(sandbox.project().join("runs")).unwrap_or_default().lines().count()
}

#[test]
fn an_unchanged_task_is_replayed() {
    let sandbox = project(BUILD);
    sandbox.write("src", "1");
    let first = sandbox.run(["run", "build"]).expect_code(0);
    assert_eq!((first.stdout.as_str(), first.stderr.as_str()), ("out\nend", "err\n"));
    std::fs::remove_file(sandbox.project().join("made")).expect("it was made");
    let second = sandbox.run(["run", "build"]).expect_code(0);
    assert_eq!((&second, runs(&sandbox)), (&first, 1));
    assert_eq!(sandbox.run(["run", "-j1", "use"]).expect_code(0).stdout, "out\nend1");
    let why = |expected: &str| {
        let output = sandbox.run(["task", "why", "build"]).expect_code(0);
        assert_eq!(output.stdout, format!("task `build` {expected}\n"));
    };
    why("would be replayed: no input has changed");
    sandbox.write("src", "2");
    why("would run: `src` changed");
    let third = sandbox.run(["run", "--explain", "build"]).expect_code(0);
    assert!(third.stderr.contains("build: run, because `src` changed\n"), "{third}");
    assert_eq!(runs(&sandbox), 2);
    sandbox.write("src", "1");
    let back = sandbox.run(["run", "--explain", "build"]).expect_code(0);
    assert!(back.stderr.contains("build: replayed; restored 1 of 1 outputs\n"), "{back}");
    assert_eq!(sandbox.run(["run", "--force", "build"]).expect_code(0).stdout, "out\nend");
    assert_eq!(runs(&sandbox), 3);
    let list = sandbox.run(["cache", "list", "--kind", "task"]).expect_code(0).stdout;
    assert!(list.contains("task build"), "{list}");
}

#[test]
fn the_environment_and_its_settings_are_inputs_of_a_task() {
    let sandbox = project(BUILD);
    sandbox.write("src", "1");
    sandbox.write(".venv/lib/python3.13/site-packages/a-1.dist-info/RECORD", "a");
    for (change, count) in [(None, 1), (None, 1), (Some("a-1"), 2), (None, 2), (Some("b-1"), 3)] {
        if let Some(name) = change {
            let record = format!(".venv/lib/python3.13/site-packages/{name}.dist-info/RECORD");
            sandbox.write(record, "b");
        }
        sandbox.run(["run", "build"]).expect_code(0);
        assert_eq!(runs(&sandbox), count, "{change:?}");
    }
    let settings = format!("[activation.env]\nMODE = 'x'\n[tasks]\n{BUILD}");
    sandbox.write("rewarm.toml", settings);
    sandbox.run(["run", "build"]).expect_code(0);
    assert_eq!(runs(&sandbox), 4);
}

#[test]
fn a_failed_or_killed_task_is_not_kept() {
    let sandbox = project(
        r#"
        bad = { cmd = "echo ran >> runs; cat src > made; exit 3", inputs = ["src"], outputs = ["made"] }
        killed = { cmd = "echo ran >> runs; cat src > made; kill -KILL $PPID", inputs = ["src"], outputs = ["made"] }
        "#,
    );
    sandbox.write("src", "1");
    for count in 1..3 {
        sandbox.run(["run", "bad"]).expect_code(3);
        assert_eq!(runs(&sandbox), count);
    }
    for count in 3..5 {
        let output = sandbox.command(["run", "killed"]).output().expect("it runs");
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
        assert_eq!(runs(&sandbox), count);
    }
    sandbox.run(["cache", "verify"]).expect_code(0);
}

#[test]
fn two_runs_at_once_run_a_task_once() {
    let sandbox = project(
        r#"
        build = { cmd = "echo ran >> runs; cat fifo > made; echo made", inputs = ["src"], outputs = ["made"] }
        "#,
    );
    sandbox.write("src", "1");
    tool(&sandbox, "mkfifo", &["fifo"]).expect_code(0);
    let start = || {
        let mut command = sandbox.command(["run", "build"]);
        command.stdout(std::process::Stdio::piped()).spawn().expect("it starts")
    };
    let both = [start(), start()];
    // Opening it waits for the one that runs; the other is about to wait for that one.
    std::fs::write(sandbox.project().join("fifo"), "text").expect("somebody reads it");
    for child in both {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.stdout, b"made\n", "{output:?}");
    }
    assert_eq!(runs(&sandbox), 1);
}

#[test]
fn a_cache_that_cannot_be_used_costs_speed_only() {
    let sandbox = project(BUILD);
    sandbox.write("src", "1");
    std::fs::write(sandbox.cache(), "no directory").expect("it can be written");
    for count in 1..3 {
        assert_eq!(sandbox.run(["run", "build"]).expect_code(0).stdout, "out\nend");
        assert_eq!(runs(&sandbox), count);
    }
}

#[test]
fn tasks_of_a_pixi_workspace_run_in_their_environments() {
    let sandbox = sandbox();
    sandbox.write(
        "pixi.toml",
        r#"
        [workspace]
        name = "w"
        channels = []
        platforms = ["linux-64", "linux-aarch64", "osx-64", "osx-arm64"]
        [tasks]
        say = { cmd = "echo {{ word }} $PIXI_ENVIRONMENT_NAME $SET | cat", args = ["word"], env = { SET = "s-$PIXI_PROJECT_NAME" } }
        plain = "env"
        all = [{ task = "say", args = ["hi"] }, { task = "say", args = ["ho"], environment = "test" }]
        [feature.test.tasks]
        only = { cmd = "echo only", description = "Only there" }
        [environments]
        test = ["test"]
        "#,
    );
    for environment in ["default", "test"] {
        sandbox.write(format!(".pixi/envs/{environment}/conda-meta/history"), "");
    }
    assert_eq!(sandbox.run(["run", "say", "a b"]).expect_code(0).stdout, "a b default s-w\n");
    let output = sandbox.run(["run", "-j1", "all"]).expect_code(0);
    assert_eq!(output.stdout, "hi default s-w\nho test s-w\n", "{output}");
    assert_eq!(sandbox.run(["run", "only"]).expect_code(0).stdout, "only\n");
    for _ in 0..2 {
        let output = sandbox.run(["run", "plain"]).expect_code(0);
        assert!(output.stdout.contains("INIT_CWD=[PROJECT]\n"), "{output}");
    }
    let list = sandbox.run(["run"]).expect_code(0).stdout;
    assert!(list.ends_with("\ntest:\nonly   Only there\n"), "{list}");
    let missing = sandbox.run(["run", "say"]).expect_code(125);
    let message = "task `say` (`[PROJECT]/pixi.toml`, line 7): the argument `word` is missing";
    assert!(missing.stderr.contains(message), "{missing}");
}
