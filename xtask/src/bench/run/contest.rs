//! Commands run in turns, what each costs, and how many system calls it makes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::chart::Chart;
use crate::bench::project::LOGIN_SHELL;
use crate::bench::table::{Table, median, ratio, time};
use crate::steps::Result;

const ROUNDS: usize = 300;

/// The commands that are compared, the first one being what the others are measured against.
pub(super) type Contestants = Vec<(&'static str, Command)>;

/// Runs them in `dir`; `file` names the picture.
pub(super) fn run(
    title: &str,
    file: &str,
    dir: &Path,
    mut contestants: Contestants,
) -> Result<Table> {
    for (_, command) in &mut contestants {
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Cargo sets it for its own; the loader would look there for every library.
        command.env_remove("LD_LIBRARY_PATH").env("SHELL", LOGIN_SHELL);
    }
    let mut times = in_turns(&mut contestants)?;
    let columns = ["command", "min", "median", "over the first (median)", "x", "system calls"];
    let mut table = Table::new(title, &columns);
    let middles: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    let base = middles[0];
    for (((name, command), times), middle) in contestants.iter().zip(&times).zip(&middles) {
        let calls = system_calls(command, dir).map_or("-".to_owned(), |calls| calls.to_string());
        let (least, over) = (time(times[0]), time(middle.saturating_sub(base)));
        table.row([(*name).to_owned(), least, time(*middle), over, ratio(*middle, base), calls]);
    }
    table.note(format!(
        "{ROUNDS} rounds, every command once in each; system calls by `strace -c -f`"
    ));
    let bars = contestants.iter().zip(&middles);
    let bars = bars.map(|((name, _), middle)| (name.replace('`', ""), middle.as_secs_f64() * 1e3));
    table.chart(Chart::new(file, title).panel("median, ms", bars.collect()));
    Ok(table)
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
