//! `rewarm check` over several projects, versions and platforms: each answered as the real mypy
//! answers it in its directory.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_testkit::sandbox::{Output, Sandbox};
use serde_json::Value;

use crate::support::{sandbox, tool};

const GIT: [&str; 6] = [
    "-c",
    "user.name=somebody",
    "-c",
    "user.email=somebody@example.org",
    "-c",
    "commit.gpgSign=false",
];

/// The source of a module with one error.
const WRONG: &str = "number: int = ''\n";

fn tools() -> PathBuf {
    rewarm_testkit::tools::environment()
}

/// A repository: a project at its root, two below, and one in a directory that git ignores.
fn repository() -> Sandbox {
    let sandbox = sandbox();
    tool(&sandbox, "git", &["init", "--quiet"]).expect_code(0);
    sandbox.write(".gitignore", "/build/\n");
    sandbox.write("pyproject.toml", "[tool.mypy]\nfiles = ['scripts']\n");
    sandbox.write("scripts/run.py", "print(1 + '')\n");
    sandbox.write("libs/a/mypy.ini", "[mypy]\nstrict = True\nfiles = src\n");
    sandbox.write("libs/a/src/one.py", "def f(x):\n    return x\n");
    sandbox.write("libs/a/other.py", WRONG);
    sandbox.write("libs/b/setup.cfg", "[mypy]\npretty = True\n");
    sandbox.write("libs/b/two.py", WRONG);
    sandbox.write("libs/c/setup.cfg", "[metadata]\nname = c\n");
    sandbox.write("libs/c/three.py", "");
    sandbox.write("build/copy/mypy.ini", "[mypy]\n");
    sandbox.write("build/copy/four.py", WRONG);
    sandbox.write("node_modules/x/mypy.ini", "[mypy]\n");
    sandbox
}

fn check_in(sandbox: &Sandbox, directory: &str, args: &[&str]) -> Output {
    let mut command = sandbox.command([&["check"], args].concat());
    command.env("VIRTUAL_ENV", tools()).current_dir(sandbox.project().join(directory));
    sandbox.output(&mut command)
}

fn check(sandbox: &Sandbox, args: &[&str]) -> Output {
    check_in(sandbox, "", args)
}

/// What mypy says in a directory.
fn mypy(sandbox: &Sandbox, directory: &str, args: &[&str]) -> Output {
    let mut mypy = Command::new(tools().join("bin/mypy"));
    mypy.args(["--cache-dir", "/dev/null"]).args(args);
    mypy.current_dir(sandbox.project().join(directory));
    sandbox.output(&mut mypy)
}

/// The headings in what was said.
fn headings(output: &Output) -> Vec<&str> {
    let lines = output.stderr.lines();
    lines.filter_map(|line| line.strip_prefix("in ")?.strip_suffix(':')).collect()
}

#[test]
fn all_projects_answer_as_mypy_does_in_their_directories() {
    let sandbox = repository();
    let plain = [
        mypy(&sandbox, "", &[]).expect_code(1).stdout,
        mypy(&sandbox, "libs/a", &[]).expect_code(1).stdout,
        mypy(&sandbox, "libs/b", &["."]).expect_code(1).stdout,
    ];
    let first = check(&sandbox, &["--all"]).expect_code(1);
    assert_eq!(first.stdout, plain.concat());
    assert_eq!(headings(&first), [".", "libs/a", "libs/b"]);
    let last = first.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("checked 3 partitions: 0 replayed, 3 with errors ("), "{first}");
    let second = check(&sandbox, &["--all", "--explain", "--stats"]).expect_code(1);
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.contains("3 replayed, 3 with errors"), "{second}");
    assert!(second.stderr.contains("libs/b: check: hit; no input has changed\n"), "{second}");
    assert!(second.stderr.contains("libs/b: mypy: source files "), "{second}");
    // Asked alone, a project has its answer already.
    let alone = check_in(&sandbox, "libs/a", &[]).expect_code(1);
    assert_eq!(alone.stdout, plain[1]);
    assert!(alone.stderr.starts_with("replayed: "), "{alone}");
    // From further down, only what lies there.
    let below = check_in(&sandbox, "libs", &["--all"]).expect_code(1);
    assert_eq!(below.stdout, plain[1..].concat());
    assert_eq!(headings(&below), ["a", "b"]);
}

#[test]
fn paths_are_checked_where_their_configuration_lies() {
    let sandbox = repository();
    let named = ["libs/b/two.py", "scripts/run.py", "libs/a", "./libs/b/two.py"];
    let plain = [
        mypy(&sandbox, "libs/b", &["two.py"]).expect_code(1).stdout,
        mypy(&sandbox, "", &["scripts/run.py"]).expect_code(1).stdout,
        mypy(&sandbox, "libs/a", &[]).expect_code(1).stdout,
    ];
    let found = check(&sandbox, &named).expect_code(1);
    assert_eq!(found.stdout, plain.concat());
    assert_eq!(headings(&found), ["libs/b", ".", "libs/a"]);
    // Within the project of the working directory nothing is different from what it was.
    let own = check(&sandbox, &["scripts", "libs/c/three.py"]).expect_code(1);
    assert_eq!(own.stdout, mypy(&sandbox, "", &["scripts", "libs/c/three.py"]).stdout);
    assert_eq!(headings(&own), Vec::<&str>::new());
    // A link is where it leads to, and arguments are mypy's own.
    std::os::unix::fs::symlink("libs/b", sandbox.project().join("link")).expect("a link");
    let link = check(&sandbox, &["link", "libs/b"]).expect_code(1);
    assert_eq!(link.stdout, mypy(&sandbox, "libs/b", &["."]).stdout);
    assert_eq!(headings(&link), ["libs/b"]);
    let argument = check(&sandbox, &["--", "libs/b/two.py"]).expect_code(1);
    assert_eq!(argument.stdout, mypy(&sandbox, "", &["libs/b/two.py"]).stdout);
    let upwards = check_in(&sandbox, "libs/a", &["../../scripts", "src"]).expect_code(1);
    assert_eq!(headings(&upwards), ["../..", "."]);
    let missing = check(&sandbox, &["libs/b/none.py"]).expect_code(2);
    assert_eq!(
        missing.stderr.lines().nth(1),
        mypy(&sandbox, "libs/b", &["none.py"]).stderr.lines().next()
    );
}

#[test]
fn an_edit_runs_mypy_in_its_project_only() {
    let sandbox = repository();
    sandbox.write("libs/a/rewarm.toml", "");
    sandbox.write("libs/b/rewarm.toml", "");
    check(&sandbox, &["--all"]).expect_code(1);
    sandbox.write("libs/b/two.py", "number: int = 1\n");
    let edited = check(&sandbox, &["libs/a", "libs/b"]).expect_code(1);
    assert!(edited.stderr.contains("checked 2 partitions: 1 replayed, 1 with errors"), "{edited}");
}

#[test]
fn a_project_that_cannot_be_entered_is_named_and_the_others_are_answered() {
    let sandbox = repository();
    sandbox.write("libs/a/pyproject.toml", "[tool.rewarm.check]\ntimeout = 'soon'\n");
    let found = check(&sandbox, &["--all", "--no-install"]).expect_code(2);
    let plain = [mypy(&sandbox, "", &[]).stdout, mypy(&sandbox, "libs/b", &["."]).stdout];
    assert_eq!(found.stdout, plain.concat());
    assert!(
        found.stderr.contains("in libs/a:\nerror: `[PROJECT]/libs/a/pyproject.toml`, line 2"),
        "{found}"
    );
    assert!(found.stderr.contains("0 replayed, 2 with errors, 1 failed"), "{found}");
    let quiet = check(&sandbox, &["--all", "--quiet"]).expect_code(2);
    assert!(quiet.stderr.starts_with("in libs/a:\nerror: "), "{quiet}");
    let json = check(&sandbox, &["--all", "--json"]).expect_code(2);
    let list: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(list[1]["project"], "libs/a");
    assert!(list[1]["error"].as_str().is_some_and(|error| error.contains("line 2")), "{list}");
    assert_eq!((&list[2]["project"], &list[2]["exit_code"]), (&"libs/b".into(), &1.into()));
    // Without mypy.
    sandbox.write("libs/a/pyproject.toml", "[tool.mypy]\n");
    tool(&sandbox, "python3", &["-m", "venv", "--without-pip", "libs/a/.venv"]).expect_code(0);
    let found = check(&sandbox, &["--all"]).expect_code(2);
    assert_eq!(found.stdout, plain.concat());
    assert!(
        found.stderr.contains("no mypy in the environment `[PROJECT]/libs/a/.venv`"),
        "{found}"
    );
}

#[test]
fn a_project_without_an_environment_shares_the_one_above() {
    let sandbox = repository();
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, sandbox.project().join(name)).expect("a link");
    };
    link(&tools(), ".venv");
    sandbox.write("libs/a/pyproject.toml", "[project]\nname = 'a'\n");
    let mut command = sandbox.command(["check", "libs/a", "--json"]);
    let found = sandbox.output(&mut command).expect_code(1);
    let list: Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!(list[0]["stdout"], mypy(&sandbox, "libs/a", &[]).stdout);
    assert_eq!(list[0]["environment"], "[PROJECT]/.venv");
    // One of its own comes first, with or without a manifest.
    for manifest in [true, false] {
        if !manifest {
            std::fs::remove_file(sandbox.project().join("libs/a/pyproject.toml")).expect("removed");
        } else {
            link(&tools(), "libs/a/.venv");
        }
        let found = sandbox.output(&mut sandbox.command(["check", "libs/a", "--json"]));
        let list: Value = serde_json::from_str(&found.expect_code(1).stdout).expect("JSON");
        assert_eq!(list[0]["environment"], "[PROJECT]/libs/a/.venv");
    }
}

#[test]
fn versions_and_platforms_are_checked_apart() {
    let sandbox = sandbox();
    sandbox.write(
        "pyproject.toml",
        "[tool.mypy]\n[tool.rewarm.check]\npython-versions = ['3.11', '3.13']\n\
         platforms = ['linux', 'win32']\n",
    );
    sandbox.write(
        "a.py",
        "import sys\nif sys.platform == 'win32':\n    x: int = ''\n\
         if sys.version_info >= (3, 12):\n    y: str = 0\n",
    );
    let told = |version, platform| {
        let args = ["--python-version", version, "--platform", platform, "."];
        mypy(&sandbox, "", &args).stdout
    };
    let plain = [
        told("3.11", "linux"),
        told("3.11", "win32"),
        told("3.13", "linux"),
        told("3.13", "win32"),
    ];
    let found = check(&sandbox, &[]).expect_code(1);
    assert_eq!(found.stdout, plain.concat());
    assert_eq!(headings(&found)[..2], ["., Python 3.11 on linux", "., Python 3.11 on win32"]);
    assert!(found.stderr.contains("checked 4 partitions: 0 replayed, 3 with errors"), "{found}");
    let given = check(&sandbox, &["--", "--python-version=3.13"]).expect_code(1);
    assert_eq!(given.stdout, plain[2..].concat());
    let json = check(&sandbox, &["--json"]).expect_code(1);
    let list: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(
        (&list[1]["python_version"], &list[1]["platform"]),
        (&"3.11".into(), &"win32".into())
    );
    assert_eq!(
        (&list[1]["replayed"], &list[1]["stdout"]),
        (&true.into(), &plain[1].clone().into())
    );
}

#[test]
fn other_checkers_are_told_version_and_platform_in_their_words() {
    let sandbox = sandbox();
    sandbox.write(
        "pyproject.toml",
        "[tool.rewarm.check]\npython-versions = ['3.11', '3.13']\n\
         platforms = ['linux', 'win32']\n",
    );
    sandbox.write(
        "a.py",
        "import sys\nif sys.platform == 'win32':\n    x: int = ''\n\
         if sys.version_info >= (3, 12):\n    y: str = 0\n",
    );
    // Without one, pyrefly reports hardly anything.
    sandbox.write("pyrefly.toml", "");
    for name in ["ty", "pyright", "pyrefly", "zuban"] {
        let mut command = sandbox.command(["check", "--tool", name, "--json"]);
        command.env("VIRTUAL_ENV", rewarm_testkit::tools::checker(name));
        let found = sandbox.output(&mut command).expect_code(1);
        let list: Value = serde_json::from_str(&found.stdout).expect("JSON");
        let lines = |index: usize| {
            let text = list[index]["stdout"].as_str().unwrap_or_default();
            [":3:", ":5:"].map(|line| text.contains(line))
        };
        let expected = [[false, false], [true, false], [false, true], [true, true]];
        assert_eq!([0, 1, 2, 3].map(lines), expected, "{name}: {found}");
    }
}

#[test]
fn what_changed_is_looked_for_in_every_project() {
    let sandbox = repository();
    let git = |args: &[&str]| tool(&sandbox, "git", &[&GIT[..], args].concat()).expect_code(0);
    sandbox.write("libs/b/uses.py", "import two\ntwo.number + 1\nother: str = 0\n");
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "a commit"]);
    let nothing = check(&sandbox, &["--all", "--changed-since", "HEAD"]).expect_code(0);
    assert_eq!(nothing.stdout, "");
    assert_eq!(nothing.stderr.matches("nothing to check: ").count(), 3, "{nothing}");
    sandbox.write("libs/b/two.py", "number: int = 1\n");
    let edited = check(&sandbox, &["--all", "--changed-since", "HEAD"]).expect_code(1);
    assert_eq!(edited.stdout, mypy(&sandbox, "libs/b", &["two.py", "uses.py"]).stdout);
    let said = "in libs/b:\n2 of 2 files: 1 changed, 1 depends on them\n";
    assert!(edited.stderr.contains(said), "{edited}");
}

#[test]
fn one_report_has_all_partitions_with_paths_of_the_repository() {
    let sandbox = repository();
    let found = check(&sandbox, &["--all", "--output", "sarif"]).expect_code(1);
    let log: Value = serde_json::from_str(&found.stdout).expect("JSON");
    let runs = log["runs"].as_array().expect("runs");
    let part = |run: &Value| {
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap_or_default().to_owned();
        (run["automationDetails"]["id"].as_str().unwrap_or_default().to_owned(), uri)
    };
    let expected = [
        ("mypy/./", "scripts/run.py"),
        ("mypy/libs/a/", "libs/a/src/one.py"),
        ("mypy/libs/b/", "libs/b/two.py"),
    ];
    let parts: Vec<_> = runs.iter().map(part).collect();
    assert_eq!(parts, expected.map(|(id, uri)| (id.to_owned(), uri.to_owned())));
    let github = check(&sandbox, &["--output", "github", "libs/a", "libs/b"]).expect_code(1);
    assert!(github.stdout.contains("file=libs/a/src/one.py,line=1"), "{github}");
    assert!(github.stdout.contains("file=libs/b/two.py,line=1"), "{github}");
}

#[test]
fn a_signal_ends_the_checkers_of_all_projects() {
    let sandbox = sandbox();
    let slow = "from mypy.plugin import Plugin\nimport time\n\
        with open('../pipe', 'ab', buffering=0) as pipe:\n    pipe.write(b'started')\n    \
        time.sleep(20)\n    pipe.write(b', went on alone')\n\n\
        def plugin(version):\n    return Plugin\n";
    for name in ["a", "b", "c"] {
        sandbox.write(format!("{name}/mypy.ini"), "[mypy]\nplugins = slow.py\n");
        sandbox.write(format!("{name}/slow.py"), slow);
    }
    tool(&sandbox, "mkfifo", &["pipe"]).expect_code(0);
    let mut command = sandbox.command(["check", "--all", "--no-worker"]);
    let mut running = command.env("VIRTUAL_ENV", tools()).spawn().expect("the binary starts");
    let mut pipe = std::fs::File::open(sandbox.project().join("pipe")).expect("mypy runs");
    let mut said = [0; 7];
    pipe.read_exact(&mut said).expect("mypy runs");
    let pid = running.id().to_string();
    tool(&sandbox, "kill", &["-INT", &pid]).expect_code(0);
    assert_eq!(running.wait().expect("an end").signal(), Some(2));
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("an end");
    assert!(!rest.contains("alone"), "{rest}");
    let litter = std::fs::read_dir(sandbox.cache().join("tmp")).expect("a store").count();
    assert_eq!(litter, 0);
}

#[test]
fn misuse_is_named_with_the_mend() {
    let sandbox = sandbox();
    sandbox.write("a.py", "");
    let none = check(&sandbox, &["--all"]).expect_code(2);
    assert!(none.stderr.contains("there is no project at or below `[PROJECT]`"), "{none}");
    assert!(none.stderr.contains("hint: leave out `--all`"), "{none}");
    let both = check(&sandbox, &["--all", "a.py"]).expect_code(2);
    assert!(both.stderr.contains("cannot be used with"), "{both}");
    sandbox.write("b/mypy.ini", "[mypy]\n");
    let watched = check(&sandbox, &["--watch", "b"]).expect_code(2);
    assert!(watched.stderr.contains("hint: name the project: `rewarm -C DIR"), "{watched}");
}
