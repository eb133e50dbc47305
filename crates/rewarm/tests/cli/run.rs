//! `rewarm run` and `rewarm shell-hook`.

use std::os::unix::process::ExitStatusExt;

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::Server;

use crate::support::{distributions, origin, project, sandbox};

const PYPROJECT: &str = r#"
[project]
name = "app"
version = "1"

[tool.rewarm.activation]
env-files = [".env"]

[tool.rewarm.activation.env]
GREETED = "reader"

[tool.rewarm.tasks]
hi = "hello"
twice = { cmd = "hello && hello", description = "Greets twice" }
"#;

fn ready() -> (Sandbox, Server) {
    let (sandbox, origin) = (sandbox(), origin(&distributions()));
    project(&sandbox, &origin, PYPROJECT);
    (sandbox, origin)
}

#[test]
fn installs_activates_and_becomes_the_command() {
    let (sandbox, _origin) = ready();
    let first = sandbox.run(["run", "hello"]).expect_code(0);
    assert_eq!(first.stdout, "hello reader\n");
    let second = sandbox.run(["run", "hello"]).expect_code(0);
    assert_eq!((second.stdout.as_str(), second.stderr.as_str()), ("hello reader\n", ""));
}

#[test]
fn explain_names_the_input_that_differs() {
    let (sandbox, _origin) = ready();
    sandbox.run(["run", "--", "true"]).expect_code(0);
    let hit = sandbox.run(["run", "--explain", "true"]).expect_code(0);
    assert_eq!(hit.stderr, "activation: from the cache; no input has changed\n");
    sandbox.write(".env", "GREETED=file\n");
    let miss = sandbox.run(["run", "--explain", "hello"]).expect_code(0);
    assert!(miss.stderr.contains("`.env` appeared"), "{miss}");
    sandbox.write("pyproject.toml", PYPROJECT.replace("reader", "editor"));
    let miss = sandbox.run(["run", "--explain", "hello"]).expect_code(0);
    assert!(miss.stderr.contains("`pyproject.toml` changed"), "{miss}");
    assert_eq!(miss.stdout, "hello editor\n");
}

#[test]
fn the_commands_status_is_passed_through() {
    let (sandbox, _origin) = ready();
    sandbox.write("not-a-program", "text");
    for _ in 0..2 {
        sandbox.run(["run", "--", "sh", "-c", "exit 7"]).expect_code(7);
        let mut killed = sandbox.command(["run", "--", "sh", "-c", "kill -TERM $$"]);
        assert_eq!(killed.status().expect("it runs").signal(), Some(15));
        sandbox.run(["run", "no-such-program"]).expect_code(127);
        sandbox.run(["run", "./not-a-program"]).expect_code(126);
    }
}

#[test]
fn tasks_run_with_arguments_and_are_listed() {
    let (sandbox, _origin) = ready();
    assert_eq!(sandbox.run(["run", "hi"]).expect_code(0).stdout, "hello reader\n");
    let twice = sandbox.run(["run", "twice"]).expect_code(0);
    assert_eq!(twice.stdout, "hello reader\nhello reader\n");
    assert_eq!(sandbox.run(["run"]).expect_code(0).stdout, "hi     hello\ntwice  Greets twice\n");
}

#[test]
fn own_failures_end_with_125() {
    let sandbox = sandbox();
    let output = sandbox.run(["run", "--", "true"]).expect_code(125);
    assert!(output.stderr.contains("no environment and no lock file in `[PROJECT]`"), "{output}");
    assert!(output.stderr.contains("hint: "), "{output}");
}

#[test]
fn an_environment_of_another_tool_is_used_as_it_is() {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[project]\nname = \"app\"\nversion = \"1\"\n");
    crate::support::tool(&sandbox, "python3", &["-m", "venv", "--without-pip", ".venv"])
        .expect_code(0);
    let prefix = sandbox.run(["run", "python", "-c", "import sys; print(sys.prefix)"]);
    assert_eq!(prefix.expect_code(0).stdout, "[PROJECT]/.venv\n");
}

#[test]
fn clean_env_hides_the_callers_variables() {
    let (sandbox, _origin) = ready();
    let mut command = sandbox.command(["run", "--clean-env", "--", "env"]);
    let output = sandbox.output(command.env("SECRET_OF_CALLER", "x")).expect_code(0);
    assert!(!output.stdout.contains("SECRET_OF_CALLER"), "{output}");
    assert!(output.stdout.contains("VIRTUAL_ENV=[PROJECT]/.venv\n"), "{output}");
}

#[test]
fn the_shell_hook_activates_and_deactivates() {
    let (sandbox, _origin) = ready();
    let hook = sandbox.run(["shell-hook", "--shell", "bash"]).expect_code(0).stdout;
    let hook = hook.replace("[PROJECT]", &sandbox.project().to_string_lossy());
    let script = format!("{hook}\nhello; rewarm_deactivate; echo \"${{VIRTUAL_ENV-gone}}\"\n");
    let output = crate::support::tool(&sandbox, "bash", &["-c", &script]).expect_code(0);
    assert_eq!(output.stdout, "hello reader\ngone\n");
    let json = sandbox.run(["shell-hook", "--json"]).expect_code(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value["environment_variables"]["GREETED"], "reader");
}
