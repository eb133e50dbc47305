//! What activation adds to a command: `rewarm run -- true` beside `true`, in turns.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::table::{Table, median, ratio, time};
use super::{Bench, project};
use crate::steps::Result;

const ROUNDS: usize = 300;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Table>> {
    let project = project::quickstart()?;
    project.warm(bench, &["install"])?;
    project.warm(bench, &["run", "--", "true"])?;
    let dir = project.dir();
    let rewarm = |args: &[&str]| {
        let mut command = Command::new(&bench.rewarm);
        command.args(args).env("REWARM_CACHE_DIR", project.cache());
        command
    };
    let mut uv = Command::new(bench.tools.join("bin/uv"));
    uv.args(["run", "--no-project", "--no-sync", "true"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", ". .venv/bin/activate; exec true"]);
    let mut python = Command::new(dir.join(".venv/bin/python"));
    python.arg("--version");
    let mut contestants = vec![
        ("`true`", Command::new("true")),
        ("`rewarm run -- true`", rewarm(&["run", "--", "true"])),
        ("`rewarm run version` (a task)", rewarm(&["run", "version"])),
        ("`python --version`, bare", python),
        ("`bash -c '. activate; exec true'`", shell),
        ("`uv run --no-sync true`", uv),
        (
            "`rewarm run --force-activate -- true`",
            rewarm(&["run", "--force-activate", "--", "true"]),
        ),
    ];
    for (_, command) in &mut contestants {
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Cargo sets it for its own; the loader would look there for every library.
        command.env_remove("LD_LIBRARY_PATH");
    }
    let times = in_turns(&mut contestants)?;
    let mut table = Table::new(
        "Activation: what it adds to a command",
        &["command", "min", "median", "over `true` (median)", "x", "system calls"],
    );
    let base = median(&mut times[0].clone());
    for ((name, command), mut times) in contestants.iter().zip(times) {
        let middle = median(&mut times);
        let calls = system_calls(command, dir).map_or("-".to_owned(), |calls| calls.to_string());
        let over = time(middle.saturating_sub(base));
        table.row([
            (*name).to_owned(),
            time(times[0]),
            time(middle),
            over,
            ratio(middle, base),
            calls,
        ]);
    }
    table.note(format!(
        "{ROUNDS} rounds, every command once in each; system calls by `strace -c -f`"
    ));
    Ok(vec![table])
}

/// Every command once per round, so that a busy moment of the machine hits all alike.
fn in_turns(contestants: &mut [(&str, Command)]) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    for _ in 0..ROUNDS {
        for ((name, command), times) in contestants.iter_mut().zip(&mut times) {
            let started = Instant::now();
            let status = command.status().map_err(|e| format!("cannot run {name}: {e}"))?;
            times.push(started.elapsed());
            if !status.success() {
                return Err(format!("{name} failed: {command:?}"));
            }
        }
    }
    Ok(times)
}

/// The total that `strace` counts; `None` where it is not installed.
fn system_calls(command: &Command, dir: &Path) -> Option<u64> {
    let report = tempfile::NamedTempFile::new().ok()?;
    let mut traced = Command::new("strace");
    traced.args(["-c", "-f", "-o"]).arg(report.path()).arg(command.get_program());
    traced.args(command.get_args()).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced.status().ok()?;
    let text = std::fs::read_to_string(report.path()).ok()?;
    let total = text.lines().rfind(|line| line.trim_end().ends_with("total"))?;
    // `% time, seconds, usecs/call, calls, errors, "total"`.
    total.split_whitespace().nth(3)?.parse().ok()
}
