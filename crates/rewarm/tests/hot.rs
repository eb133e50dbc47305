//! What the short path of `rewarm run` must have in common with the long one: each command is run
//! twice, first without and then with a stored activation.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use rewarm_testkit::sandbox::Sandbox;

const PYPROJECT: &str = r#"
[tool.rewarm.tasks]
where = "pwd"
quoted = ["printf", "<%s>"]
failing = "exit 3"
after = { cmd = "echo after $WHAT", cwd = "sub", env = { WHAT = "$VIRTUAL_ENV" }, depends-on = ["where"] }
never = { cmd = "echo never", depends-on = ["where", "failing"] }
lost = { cmd = "pwd", cwd = "gone" }
"#;

/// A workspace with an environment that nobody has to install anything into.
fn ready() -> Sandbox {
    let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_rewarm"));
    sandbox.write("pyproject.toml", PYPROJECT);
    sandbox.write("sub/deep/file", "");
    environment(&sandbox, ".venv");
    sandbox
}

fn environment(sandbox: &Sandbox, name: &str) {
    sandbox.write(format!("{name}/pyvenv.cfg"), "home = /usr/bin\n");
    sandbox.write(format!("{name}/bin/file"), "");
    symlink("/bin/echo", sandbox.project().join(name).join("bin/python"))
        .expect("links can be made");
}

#[track_caller]
fn assert_output(sandbox: &Sandbox, args: &[&str], code: i32, stdout: &str) {
    for _ in 0..2 {
        let output = sandbox.run([&["run"], args].concat()).expect_code(code);
        assert_eq!(output.stdout, stdout, "{output}");
    }
}

#[test]
fn tasks_run_in_order_with_their_directory_and_variables() {
    let sandbox = ready();
    assert_output(&sandbox, &["after"], 0, "[PROJECT]\nafter [PROJECT]/.venv\n");
    assert_output(&sandbox, &["-j1", "never"], 3, "[PROJECT]\n");
    assert_output(&sandbox, &["quoted", "a b", "$c"], 0, "<a b><$c>");
}

#[test]
fn a_directory_below_is_the_same_workspace_and_stays_the_commands_own() {
    let sandbox = ready();
    for (args, expected) in
        [(["run", "pwd"], "[PROJECT]/sub/deep\n"), (["run", "where"], "[PROJECT]\n")]
    {
        for _ in 0..2 {
            let mut command = sandbox.command(args);
            command.current_dir(sandbox.project().join("sub/deep"));
            assert_eq!(sandbox.output(&mut command).expect_code(0).stdout, expected);
        }
    }
}

#[test]
fn failures_to_start_end_with_the_codes_of_env() {
    let sandbox = ready();
    assert_output(&sandbox, &["no-such-program"], 127, "");
    assert_output(&sandbox, &["/"], 126, "");
    assert_output(&sandbox, &["lost"], 125, "");
    let output = sandbox.run(["run", "lost"]);
    assert!(output.stderr.contains("[PROJECT]/gone"), "{output}");
}

#[test]
fn programs_of_the_environment_come_first() {
    let sandbox = ready();
    assert_output(&sandbox, &["python", "is echo here"], 0, "is echo here\n");
}

#[test]
fn an_environment_that_one_caller_brings_is_not_served_to_another() {
    let sandbox = ready();
    std::fs::remove_dir_all(sandbox.project().join(".venv")).expect("directories can be removed");
    environment(&sandbox, "a");
    environment(&sandbox, "b");
    let prefix = |variable: &str, name: &str| {
        let mut command = sandbox.command(["run", "--", "sh", "-c", "echo $VIRTUAL_ENV"]);
        command.env(variable, sandbox.project().join(name));
        sandbox.output(&mut command).expect_code(0).stdout
    };
    for _ in 0..2 {
        for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            assert_eq!(prefix(variable, "a"), "[PROJECT]/a\n");
            assert_eq!(prefix(variable, "b"), "[PROJECT]/b\n");
        }
    }
    environment(&sandbox, ".venv");
    for _ in 0..2 {
        assert_eq!(prefix("CONDA_PREFIX", "a"), "[PROJECT]/.venv\n");
    }
}

#[test]
fn many_at_once_on_an_empty_cache_all_get_the_right_environment() {
    let sandbox = ready();
    let start = |_| {
        let mut command = sandbox.command(["run", "--", "sh", "-c", "echo $VIRTUAL_ENV"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary can be started")
    };
    let children: Vec<_> = (0..12).map(start).collect();
    let expected = format!("{}\n", sandbox.project().join(".venv").display());
    for child in children {
        let output = child.wait_with_output().expect("it can be waited for");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

#[test]
fn programs_are_found_and_started_as_execvp_does() {
    let sandbox = ready();
    let program = |path: &str, mode: u32| {
        sandbox.write(path, "echo \"$0 $1\"\n");
        let path = sandbox.project().join(path);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    };
    // A script that does not say by what it is to be run is run by the shell.
    program(".venv/bin/script", 0o755);
    assert_output(&sandbox, &["script", "a"], 0, "[PROJECT]/.venv/bin/script a\n");
    // One that may not be executed does not hide another of its name.
    program(".venv/bin/true", 0o644);
    assert_output(&sandbox, &["true"], 0, "");
    program(".venv/bin/denied", 0o644);
    assert_output(&sandbox, &["denied"], 126, "");
    assert_output(&sandbox, &["nowhere-at-all"], 127, "");
    std::fs::create_dir(sandbox.project().join(".venv/bin/folder")).expect("a directory");
    assert_output(&sandbox, &["folder"], 126, "");
    assert_output(&sandbox, &["sub/deep/file/below"], 126, "");
}
