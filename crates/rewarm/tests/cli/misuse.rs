//! What is typed wrong, configured wrong, or cut off is told clearly and ends with the right code.

use std::io::Read;
use std::process::Stdio;

use crate::support::sandbox;

#[test]
fn unknown_options_and_commands_are_usage_errors() {
    let sandbox = sandbox();
    for args in [&["--no-such-option"][..], &["no-such-command"], &["fetch"], &[]] {
        let output = sandbox.run(args).expect_code(2);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(output.stderr.contains("Usage: "), "{args:?}: {output}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let sandbox = sandbox();
    assert!(sandbox.run(["--help"]).expect_code(0).stdout.contains("Usage: rewarm"));
    let version = sandbox.run(["--version"]).expect_code(0);
    assert_eq!(version.stdout, format!("rewarm {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_project_whose_path_is_not_utf8_can_be_described() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = sandbox();
    let odd = sandbox.project().join(std::ffi::OsStr::from_bytes(b"odd \xff"));
    std::fs::create_dir(&odd).expect("a directory can be made");
    for args in [&["info"][..], &["info", "--json"]] {
        let output = sandbox.output(sandbox.command(args).current_dir(&odd)).expect_code(0);
        assert!(output.stdout.contains("odd \u{fffd}"), "{output}");
    }
    let mut counted = sandbox.command(["cache", "info", "--json"]);
    let output = sandbox.output(counted.env("REWARM_CACHE_DIR", odd.join("cache"))).expect_code(0);
    assert!(output.stdout.contains("odd \u{fffd}"), "{output}");
}

#[test]
fn below_an_environment_without_a_project_the_mend_is_named() {
    let sandbox = sandbox();
    sandbox.write(".venv/pyvenv.cfg", "");
    sandbox.write("src/a.py", "");
    let mut below = sandbox.command(["check"]);
    let output = sandbox.output(below.current_dir(sandbox.project().join("src"))).expect_code(2);
    assert!(output.stderr.contains("hint: `[PROJECT]` has one: say `-C [PROJECT]`"), "{output}");
}

#[test]
fn a_missing_directory_is_named() {
    let sandbox = sandbox();
    let output = sandbox.run(["-C", "nowhere", "info"]).expect_code(2);
    assert_eq!(output.stderr, "error: there is no directory `[PROJECT]/nowhere`\n");
}

#[test]
fn bad_configuration_is_named_with_file_and_line() {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[tool.rewarm]\nextras = 3\n");
    let output = sandbox.run(["info"]).expect_code(2);
    assert!(output.stderr.contains("`[PROJECT]/pyproject.toml`, line 2: "), "{output}");
    sandbox.write("pyproject.toml", "[tool.rewarm]\nextraz = []\n");
    let output = sandbox.run(["info"]).expect_code(0);
    let warning = "warning: `[PROJECT]/pyproject.toml`, line 2: unknown key `tool.rewarm.extraz`\n";
    assert_eq!(output.stderr, warning);
    sandbox.write("pyproject.toml", "[tool.rewarm.tasks]\na = { depends-on = [\"b\"] }\n");
    let output = sandbox.run(["task", "graph", "a"]).expect_code(2);
    assert!(output.stderr.contains("task `a` depends on `b`, which does not exist"), "{output}");
}

#[test]
fn bad_values_in_variables_are_named() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["cache", "info"]);
    let output = sandbox.output(command.env("REWARM_CACHE_MAX_SIZE", "lots")).expect_code(2);
    assert!(output.stderr.contains("`lots` in `REWARM_CACHE_MAX_SIZE` is not a size"), "{output}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["completions", "bash"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("it is piped");
    pipe.read_to_string(&mut stderr).expect("text");
    assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn completions_are_written_for_every_shell() {
    let sandbox = sandbox();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = sandbox.run(["completions", shell]).expect_code(0);
        assert!(output.stdout.contains("shell-hook"), "{shell}");
    }
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let sandbox = sandbox();
    let plain = sandbox.run(["-C", "nowhere", "info"]);
    assert!(!plain.stderr.contains('\x1b'), "{plain}");
    let forced = sandbox.run(["--color", "always", "-C", "nowhere", "info"]);
    assert!(forced.stderr.contains('\x1b'), "{forced}");
    let mut command = sandbox.command(["-C", "nowhere", "info"]);
    let forced = sandbox.output(command.env("CLICOLOR_FORCE", "1"));
    assert!(forced.stderr.contains('\x1b'), "{forced}");
    let mut command = sandbox.command(["-C", "nowhere", "info"]);
    let none = sandbox.output(command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"));
    assert!(!none.stderr.contains('\x1b'), "{none}");
}
