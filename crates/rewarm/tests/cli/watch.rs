//! `rewarm check --watch`, with a real mypy: what comes through its pipes, or onto a terminal.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rewarm_testkit::sandbox::Sandbox;

use crate::support::{SlowPlugin, assert_no_litter, sandbox, tool};

const WRONG: &str = "pkg/a.py:1: error: ";
const CLEAN: &str = "Success: no issues found in 2 source files";

fn project() -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = [\"pkg\"]\n");
    sandbox.write("pkg/__init__.py", "");
    sandbox.write("pkg/a.py", "text: str = 1\n");
    sandbox
}

/// A watch under way; killed with the test.
struct Watch {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pid: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        Self::of(sandbox.command([&["check", "--watch"], args].concat()))
    }

    fn of(mut command: Command) -> Self {
        command.env("VIRTUAL_ENV", rewarm_testkit::tools::environment());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let pid = child.id().to_string();
        Self { child, stdout, pid }
    }

    /// The next line, waited for.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.stdout.read_line(&mut line).expect("it is text");
        assert!(count > 0, "the watch has ended: {:?}", self.child.try_wait());
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn expect(&mut self, beginnings: &[&str]) {
        for beginning in beginnings {
            let line = self.line();
            assert!(line.starts_with(beginning), "{line:?} is not {beginning:?}");
        }
    }

    /// The next line that has some text in it, waited for.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal and waits for the end; what was printed until then.
    fn end(&mut self, sandbox: &Sandbox, signal: &str) -> (String, ExitStatus) {
        tool(sandbox, "kill", &[signal, &self.pid]).expect_code(0);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("it is text");
        (rest, self.child.wait().expect("an end"))
    }
}

#[test]
fn an_edit_gives_another_answer_and_its_revert_the_first_again() {
    let sandbox = project();
    let mut watch = Watch::start(&sandbox, &[]);
    watch.expect(&[WRONG, "Found 1 error in 1 file"]);
    sandbox.write("pkg/a.py", "text: str = ''\n");
    watch.expect(&["--- changed: pkg/a.py", CLEAN]);
    sandbox.write("pkg/a.py", "text: str = 1\n");
    watch.expect(&["--- changed: pkg/a.py", WRONG, "Found 1 error in 1 file"]);
    let (rest, status) = watch.end(&sandbox, "-INT");
    assert_eq!((rest.as_str(), status.code()), ("", Some(1)));
}

#[test]
fn the_last_code_is_that_of_the_last_answer() {
    let sandbox = project();
    let mut watch = Watch::start(&sandbox, &["pkg"]);
    watch.expect(&[WRONG, "Found 1 error"]);
    // Configuration counts like any other input.
    sandbox.write("mypy.ini", "[mypy]\nignore_errors = True\n");
    let changed = watch.line();
    assert!(changed.starts_with("--- changed: ") && changed.contains("mypy.ini"), "{changed}");
    watch.expect(&[CLEAN]);
    let (rest, status) = watch.end(&sandbox, "-INT");
    assert_eq!((rest.as_str(), status.code()), ("", Some(0)));
}

#[test]
fn an_answer_that_cannot_be_kept_is_asked_for_only_once() {
    let sandbox = project();
    // Every run says that it has begun.
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['pkg']\nplugins = ['plugin.py']\n");
    sandbox.write(
        "plugin.py",
        "from mypy.plugin import Plugin\nwith open('../runs', 'a') as runs:\n    runs.write('x')\n\
         def plugin(version):\n    return Plugin\n",
    );
    let runs = || std::fs::read(sandbox.home().join("../runs")).expect("mypy ran").len();
    sandbox.write("pkg/a.py", "def broken(:\n");
    let mut watch = Watch::start(&sandbox, &[]);
    watch.until("(errors prevented");
    let first = runs();
    for _ in 0..3 {
        // The directory goes and comes back, which are two looks at least.
        std::fs::rename(sandbox.project(), sandbox.home().join("away")).expect("it can be moved");
        watch.expect(&["--- no answer"]);
        std::fs::rename(sandbox.home().join("away"), sandbox.project()).expect("it can be moved");
        watch.expect(&["--- changed", "pkg/a.py:1: error: "]);
        watch.until("(errors prevented");
    }
    assert_eq!(runs(), first);
    // Whatever is touched may have been something else in between.
    sandbox.write("pkg/a.py", "def broken(:\n");
    watch.expect(&["--- changed", "pkg/a.py:1: error: "]);
    watch.until("(errors prevented");
    assert_eq!(runs(), 2 * first);
    sandbox.write("pkg/a.py", "text: str = ''\n");
    watch.expect(&["--- changed: pkg/a.py", CLEAN]);
    let (rest, status) = watch.end(&sandbox, "-INT");
    assert_eq!((rest.as_str(), status.code()), ("", Some(0)));
}

#[test]
fn a_signal_ends_a_run_at_once_with_the_last_code() {
    let sandbox = project();
    let mut watch = Watch::start(&sandbox, &[]);
    watch.expect(&[WRONG, "Found 1 error"]);
    let plugin = SlowPlugin::write(&sandbox);
    sandbox.write("mypy.ini", "[mypy]\nplugins = slow.py\n");
    // Whatever run had begun before the last file was there ends first.
    let started = plugin.started();
    let (_, status) = watch.end(&sandbox, "-INT");
    assert_eq!(status.code(), Some(1));
    started.assert_ended();
    assert_no_litter(&sandbox);
}

#[test]
fn other_signals_end_it_as_they_end_anything() {
    let sandbox = project();
    let mut watch = Watch::start(&sandbox, &[]);
    watch.expect(&[WRONG, "Found 1 error"]);
    let (_, status) = watch.end(&sandbox, "-TERM");
    assert_eq!(status.signal(), Some(15));
}

#[test]
fn another_checker_is_watched_as_well() {
    let sandbox = project();
    let mut watch = Watch::start(&sandbox, &["--tool", "zuban", "pkg"]);
    watch.expect(&[WRONG, "Found 1 error"]);
    sandbox.write("pkg/a.py", "text: str = ''\n");
    let changed = watch.line();
    assert!(changed.starts_with("--- changed: ") && changed.contains("pkg/a.py"), "{changed}");
    watch.expect(&["Success: "]);
    let (rest, status) = watch.end(&sandbox, "-INT");
    assert_eq!((rest.as_str(), status.code()), ("", Some(0)));
}

#[test]
fn a_terminal_is_cleared_and_has_a_last_line() {
    let sandbox = project();
    let line =
        format!("exec script -qec 'exec {} check --watch' /dev/null", env!("CARGO_BIN_EXE_rewarm"));
    let mut command = sandbox.shell(&line);
    // `script` reads it for as long as it is open.
    command.env("TERM", "dumb").stdin(Stdio::piped());
    let mut watch = Watch::of(command);
    let mut keys = watch.child.stdin.take().expect("it is a pipe");
    let first = watch.line();
    assert!(first.contains(&format!("\x1b[H\x1b[2J{WRONG}")), "{first:?}");
    let status = watch.until("Ctrl-C ends");
    assert!(status.contains("watching 2 files · 1 error · checked "), "{status}");
    std::io::Write::write_all(&mut keys, b"\x03").expect("it listens");
    assert_eq!(watch.child.wait().expect("an end").code(), Some(1));
}

#[test]
fn forms_for_one_answer_are_refused() {
    let sandbox = project();
    for option in [&["--json"][..], &["--output", "sarif=a.sarif"]] {
        let refused = sandbox.run([&["check", "--watch"], option].concat()).expect_code(2);
        assert!(refused.stderr.contains(&format!("hint: leave out `{}`", option[0])), "{refused}");
    }
}

#[test]
fn a_first_look_without_an_answer_ends_it() {
    let sandbox = project();
    let ended = sandbox.run(["check", "--watch"]).expect_code(2);
    assert!(ended.stderr.contains("there is no environment"), "{ended}");
}

#[test]
fn each_variant_is_watched() {
    let sandbox = project();
    let versions = "[tool.rewarm.check]\npython-versions = ['3.11', '3.12']\n";
    sandbox.write("pyproject.toml", format!("[tool.mypy]\nfiles = ['pkg']\n{versions}"));
    sandbox.write("pkg/a.py", "import sys\nif sys.version_info >= (3, 12):\n    text: str = 1\n");
    let mut watch = Watch::start(&sandbox, &[]);
    watch.expect(&[CLEAN, "pkg/a.py:3: error: ", "Found 1 error"]);
    sandbox.write("pkg/a.py", "text: str = 1\n");
    let changed = watch.line();
    assert_eq!(changed, "--- changed: pkg/a.py");
    watch.expect(&[WRONG, "Found 1 error", WRONG, "Found 1 error"]);
    let (rest, status) = watch.end(&sandbox, "-INT");
    assert_eq!((rest.as_str(), status.code()), ("", Some(1)));
}

#[test]
fn other_projects_are_refused() {
    let sandbox = project();
    sandbox.write("one/pyproject.toml", "[tool.mypy]\nstrict = true\n");
    let refused = sandbox.run(["check", "--watch", "--all"]).expect_code(2);
    assert!(refused.stderr.contains("`rewarm -C DIR check --watch`"), "{refused}");
}
