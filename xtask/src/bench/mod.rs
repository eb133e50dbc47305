//! Benchmarks: rewarm and the alternatives side by side, in one run, as ratios.
//!
//! Each benchmark prints a table and returns it as Markdown; `docs/benchmarks.md` holds the tables
//! of one run. Alternatives that are not installed are left out by name, never silently.

mod check;
mod fetch;
mod install;
mod project;
mod run;
mod table;

use std::path::PathBuf;
use std::process::Command;

use crate::steps::{self, Result, root};

type Benchmark = fn(&Bench) -> Result<table::Table>;

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
    for (name, benchmark) in ALL {
        if names.is_empty() || names.contains(&name) {
            println!("== {name}");
            let table = benchmark(&bench)?;
            print!("{}", table.text());
            page.push_str(&table.markdown());
        }
    }
    if write {
        let path = root().join("docs/benchmarks.md");
        std::fs::write(&path, page).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}

const HEADER: &str = "# Benchmarks

Written by `cargo xtask bench --write`: each table is one run on one machine with two shared cores.
Compare within a table. `x` columns are relative to the first row.
";
