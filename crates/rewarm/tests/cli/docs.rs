//! Runs the commands of the documentation, in a copy of the quickstart, against the real PyPI.
//!
//! A block marked `console` is a script: its lines start with `$ `, and every one has to succeed
//! unless it says `# exit N`. The blocks of one page share a project; all pages share a cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::tools;

use crate::support::{sandbox, tool};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of a page, each with the exit code that it should have.
fn commands(page: &str) -> Vec<(String, i32)> {
    let mut commands = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = language == "console";
        } else if is_console {
            let command = line.strip_prefix("$ ").expect("a console block holds commands");
            let (command, code) = match command.split_once("  # exit ") {
                Some((command, code)) => (command, code.parse().expect("an exit code")),
                None => (command, 0),
            };
            commands.push((command.to_owned(), code));
        }
    }
    commands
}

fn copy_quickstart(sandbox: &Sandbox) {
    let from = root().join("examples/quickstart");
    let names = ["pyproject.toml", "pylock.toml", "beds.yaml", "mistake.py", "src"];
    let mut copy = Command::new("cp");
    copy.arg("-R").args(names.map(|name| from.join(name))).arg(sandbox.project());
    assert!(copy.status().expect("cp runs").success());
}

/// The guide takes it for granted that a project is in a repository.
fn commit(sandbox: &Sandbox) {
    let who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"];
    let sign = ["-c", "commit.gpgSign=false"];
    for args in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "all of it"]]
    {
        let args = [&who[..], &sign, args].concat();
        tool(sandbox, "git", &args).expect_code(0);
    }
}

fn run_page(sandbox: &Sandbox, page: &Path) -> usize {
    let text = std::fs::read_to_string(page).expect("a page can be read");
    let own = Path::new(env!("CARGO_BIN_EXE_rewarm")).parent().expect("it lies in a directory");
    #[expect(clippy::disallowed_methods, reason = "a shell has to find its tools")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = tools::environment().join("bin");
    let path = format!("{}:{}:{}", own.display(), path.display(), tools.display());
    let commands = commands(&text);
    for (line, code) in &commands {
        let output = sandbox.output(sandbox.shell(line).env("PATH", &path));
        assert_eq!(output.code, Some(*code), "{}: `{line}`: {output}", page.display());
    }
    commands.len()
}

#[test]
fn every_command_in_the_guide_works() {
    let guide = root().join("docs/guide");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(guide)
        .expect("the guide can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    // The cache is purged at the end of its page.
    pages.sort_by_key(|page| (page.ends_with("cache.md"), page.clone()));
    let sandbox = sandbox();
    copy_quickstart(&sandbox);
    commit(&sandbox);
    let count: usize = pages.iter().map(|page| run_page(&sandbox, page)).sum();
    assert!(count > 25, "only {count} commands were found");
}

#[test]
fn a_copied_project_re_checks_nothing() {
    let sandbox = sandbox();
    copy_quickstart(&sandbox);
    let first = sandbox.run(["check"]).expect_code(0);
    assert!(first.stderr.contains("installed "), "{first}");
    let elsewhere = sandbox.home().join("elsewhere");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(sandbox.project()).arg(&elsewhere);
    assert!(copy.status().expect("cp runs").success());
    let mut command = sandbox.command(["--offline", "check"]);
    let second = sandbox.output(command.current_dir(&elsewhere)).expect_code(0);
    assert!(second.stderr.contains("replayed: "), "{second}");
    assert_eq!(second.stdout, first.stdout);
    std::fs::remove_dir_all(sandbox.project().join(".venv")).expect("it was just made");
    let third = sandbox.run(["--offline", "check"]).expect_code(0);
    assert!(third.stderr.contains("nothing downloaded"), "{third}");
    assert!(third.stderr.contains("replayed: "), "{third}");
}
