//! Benchmarks: rewarm and the alternatives side by side, in one run, as ratios.
//!
//! Each benchmark prints a table and returns it as Markdown; `docs/benchmarks.md` holds the tables
//! of one run. Alternatives that are not installed are left out by name, never silently.

mod chart;
mod check;
mod fetch;
mod install;
mod project;
mod run;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{self, Result, root};

type Benchmark = fn(&Bench) -> Result<Vec<table::Table>>;

const ALL: [(&str, Benchmark); 4] =
    [("fetch", fetch::run), ("run", run::run), ("install", install::run), ("check", check::run)];

/// What every benchmark needs.
pub(crate) struct Bench {
    /// The release build.
    rewarm: PathBuf,
    /// The environment with pip, uv and mypy.
    tools: PathBuf,
}

/// Runs the named benchmarks, or all; `--write` puts their tables into `docs/benchmarks.md`.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let write = names.contains(&"--write");
    let names: Vec<&str> = names.iter().copied().filter(|name| *name != "--write").collect();
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|(known, _)| known != *name)) {
        return Err(format!("there is no benchmark `{unknown}`"));
    }
    let tools = crate::setup::tools();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root()).args(["build", "--release", "--locked", "-p", "rewarm"]);
    steps::run(&mut build)?;
    let bench = Bench { rewarm: root().join("target/release/rewarm"), tools };
    let mut page = String::from(HEADER);
    let mut charts = Vec::new();
    for (name, benchmark) in ALL {
        if names.is_empty() || names.contains(&name) {
            println!("== {name}");
            for table in benchmark(&bench)? {
                print!("{}", table.text());
                page.push_str(&table.markdown());
                charts.extend(table.into_chart());
            }
        }
    }
    if write {
        let docs = root().join("docs");
        write_file(&docs.join("benchmarks.md"), &page)?;
        for chart in charts {
            write_file(&docs.join(chart.path()), &chart.svg())?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    let done = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let done = done.and_then(|()| std::fs::write(path, text));
    done.map_err(|e| format!("cannot write {}: {e}", path.display()))
}

const HEADER: &str = "# Benchmarks

Written by `cargo xtask bench --write`: each table is one run on one machine with two shared cores.
Compare within a table. `x` columns are relative to the first row.
";
