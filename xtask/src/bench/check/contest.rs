//! Who checks, in which order, and what it costs.
//!
//! Processes that outlive a command (mypy's daemon, rewarm's worker) count: what they used meanwhile
//! is added to the command's own processor time. Where a second decides, the contestants take turns for
//! a few rounds, and the median of each counts: a machine that rested a moment, or whose other guests do, is
//! quicker for a while.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::{Checkout, Sources, sources};
use crate::bench::Bench;
use crate::bench::chart::Chart;
use crate::bench::table::{Table, mebibytes, ratio, time};
use crate::measure::{Cost, Measured};
use crate::steps::Result;

/// Rounds where they are short, or decide.
const ROUNDS: usize = 5;
/// Rounds where they are long.
const FEW: usize = 3;

const COLUMNS: [&str; 6] = ["what", "command", "wall", "CPU", "x (CPU)", "peak memory"];

/// One code base, and everyone who checks it.
pub(super) struct Contest<'a> {
    bench: &'a Bench,
    checkout: Checkout,
    ty: PathBuf,
    pyrefly: PathBuf,
    /// The round of cold runs whose caches are in use.
    round: Cell<usize>,
}

/// A command's name and what it cost.
type Row = (&'static str, Cost);

/// What it cost, as it is shown.
struct Results {
    table: Table,
    bars: Vec<(String, f64)>,
}

impl<'a> Contest<'a> {
    pub(super) fn new(bench: &'a Bench, checkout: Checkout) -> Result<Self> {
        let checker = |name: &str| rewarm_testkit::tools::checker(name).join("bin").join(name);
        let (ty, pyrefly) = (checker("ty"), checker("pyrefly"));
        Ok(Self { bench, checkout, ty, pyrefly, round: Cell::new(0) })
    }

    /// Cold, with nothing changed, after edits, in a second checkout, and back on a branch.
    pub(super) fn with_edits(self, edited: &Sources) -> Result<Table> {
        let mut results = Results::new(edited.name);
        let [leaf, hub] = [edited.leaf, edited.hub].map(|path| self.checkout.dir.join(path));
        results.add("cold", self.cold()?);
        results.add("nothing changed", self.state(ROUNDS, |_| Ok(()))?);
        results.add("a comment in the hub", self.state(1, |_| sources::comment(&hub))?);
        let in_leaf = |round| sources::function(&leaf, round);
        results.add("a function in a leaf", self.state(ROUNDS, in_leaf)?);
        let before = std::fs::read(&hub).map_err(|e| e.to_string())?;
        results
            .add("a function in the hub", self.state(FEW, |round| sources::function(&hub, round))?);
        let undo = |_| std::fs::write(&hub, &before).map_err(|e| e.to_string());
        results.add("that taken back", self.state(1, undo)?);
        results.add("a second checkout", self.second_checkout()?);
        self.end(results, edited.name)
    }

    /// Cold and with nothing changed.
    pub(super) fn large(self, name: &str) -> Result<Table> {
        let mut results = Results::new(name);
        results.add("cold", self.cold()?);
        results.add("nothing changed", self.state(ROUNDS, |_| Ok(()))?);
        self.end(results, "generated")
    }

    fn end(self, results: Results, name: &str) -> Result<Table> {
        self.dmypy(&["stop"])?.command().status().map_err(|e| e.to_string())?;
        let Results { mut table, bars } = results;
        table.note(format!(
            "every answer of rewarm was compared with a cold mypy's: same bytes, same exit code. \
             CPU includes daemons and workers, peak memory does not; `x` is relative to mypy in the \
             same state. Cold, unchanged and in a leaf the median of {ROUNDS} rounds by turns, of \
             {FEW} for a function in the hub"
        ));
        let file = format!("check-{}", name.split('-').next().unwrap_or(name));
        table.chart(Chart::new(&file, &format!("Check: {name}")).panel("CPU, s", bars));
        Ok(table)
    }

    fn cold(&self) -> Result<Vec<Row>> {
        let (mut mypy, mut ours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            self.round.set(round);
            // Who begins may find the machine rested.
            let begins = round % 2 == 0;
            for is_mypy in [begins, !begins] {
                if is_mypy {
                    mypy.push(self.run(self.mypy("mypy-cache", &[])?)?);
                } else {
                    ours.push(self.run(self.rewarm(&self.checkout.dir)?)?);
                }
            }
            self.compare(&self.checkout.dir)?;
        }
        Ok(vec![
            ("`mypy`", median(mypy)),
            ("`mypy -n 2`", self.run(self.mypy("parallel", &["-n", "2"])?)?),
            ("`dmypy run`", self.run(self.dmypy_run()?)?),
            ("`ty check`", self.run(self.other(&self.ty)?)?),
            ("`pyrefly check`", self.run(self.other(&self.pyrefly)?)?),
            ("`rewarm check`", median(ours)),
        ])
    }

    /// What a check costs after each of some edits.
    fn state(&self, rounds: usize, edit: impl Fn(usize) -> Result<()>) -> Result<Vec<Row>> {
        let (mut mypy, mut dmypy, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            edit(round)?;
            mypy.push(self.run(self.mypy("mypy-cache", &[])?)?);
            dmypy.push(self.run(self.dmypy_run()?)?);
            ours.push(self.run(self.rewarm(&self.checkout.dir)?)?);
            self.compare(&self.checkout.dir)?;
        }
        let rows = [("`mypy`", mypy), ("`dmypy run`", dmypy), ("`rewarm check`", ours)];
        Ok(rows.into_iter().map(|(name, costs)| (name, median(costs))).collect())
    }

    /// The same sources somewhere else: mypy has nothing there.
    fn second_checkout(&self) -> Result<Vec<Row>> {
        let dir = self.checkout.home.path().join("second");
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(&self.checkout.dir).arg(&dir);
        crate::steps::run(&mut copy)?;
        let mut mypy = self.mypy("second-cache", &[])?;
        mypy.command().current_dir(&dir);
        let rows =
            vec![("`mypy`", self.run(mypy)?), ("`rewarm check`", self.run(self.rewarm(&dir)?)?)];
        self.compare(&dir)?;
        Ok(rows)
    }

    /// mypy with a cache of this name, outside of the sources.
    fn mypy(&self, cache: &str, options: &[&str]) -> Result<Measured> {
        let cache = self.checkout.home.path().join(format!("{cache}-{}", self.round.get()));
        let mut all = vec!["--cache-dir", cache.to_str().unwrap_or_default()];
        all.extend(options.iter().chain(self.checkout.arguments));
        let mut measured = Measured::new(self.checkout.venv.join("bin/mypy"), all)?;
        measured.command().current_dir(&self.checkout.dir);
        Ok(measured)
    }

    fn dmypy(&self, arguments: &[&str]) -> Result<Measured> {
        let status = self.status_file();
        let mut all = vec!["--status-file", status.to_str().unwrap_or_default()];
        all.extend(arguments);
        let mut measured = Measured::new(self.checkout.venv.join("bin/dmypy"), all)?;
        measured.command().current_dir(&self.checkout.dir);
        Ok(measured)
    }

    fn dmypy_run(&self) -> Result<Measured> {
        let arguments = ["run", "--"].iter().chain(self.checkout.arguments);
        self.dmypy(&arguments.copied().collect::<Vec<_>>())
    }

    fn status_file(&self) -> PathBuf {
        self.checkout.home.path().join("dmypy.json")
    }

    /// Another checker, on the same targets in the same environment.
    fn other(&self, program: &Path) -> Result<Measured> {
        let arguments = std::iter::once(&"check").chain(self.checkout.arguments);
        let mut measured = Measured::new(program, arguments)?;
        let command = measured.command();
        command.current_dir(&self.checkout.dir).env("VIRTUAL_ENV", &self.checkout.venv);
        Ok(measured)
    }

    fn cache(&self) -> PathBuf {
        self.checkout.home.path().join(format!("rewarm-{}", self.round.get()))
    }

    fn rewarm(&self, dir: &Path) -> Result<Measured> {
        let arguments = ["check", "--no-install", "-q"].iter().chain(self.checkout.arguments);
        let mut measured = Measured::new(&self.bench.rewarm, arguments)?;
        let command = measured.command();
        command.current_dir(dir).env("REWARM_CACHE_DIR", self.cache()).env_remove("CI");
        command.env("VIRTUAL_ENV", &self.checkout.venv);
        Ok(measured)
    }

    /// Runs a command, and counts what stays behind.
    fn run(&self, measured: Measured) -> Result<Cost> {
        let lasting = [self.status_file(), self.cache()];
        let before = lasting_cpu(&lasting);
        let mut cost = measured.run()?;
        await_reaped(&lasting);
        cost.cpu += lasting_cpu(&lasting).saturating_sub(before);
        Ok(cost)
    }

    fn compare(&self, dir: &Path) -> Result<()> {
        let mypy = Command::new(self.checkout.venv.join("bin/mypy"))
            .args(["--cache-dir", "/dev/null"])
            .args(self.checkout.arguments)
            .current_dir(dir)
            .output();
        let ours = Command::new(&self.bench.rewarm)
            .args(["check", "--no-install", "-q"])
            .args(self.checkout.arguments)
            .current_dir(dir)
            .env("REWARM_CACHE_DIR", self.cache())
            .env("VIRTUAL_ENV", &self.checkout.venv)
            .output();
        let answer = |output: std::io::Result<Output>| {
            let output = output.map_err(|e| format!("cannot compare: {e}"))?;
            Ok::<_, String>((output.stdout, output.stderr, output.status.code()))
        };
        let (mypy, ours) = (answer(mypy)?, answer(ours)?);
        if mypy == ours { Ok(()) } else { Err(format!("{ours:?}\nis not mypy's\n{mypy:?}")) }
    }
}

/// What processes that name one of these paths on their command line have used, with the children
/// that they have waited for.
fn lasting_cpu(paths: &[PathBuf]) -> Duration {
    let ticks: u64 = lasting(paths)
        .iter()
        .map(|process| {
            process.fields[11..15].iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
        })
        .sum();
    // A tick is a hundredth of a second wherever Linux runs.
    Duration::from_millis(ticks * 10)
}

/// Waits until they have waited for all children that ended: only then these count.
fn await_reaped(paths: &[PathBuf]) {
    let parents: Vec<String> = lasting(paths).into_iter().map(|process| process.number).collect();
    let is_left = |process: &Process| {
        process.fields[0] == "Z" && parents.iter().any(|parent| process.fields[1] == *parent)
    };
    for _ in 0..200 {
        if !processes().iter().any(is_left) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lasting(paths: &[PathBuf]) -> Vec<Process> {
    let names = |process: &Process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.number)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        paths.iter().any(|path| line.contains(&*path.to_string_lossy()))
    };
    processes().into_iter().filter(names).collect()
}

struct Process {
    number: String,
    /// What `stat` says of it, from the state on.
    fields: Vec<String>,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The command's name may hold anything.
        let fields = stat.rsplit_once(')')?.1.split_whitespace();
        let fields: Vec<String> = fields.map(str::to_owned).collect();
        let number = entry.file_name().into_string().ok()?;
        (fields.len() >= 15).then_some(Process { number, fields })
    };
    entries.filter_map(process).collect()
}

/// The median round.
fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.cpu);
    costs.swap_remove(costs.len() / 2)
}

impl Results {
    fn new(name: &str) -> Self {
        Self { table: Table::new(&format!("Check: {name}"), &COLUMNS), bars: Vec::new() }
    }

    fn add(&mut self, what: &str, rows: Vec<Row>) {
        let base = rows[0].1.cpu;
        for (name, cost) in rows {
            let cells = [time(cost.wall), time(cost.cpu), ratio(cost.cpu, base)];
            let cells = cells.into_iter().chain([mebibytes(cost.peak)]);
            self.table.row([what.to_owned(), name.to_owned()].into_iter().chain(cells));
            self.bars.push((format!("{what}: {}", name.replace('`', "")), cost.cpu.as_secs_f64()));
        }
    }
}
