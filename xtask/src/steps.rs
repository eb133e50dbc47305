//! The steps of `test` and `torture`: each is one visible command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::setup;

/// An error is a sentence for the person who ran the task.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}

/// Formatting, lints, documentation and every test.
pub(crate) fn test() -> Result<()> {
    let started = Instant::now();
    step("format", cargo(&["fmt", "--all", "--check"]))?;
    let tools = setup::tools();
    setup::shells()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step("lint", cargo(&lint))?;
    let test = ["test", "--workspace", "--locked", "--no-fail-fast"];
    step("test", cargo(&test).env("REWARM_TEST_VENV", &tools))?;
    let doc = ["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"];
    step("document", cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("all passed in {} s", started.elapsed().as_secs());
    Ok(())
}

/// The fault tests with many rounds; `names` narrows them down.
pub(crate) fn torture(names: &[&str]) -> Result<()> {
    let tools = setup::tools();
    let rounds = std::env::var("REWARM_TORTURE_ROUNDS").unwrap_or_else(|_| "2000".to_owned());
    let mut command = cargo(&["test", "--workspace", "--release", "--locked", "--no-fail-fast"]);
    command.env("REWARM_TEST_VENV", &tools).env("REWARM_TORTURE_ROUNDS", rounds);
    command.args(["--", "--nocapture"]).args(names);
    step("torture", &mut command)
}

/// Random histories against a cold mypy, and checks at once, for so many seconds.
pub(crate) fn torture_check(words: &[&str]) -> Result<()> {
    let seconds = match *words {
        [] => "600",
        ["--seconds", seconds] => seconds,
        _ => return Err("`torture check` takes `--seconds N`".to_owned()),
    };
    seconds.parse::<u64>().map_err(|_| format!("`{seconds}` is no number of seconds"))?;
    let drawn = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        (now.unwrap_or_default().as_secs() % 1_000_000 * 1000).to_string()
    };
    let seed = std::env::var("REWARM_TORTURE_SEED").unwrap_or_else(|_| drawn());
    println!("the first seed is {seed}; `REWARM_TORTURE_SEED` gives the same histories again");
    let mut command = cargo(&["test", "-p", "rewarm-check", "--locked", "--no-fail-fast"]);
    command.args(["--test", "check", "--", "--nocapture", "--test-threads=1"]);
    command.args(["history::", "together::"]).env("REWARM_TEST_VENV", setup::tools());
    command.env("REWARM_TORTURE_SEED", seed).env("REWARM_TORTURE_SECONDS", seconds);
    if std::env::var_os("REWARM_TORTURE_ROUNDS").is_none() {
        command.env("REWARM_TORTURE_ROUNDS", "100");
    }
    step("torture check", &mut command)
}

pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

fn step(name: &str, mut command: impl std::borrow::BorrowMut<Command>) -> Result<()> {
    let started = Instant::now();
    println!("== {name}");
    run(command.borrow_mut())?;
    println!("== {name}: {} s", started.elapsed().as_secs());
    Ok(())
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}
