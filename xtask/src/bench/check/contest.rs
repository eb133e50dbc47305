//! Who checks, in which order, and what it costs.
//!
//! Processes that outlive a command (mypy's daemon, rewarm's worker) count: what they used meanwhile
//! is added to the command's own processor time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::{Checkout, Sources, sources};
use crate::bench::Bench;
use crate::bench::chart::Chart;
use crate::bench::table::{Table, mebibytes, ratio, time};
use crate::measure::{Cost, Measured};
use crate::steps::Result;

const COLUMNS: [&str; 6] = ["what", "command", "wall", "CPU", "x (CPU)", "peak memory"];

/// One code base, and everyone who checks it.
pub(super) struct Contest<'a> {
    bench: &'a Bench,
    checkout: Checkout,
    ty: PathBuf,
    pyrefly: PathBuf,
}

/// A command's name and what it cost.
type Row = (&'static str, Cost);

impl<'a> Contest<'a> {
    pub(super) fn new(bench: &'a Bench, checkout: Checkout) -> Result<Self> {
        let checker = |name: &str| rewarm_testkit::tools::checker(name).join("bin").join(name);
        Ok(Self { bench, checkout, ty: checker("ty"), pyrefly: checker("pyrefly") })
    }

    /// Cold, with nothing changed, after two edits, in a second checkout, and back on a branch.
    pub(super) fn with_edits(self, edited: &Sources) -> Result<Table> {
        let mut table = Table::new(&format!("Check: {}", edited.name), &COLUMNS);
        let mut bars = Vec::new();
        let [leaf, hub] = [edited.leaf, edited.hub].map(|path| self.checkout.dir.join(path));
        self.cold(&mut table, &mut bars)?;
        self.state("nothing changed", &mut table, &mut bars)?;
        sources::comment(&hub)?;
        self.state("a comment in the hub", &mut table, &mut bars)?;
        sources::function(&leaf)?;
        self.state("a function in a leaf", &mut table, &mut bars)?;
        let before = std::fs::read(&hub).map_err(|e| e.to_string())?;
        sources::function(&hub)?;
        self.state("a function in the hub", &mut table, &mut bars)?;
        std::fs::write(&hub, before).map_err(|e| e.to_string())?;
        self.state("that taken back", &mut table, &mut bars)?;
        self.second_checkout(&mut table, &mut bars)?;
        self.end(table, bars, edited.name)
    }

    /// Cold and with nothing changed.
    pub(super) fn large(self, name: &str) -> Result<Table> {
        let mut table = Table::new(&format!("Check: {name}"), &COLUMNS);
        let mut bars = Vec::new();
        self.cold(&mut table, &mut bars)?;
        self.state("nothing changed", &mut table, &mut bars)?;
        self.end(table, bars, "generated")
    }

    fn end(self, mut table: Table, bars: Vec<(String, f64)>, name: &str) -> Result<Table> {
        self.dmypy(&["stop"])?.command().status().map_err(|e| e.to_string())?;
        table.note(
            "every answer of rewarm was compared with a cold mypy's: same bytes, same exit code. \
             CPU includes daemons and workers, peak memory does not; `x` is relative to mypy in the \
             same state",
        );
        let file = format!("check-{}", name.split('-').next().unwrap_or(name));
        table.chart(Chart::new(&file, &format!("Check: {name}")).panel("CPU, s", bars));
        Ok(table)
    }

    fn cold(&self, table: &mut Table, bars: &mut Vec<(String, f64)>) -> Result<()> {
        let rows = vec![
            ("`mypy`", self.run(self.mypy("mypy-cache", &[])?)?),
            ("`mypy -n 2`", self.run(self.mypy("parallel", &["-n", "2"])?)?),
            ("`dmypy run`", self.run(self.dmypy_run()?)?),
            ("`ty check`", self.run(self.other(&self.ty)?)?),
            ("`pyrefly check`", self.run(self.other(&self.pyrefly)?)?),
            ("`rewarm check`", self.run(self.rewarm(&self.checkout.dir)?)?),
        ];
        self.compare(&self.checkout.dir)?;
        add("cold", rows, table, bars);
        Ok(())
    }

    fn state(
        &self,
        what: &'static str,
        table: &mut Table,
        bars: &mut Vec<(String, f64)>,
    ) -> Result<()> {
        let rows = vec![
            ("`mypy`", self.run(self.mypy("mypy-cache", &[])?)?),
            ("`dmypy run`", self.run(self.dmypy_run()?)?),
            ("`rewarm check`", self.run(self.rewarm(&self.checkout.dir)?)?),
        ];
        self.compare(&self.checkout.dir)?;
        add(what, rows, table, bars);
        Ok(())
    }

    /// The same sources somewhere else: mypy has nothing there.
    fn second_checkout(&self, table: &mut Table, bars: &mut Vec<(String, f64)>) -> Result<()> {
        let dir = self.checkout.home.path().join("second");
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(&self.checkout.dir).arg(&dir);
        crate::steps::run(&mut copy)?;
        let mut mypy = self.mypy("second-cache", &[])?;
        mypy.command().current_dir(&dir);
        let rows =
            vec![("`mypy`", self.run(mypy)?), ("`rewarm check`", self.run(self.rewarm(&dir)?)?)];
        self.compare(&dir)?;
        add("a second checkout", rows, table, bars);
        Ok(())
    }

    /// mypy with a cache of this name, outside of the sources.
    fn mypy(&self, cache: &str, options: &[&str]) -> Result<Measured> {
        let cache = self.checkout.home.path().join(cache);
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
        self.checkout.home.path().join("rewarm")
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

fn add(what: &str, rows: Vec<Row>, table: &mut Table, bars: &mut Vec<(String, f64)>) {
    let base = rows[0].1.cpu;
    for (name, cost) in rows {
        let cells = [time(cost.wall), time(cost.cpu), ratio(cost.cpu, base), mebibytes(cost.peak)];
        table.row([what.to_owned(), name.to_owned()].into_iter().chain(cells));
        bars.push((format!("{what}: {}", name.replace('`', "")), cost.cpu.as_secs_f64()));
    }
}
