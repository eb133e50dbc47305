//! `rewarm check`, with a real mypy: installed once from PyPI by `cargo xtask setup`, or here.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rewarm_testkit::sandbox::Sandbox;

use crate::support::sandbox;

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
    assert!(first.stderr.starts_with("mypy ran on 3 source files: "), "{first}");
    let second = sandbox.output(&mut check(&sandbox, &["--explain"])).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.starts_with("replayed: nothing changed in 3 source files"), "{second}");
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
    let slow = "import time\nfrom mypy.plugin import Plugin\n\n\
        with open('pipe', 'wb', buffering=0) as pipe:\n    pipe.write(b'started')\n    \
        time.sleep(20)\n    pipe.write(b', went on alone')\n\n\
        def plugin(version):\n    return Plugin\n";
    sandbox.write("slow.py", slow);
    crate::support::tool(&sandbox, "mkfifo", &["pipe"]).expect_code(0);
    let mut running = check(&sandbox, &[]).spawn().expect("the binary starts");
    let mut pipe = std::fs::File::open(sandbox.project().join("pipe")).expect("mypy runs");
    let mut said = [0; 7];
    pipe.read_exact(&mut said).expect("mypy runs");
    let pid = running.id().to_string();
    crate::support::tool(&sandbox, "kill", &["-TERM", &pid]).expect_code(0);
    assert_eq!(running.wait().expect("an end").signal(), Some(15));
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("an end");
    assert_eq!(rest, "");
    let litter = std::fs::read_dir(sandbox.cache().join("tmp")).expect("a store").count();
    assert_eq!(litter, 0);
}

#[test]
fn another_checker_is_installed_once_and_replayed() {
    let sandbox = project();
    let first = sandbox.output(&mut check(&sandbox, &["--tool", "zuban"])).expect_code(1);
    assert!(first.stdout.contains("pkg/b.py:3: error: "), "{first}");
    assert!(first.stderr.starts_with("installing zuban, which the environment does not have\n"));
    assert!(first.stderr.contains("zuban ran on 3 source files"), "{first}");
    let second = sandbox.output(&mut check(&sandbox, &["--tool", "zuban"])).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.starts_with("replayed: nothing changed in 3 source files"), "{second}");
    let unknown = sandbox.output(&mut check(&sandbox, &["--tool", "zubat"])).expect_code(2);
    assert!(unknown.stderr.contains("hint: it can be `mypy`, `ty`, "), "{unknown}");
}

#[test]
fn several_tools_answer_in_the_order_asked() {
    let sandbox = project();
    sandbox.write(
        "pyproject.toml",
        "[tool.mypy]\nfiles = ['pkg']\n[tool.rewarm.check]\ntools = ['zuban', 'mypy']\n",
    );
    let both = sandbox.output(&mut check(&sandbox, &[])).expect_code(1);
    let (mypy, zuban) = (both.stderr.find("mypy ran on"), both.stderr.find("zuban ran on"));
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
