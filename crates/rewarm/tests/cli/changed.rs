//! `rewarm check --changed-since`, with a real git and a real mypy.

use std::process::Command;

use rewarm_testkit::sandbox::{Output, Sandbox};

use crate::support::{sandbox, tool};

fn git(sandbox: &Sandbox, args: &[&str]) {
    const SETTINGS: [&str; 8] = [
        "-c",
        "user.name=somebody",
        "-c",
        "user.email=somebody@example.org",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "commit.gpgSign=false",
    ];
    tool(sandbox, "git", &[&SETTINGS[..], args].concat()).expect_code(0);
}

/// A repository with one commit: `b` depends on `a`, `c` on nothing, and each has an error.
fn repository() -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = [\"pkg\"]\n");
    sandbox.write("pkg/__init__.py", "");
    sandbox.write("pkg/a.py", "def double(x: int) -> int:\n    return 2 * x\nx: str = 1\n");
    sandbox.write("pkg/b.py", "from pkg.a import double\n\ntext: str = double(1)\n");
    sandbox.write("pkg/c.py", "number: int = ''\n");
    git(&sandbox, &["init", "--quiet"]);
    commit(&sandbox, "the first");
    sandbox
}

/// Two commits of one second with one message could be the same one.
fn commit(sandbox: &Sandbox, message: &str) {
    git(sandbox, &["add", "."]);
    git(sandbox, &["commit", "--quiet", "--allow-empty", "--message", message]);
}

fn check(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut command = sandbox.command([&["check", "--changed-since"], args].concat());
    command.env("VIRTUAL_ENV", rewarm_testkit::tools::environment());
    sandbox.output(&mut command)
}

#[test]
fn what_changed_and_what_depends_on_it_is_checked_as_mypy_checks_it() {
    let sandbox = repository();
    let nothing = check(&sandbox, &["HEAD"]).expect_code(0);
    assert_eq!(nothing.stdout, "");
    let said = "nothing to check: since `HEAD` none of 4 files changed or depends on a change\n";
    assert_eq!(nothing.stderr, said);
    sandbox.write("pkg/a.py", "def double(x: int) -> str:\n    return 2 * x\n");
    sandbox.write("notes.txt", "of no concern");
    let edited = check(&sandbox, &["HEAD"]).expect_code(1);
    assert!(edited.stderr.starts_with("2 of 4 files: 1 changed, 1 depends on them\n"), "{edited}");
    let mut mypy = Command::new(rewarm_testkit::tools::environment().join("bin/mypy"));
    mypy.current_dir(sandbox.project());
    mypy.args(["--cache-dir", "/dev/null", "pkg/a.py", "pkg/b.py"]);
    let plain = sandbox.output(&mut mypy).expect_code(1);
    assert_eq!(plain.stdout, edited.stdout);
    // Committed on a branch it has changed since `main`, not since `HEAD`.
    git(&sandbox, &["checkout", "--quiet", "-b", "branch"]);
    commit(&sandbox, "on a branch");
    assert_eq!(check(&sandbox, &["main"]).expect_code(1).stdout, edited.stdout);
    assert_eq!(check(&sandbox, &["HEAD"]).expect_code(0).stdout, "");
    sandbox.write("pkg/d.py", "import pkg.c\n");
    let untracked = check(&sandbox, &["HEAD", "--json"]).expect_code(1);
    assert!(untracked.stderr.contains("1 of 5 files: 1 changed, 0 depend on them"), "{untracked}");
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = [\"pkg\"]\nstrict = true\n");
    let all = check(&sandbox, &["HEAD"]).expect_code(1);
    assert!(all.stderr.starts_with("all files are to be checked: `pyproject.toml` changed\n"));
    assert!(all.stdout.contains("(checked 5 source files)"), "{all}");
}

#[test]
fn what_git_cannot_say_is_named_with_the_mend() {
    let sandbox = repository();
    let unknown = check(&sandbox, &["nowhere"]).expect_code(2);
    assert!(unknown.stderr.contains("git knows no commit `nowhere`"), "{unknown}");
    assert!(unknown.stderr.contains("hint: fetch it"), "{unknown}");
    git(&sandbox, &["checkout", "--quiet", "--orphan", "other"]);
    commit(&sandbox, "without a parent");
    let apart = check(&sandbox, &["main"]).expect_code(2);
    assert!(apart.stderr.contains("`main` and `HEAD` have no commit in common"), "{apart}");
    let tools = check(&sandbox, &["HEAD", "--tool", "ty"]).expect_code(2);
    assert!(tools.stderr.contains("hint: name mypy alone"), "{tools}");
    let module = check(&sandbox, &["HEAD", "--", "-m", "pkg.a"]).expect_code(2);
    assert!(module.stderr.contains("chooses what to check, and so does `-m`"), "{module}");
    std::fs::remove_dir_all(sandbox.project().join(".git")).expect("removed");
    let none = check(&sandbox, &["HEAD"]).expect_code(2);
    assert!(none.stderr.contains("is in no git repository"), "{none}");
}
