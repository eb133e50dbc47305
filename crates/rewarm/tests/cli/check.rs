//! `rewarm check`, with a real mypy: installed once from PyPI by `cargo xtask setup`, or here.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rewarm_testkit::sandbox::Sandbox;

use crate::support::{SlowPlugin, assert_no_litter, sandbox};

/// An environment that has mypy.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(rewarm_testkit::tools::environment)
}

fn project() -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = [\"pkg\"]\nstrict = true\n");
    sandbox.write("pkg/__init__.py", "");
    sandbox.write("pkg/a.py", "def double(x: int) -> int:\n    return 2 * x\n");
    sandbox.write("pkg/b.py", "from pkg.a import double\n\ntext: str = double(1)\n");
    sandbox
}

fn check(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.command([&["check"], args].concat());
    command.env("VIRTUAL_ENV", tools());
    command
}

#[test]
fn a_failure_is_replayed_byte_for_byte() {
    let sandbox = project();
    let first = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert!(first.stdout.contains("pkg/b.py:3: error: "), "{first}");
    assert!(first.stderr.starts_with("mypy ran: "), "{first}");
    let second = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.starts_with("replayed: nothing changed, "), "{second}");
    assert!(second.stderr.ends_with("check: hit; no input has changed\n"), "{second}");
    let mut mypy = Command::new(tools().join("bin/mypy"));
    mypy.current_dir(sandbox.project()).args(["--cache-dir", "/dev/null"]);
    let plain = sandbox.output(&mut mypy).expect_code(1);
    assert_eq!(plain.stdout, first.stdout);
}

#[test]
fn an_edit_is_noticed_and_named() {
    let sandbox = project();
    sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    sandbox.write("pkg/b.py", "from pkg.a import double\n\nnumber: int = double(1)\n");
    let mended = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(0);
    assert_eq!(mended.stdout, "Success: no issues found in 3 source files\n");
    assert!(mended.stderr.contains("check: miss; differs: "), "{mended}");
    assert!(mended.stderr.contains("pkg/b.py"), "{mended}");
    sandbox.write("pkg/b.py", "from pkg.a import double\n\ntext: str = double(1)\n");
    let back = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert!(back.stderr.starts_with("replayed: "), "{back}");
}

#[test]
fn modules_that_are_checked_again_are_explained() {
    let sandbox = project();
    let first = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(1);
    assert!(first.stderr.contains("check: every module was checked: "), "{first}");
    let leaf = "from pkg.a import double\n\nnumber: int = double(1)\n";
    sandbox.write("pkg/b.py", leaf);
    let edited = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(0);
    let line = "check: pkg.b was checked again: its source changed\n";
    assert!(edited.stderr.contains(line), "{edited}");
    assert!(!edited.stderr.contains("pkg.a was"), "{edited}");
    sandbox.write("pkg/a.py", "def double(x: int) -> str:\n    return str(2 * x)\n");
    let needed = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(1);
    let lines = "check: pkg.a was checked again: its source changed\n\
        check: pkg.b was checked again: the interface of pkg.a changed\n";
    assert!(needed.stderr.contains(lines), "{needed}");
    sandbox.write("pkg/b.py", format!("# A comment.\n{leaf}"));
    let carried = sandbox.output(&mut check(&sandbox, &["--json"])).expect_code(1);
    let value: serde_json::Value = serde_json::from_str(&carried.stdout).expect("JSON");
    assert_eq!(value["carried_over"], serde_json::json!(["pkg.b"]), "{carried}");
    assert_eq!(value["modules"], serde_json::json!([]), "{carried}");
}

#[test]
fn arguments_reach_mypy() {
    let sandbox = project();
    let one = sandbox.output(&mut check(&sandbox, &["pkg/a.py"])).expect_code(0);
    assert_eq!(one.stdout, "Success: no issues found in 1 source file\n");
    let quiet = sandbox.output(&mut check(&sandbox, &["--", "--no-error-summary"]));
    assert_eq!(quiet.expect_code(1).stdout.lines().count(), 1);
}

#[test]
fn json_carries_the_answer() {
    let sandbox = project();
    let output = sandbox.output(&mut check(&sandbox, &["--json"])).expect_code(1);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&value["exit_code"], &value["replayed"]), (&1.into(), &false.into()));
}

#[test]
fn an_environment_without_mypy_is_named_with_the_mend() {
    let sandbox = project();
    crate::support::tool(&sandbox, "python3", &["-m", "venv", "--without-pip", ".venv"])
        .expect_code(0);
    let output = sandbox.run(["check"]).expect_code(2);
    assert!(output.stderr.contains("[PROJECT]/.venv"), "{output}");
    assert!(output.stderr.contains("hint: add `mypy`"), "{output}");
}

#[test]
fn no_cache_of_mypys_own_is_left() {
    let sandbox = project();
    sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert!(!sandbox.project().join(".mypy_cache").exists());
}

#[test]
fn without_any_target_the_working_directory_is_checked() {
    let sandbox = project();
    sandbox.write("pyproject.toml", "[tool.mypy]\nstrict = true\n");
    let first = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert!(
        first.stdout.ends_with("Found 1 error in 1 file (checked 3 source files)\n"),
        "{first}"
    );
    let second = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.starts_with("replayed: "), "{second}");
    // Whoever names targets in some other way means these only.
    let module = sandbox.output(&mut check(&sandbox, &["--", "-m", "pkg.a"])).expect_code(0);
    assert_eq!(module.stdout, "Success: no issues found in 1 source file\n");
}

#[test]
fn colours_are_mypys_own() {
    let sandbox = project();
    let mut always = check(&sandbox, &["--color", "always"]);
    let colored = sandbox.output(always.env("TERM", "xterm-256color")).expect_code(1);
    let mut mypy = Command::new(tools().join("bin/mypy"));
    mypy.current_dir(sandbox.project()).args(["--cache-dir", "/dev/null"]);
    mypy.env("TERM", "xterm-256color").env("MYPY_FORCE_COLOR", "1");
    let plain = sandbox.output(&mut mypy).expect_code(1);
    assert!(plain.stdout.contains("\x1b["), "{plain}");
    assert_eq!(colored.stdout, plain.stdout);
    let mut never = check(&sandbox, &["--color", "never"]);
    let never = sandbox.output(never.env("TERM", "xterm-256color").env("MYPY_FORCE_COLOR", "1"));
    assert!(!never.expect_code(1).stdout.contains('\x1b'));
    let mut piped = check(&sandbox, &[]);
    let piped = sandbox.output(piped.env("TERM", "xterm-256color")).expect_code(1);
    assert!(piped.stderr.starts_with("replayed: "), "without colours is without colours: {piped}");
}

#[test]
fn a_signal_ends_mypy_too_and_leaves_no_litter() {
    let sandbox = project();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['pkg']\nplugins = ['slow.py']\n");
    let plugin = SlowPlugin::write(&sandbox);
    let mut running = check(&sandbox, &[]).spawn().expect("the binary starts");
    let started = plugin.started();
    let pid = running.id().to_string();
    crate::support::tool(&sandbox, "kill", &["-TERM", &pid]).expect_code(0);
    assert_eq!(running.wait().expect("an end").signal(), Some(15));
    started.assert_ended();
    assert_no_litter(&sandbox);
}

#[test]
fn another_checker_is_installed_once_and_replayed() {
    let sandbox = project();
    let first = sandbox.output(&mut check(&sandbox, &["--tool", "zuban"])).expect_code(1);
    assert!(first.stdout.contains("pkg/b.py:3: error: "), "{first}");
    assert!(first.stderr.starts_with("installing zuban, which the environment does not have\n"));
    assert!(first.stderr.contains("zuban ran: everything checked"), "{first}");
    let second = sandbox.output(&mut check(&sandbox, &["--tool", "zuban"])).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.starts_with("replayed: nothing changed, "), "{second}");
    let unknown = sandbox.output(&mut check(&sandbox, &["--tool", "zubat"])).expect_code(2);
    assert!(unknown.stderr.contains("hint: it can be `mypy`, `ty`, "), "{unknown}");
}

#[test]
fn several_tools_answer_in_the_order_asked() {
    let sandbox = project();
    // An environment with both.
    let environment = sandbox.home().join("both");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(tools()).arg(&environment);
    assert!(copy.status().expect("cp runs").success());
    let zuban = rewarm_testkit::tools::checker("zuban");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(zuban.join("bin/zuban")).arg(environment.join("bin"));
    assert!(copy.status().expect("cp runs").success());
    let library = rewarm_testkit::tools::site_packages(&zuban);
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(library.join("zuban"));
    copy.arg(rewarm_testkit::tools::site_packages(&environment));
    assert!(copy.status().expect("cp runs").success());
    let check = |sandbox: &Sandbox, args: &[&str]| {
        let mut command = check(sandbox, args);
        command.env("VIRTUAL_ENV", &environment);
        command
    };
    sandbox.write(
        "pyproject.toml",
        "[tool.mypy]\nfiles = ['pkg']\n[tool.rewarm.check]\ntools = ['zuban', 'mypy']\n",
    );
    let both = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    let (mypy, zuban) = (both.stderr.find("mypy ran: "), both.stderr.find("zuban ran: "));
    assert!(zuban.is_some() && zuban < mypy, "{both}");
    assert_eq!(both.stdout.matches("pkg/b.py:3: error: ").count(), 2, "{both}");
    // The worst code counts: 0 of the one and 1 of the other.
    sandbox.write("pkg/b.py", "import nothing.at_all  # type: ignore[import-not-found]\n");
    sandbox.write("mypy.ini", "[mypy]\nwarn_unused_ignores = True\n");
    let json = sandbox.output(&mut check(&sandbox, &["--json"]));
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&value[0]["tool"], &value[1]["tool"]), (&"zuban".into(), &"mypy".into()));
    let args = check(&sandbox, &["--", "--strict"]);
    let refused = sandbox.output(&mut { args }).expect_code(2);
    assert!(refused.stderr.contains("are for one tool"), "{refused}");
}

#[test]
fn reports_are_the_same_on_a_replay_and_beside_the_text() {
    let sandbox = project();
    sandbox.write(".git/HEAD", "");
    let reports = ["--output", "sarif=out.sarif,junit=out.xml,json=out.json"];
    let first = sandbox.output(&mut check(&sandbox, &reports)).expect_code(1);
    assert!(first.stdout.contains("pkg/b.py:3: error: "), "the text as well: {first}");
    let read =
        |name: &str| std::fs::read_to_string(sandbox.project().join(name)).expect("a report");
    let (sarif, junit) = (read("out.sarif"), read("out.xml"));
    let log: serde_json::Value = serde_json::from_str(&sarif).expect("JSON");
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "assignment");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "pkg/b.py");
    assert!(junit.contains("name=\"pkg/b.py\""), "{junit}");
    let second = sandbox.output(&mut check(&sandbox, &reports)).expect_code(1);
    assert!(second.stderr.starts_with("replayed: "), "{second}");
    assert_eq!((read("out.sarif"), read("out.xml")), (sarif, junit));
    // From a subdirectory, paths are still those of the repository.
    let github = ["check", "--output", "github", "b.py"];
    let mut command = sandbox.command(github);
    command.env("VIRTUAL_ENV", tools()).current_dir(sandbox.project().join("pkg"));
    let github = sandbox.output(&mut command).expect_code(1);
    assert!(github.stdout.starts_with("::error file=pkg/b.py,line=3,"), "{github}");
    let mut unwritable = check(&sandbox, &["--output", "sarif=none/out.sarif"]);
    let unwritable = sandbox.output(&mut unwritable).expect_code(3);
    assert!(unwritable.stderr.contains("none/out.sarif"), "{unwritable}");
}

#[test]
fn a_plugin_that_hangs_is_ended_and_named() {
    let sandbox = project();
    sandbox.write(
        "pyproject.toml",
        "[tool.mypy]\nfiles = ['pkg']\nplugins = ['plugin.py']\n\
         [tool.rewarm.check]\ntimeout = 1\n",
    );
    let rest = "from mypy.plugin import Plugin\ndef plugin(version):\n    return Plugin\n";
    sandbox.write("plugin.py", format!("import signal\nsignal.pause()\n{rest}"));
    let ended = sandbox.output(&mut check(&sandbox, &[])).expect_code(3);
    assert!(ended.stderr.contains("mypy did not come to its end within 1 s"), "{ended}");
    assert!(ended.stderr.contains("tool.rewarm.check"), "{ended}");
    assert_eq!(ended.stdout, "");
    sandbox.write("plugin.py", rest);
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['pkg']\nplugins = ['plugin.py']\n");
    let whole = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    assert!(whole.stdout.contains("pkg/b.py:3: error: "), "{whole}");
}
