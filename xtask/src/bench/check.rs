//! `rewarm check` beside mypy on Sphinx's source distribution, with Sphinx's own configuration.
//!
//! The bytes and the exit code of every rewarm run are compared with those of a cold mypy: a fast
//! wrong answer would be no answer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Bench;
use super::table::{Table, mebibytes, ratio, time};
use crate::measure::{Cost, Measured};
use crate::steps::{self, Result, root};

const SPHINX: &str = "sphinx==8.1.3";

/// The parts of Sphinx's own `lint` extra that mypy sees, and a present mypy.
const REQUIREMENTS: [&str; 10] = [
    "mypy==2.4.1",
    "sphinx==8.1.3",
    "types-colorama==0.4.15.20240311",
    "types-defusedxml==0.7.0.20240218",
    "types-docutils==0.21.0.20241005",
    "types-Pillow==10.2.0.20240822",
    "types-Pygments==2.18.0.20240506",
    "types-requests==2.32.0.20240914",
    "types-urllib3==1.26.25.14",
    "pytest>=6.0",
];

pub(crate) fn run(bench: &Bench) -> Result<Vec<Table>> {
    let sphinx = Sphinx::prepare(bench)?;
    let mut table = Table::new(
        "Check: Sphinx 8.1.3 with its own mypy configuration",
        &["command", "wall", "CPU", "x (CPU)", "peak memory"],
    );
    let mut rows = Vec::new();
    let cold = sphinx.mypy_output()?;
    rows.push(("`mypy`, cold", sphinx.mypy(true)?));
    rows.push(("`mypy`, nothing changed", sphinx.mypy(false)?));
    rows.push(("`rewarm check`, cold", sphinx.rewarm(bench)?));
    rows.push(("`rewarm check`, nothing changed", sphinx.rewarm(bench)?));
    sphinx.compare(bench, &cold)?;
    let leaf = sphinx.dir.join("sphinx/ext/githubpages.py");
    append(&leaf, "\n\ndef _added(x: int) -> int:\n    return x\n")?;
    rows.push(("`mypy`, leaf edited", sphinx.mypy(false)?));
    rows.push(("`rewarm check`, leaf edited", sphinx.rewarm(bench)?));
    sphinx.compare(bench, &sphinx.mypy_output()?)?;
    let base = rows[0].1.cpu;
    for (name, cost) in rows {
        let cells = [time(cost.wall), time(cost.cpu), ratio(cost.cpu, base), mebibytes(cost.peak)];
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
    table
        .note("every answer of rewarm was compared with a cold mypy's: same bytes, same exit code");
    Ok(vec![table])
}

struct Sphinx {
    dir: PathBuf,
    venv: PathBuf,
    _home: tempfile::TempDir,
    cache: PathBuf,
}

impl Sphinx {
    /// Unpacks the source distribution afresh; its environment is kept between runs.
    fn prepare(bench: &Bench) -> Result<Self> {
        let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let kept = root().join("target/bench");
        let venv = kept.join("sphinx-venv");
        let stamp = venv.join("requirements.txt");
        let wanted = REQUIREMENTS.join("\n");
        if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
            println!("using the environment at {}", venv.display());
        } else {
            steps::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            steps::run(
                Command::new(bench.tools.join("bin/uv"))
                    .args(["pip", "install", "-q", "--python"])
                    .arg(venv.join("bin/python"))
                    .args(REQUIREMENTS),
            )?;
        }
        steps::run(
            Command::new(bench.tools.join("bin/pip"))
                .args(["download", "-q", "--no-deps", "--no-binary", ":all:", "-d"])
                .arg(home.path())
                .arg(SPHINX),
        )?;
        steps::run(
            Command::new("tar")
                .arg("-xf")
                .arg(home.path().join("sphinx-8.1.3.tar.gz"))
                .arg("-C")
                .arg(home.path()),
        )?;
        let dir = home.path().join("sphinx-8.1.3");
        let cache = home.path().join("cache");
        Ok(Self { dir, venv, _home: home, cache })
    }

    fn mypy(&self, cold: bool) -> Result<Cost> {
        if cold && self.dir.join(".mypy_cache").exists() {
            std::fs::remove_dir_all(self.dir.join(".mypy_cache")).map_err(|e| e.to_string())?;
        }
        let mut measured = Measured::new(self.venv.join("bin/mypy"), [""; 0])?;
        measured.command().current_dir(&self.dir);
        measured.run()
    }

    fn mypy_output(&self) -> Result<Output> {
        let mut command = Command::new(self.venv.join("bin/mypy"));
        command.current_dir(&self.dir).args(["--cache-dir", "/dev/null"]);
        command.output().map_err(|e| format!("cannot run mypy: {e}"))
    }

    fn rewarm(&self, bench: &Bench) -> Result<Cost> {
        let mut measured = Measured::new(&bench.rewarm, ["check", "--no-install", "-q"])?;
        let command = measured.command();
        command.current_dir(&self.dir).env("REWARM_CACHE_DIR", &self.cache);
        command.env("VIRTUAL_ENV", &self.venv);
        measured.run()
    }

    fn compare(&self, bench: &Bench, mypy: &Output) -> Result<()> {
        let ours = Command::new(&bench.rewarm)
            .args(["check", "--no-install", "-q"])
            .current_dir(&self.dir)
            .env("REWARM_CACHE_DIR", &self.cache)
            .env("VIRTUAL_ENV", &self.venv)
            .output()
            .map_err(|e| format!("cannot run rewarm: {e}"))?;
        if (&ours.stdout, ours.status.code()) == (&mypy.stdout, mypy.status.code()) {
            return Ok(());
        }
        Err(format!("rewarm and mypy differ:\n{ours:#?}\n{mypy:#?}"))
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    let before = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    std::fs::write(path, before + text).map_err(|e| e.to_string())
}
