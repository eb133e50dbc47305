//! Benchmarks: rewarm and the alternatives side by side, in one run, as ratios.
//!
//! Each benchmark prints its tables and returns them as Markdown; `docs/benchmarks.md` holds the last
//! that were written of each. Alternatives that are not installed are left out by name, never silently.

mod chart;
mod check;
mod fetch;
mod install;
mod project;
mod run;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{self, Result, root};

type Benchmark = fn(&Bench) -> Result<Vec<table::Table>>;

/// By name; what comes before a `/` names all that begin so.
const ALL: [(&str, Benchmark); 7] = [
    ("fetch", fetch::run),
    ("run", run::run),
    ("install", install::run),
    ("check/black", check::black),
    ("check/sphinx", check::sphinx),
    ("check/sqlalchemy", check::sqlalchemy),
    ("check/generated", check::generated),
];

/// What every benchmark needs.
pub(crate) struct Bench {
    /// The release build.
    rewarm: PathBuf,
    /// The environment with pip, uv and mypy.
    tools: PathBuf,
}

/// Runs the named benchmarks, or all; `--write` puts their tables into `docs/benchmarks.md`, where
/// those of the others stay.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let write = names.contains(&"--write");
    let names: Vec<&str> = names.iter().copied().filter(|name| *name != "--write").collect();
    let is_named = |wanted: &str, known: &str| {
        known.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(unknown) =
        names.iter().find(|name| !ALL.iter().any(|(known, _)| is_named(name, known)))
    {
        let known = ALL.map(|(name, _)| name).join(", ");
        return Err(format!("there is no benchmark `{unknown}`; there are {known}"));
    }
    let tools = crate::setup::tools();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root()).args(["build", "--release", "--locked", "-p", "rewarm"]);
    steps::run(&mut build)?;
    let bench = Bench { rewarm: root().join("target/release/rewarm"), tools };
    let page = root().join("docs/benchmarks.md");
    let mut sections = sections(&std::fs::read_to_string(&page).unwrap_or_default());
    for (name, benchmark) in ALL {
        if !names.is_empty() && !names.iter().any(|wanted| is_named(wanted, name)) {
            continue;
        }
        println!("== {name}");
        let mut section = String::new();
        let mut charts = Vec::new();
        for table in benchmark(&bench)? {
            print!("{}", table.text());
            section.push_str(&table.markdown());
            charts.extend(table.into_chart());
        }
        sections.insert(name.to_owned(), section);
        if write {
            write_file(&page, &text(&sections))?;
            for chart in charts {
                write_file(&root().join("docs").join(chart.path()), &chart.svg())?;
            }
        }
    }
    Ok(())
}

/// The tables of each benchmark in a page that was written before.
fn sections(page: &str) -> BTreeMap<String, String> {
    let parts = page.split(MARK).skip(1);
    let parts = parts.filter_map(|part| part.split_once(END));
    parts.map(|(name, section)| (name.to_owned(), section.to_owned())).collect()
}

fn text(sections: &BTreeMap<String, String>) -> String {
    let mut page = HEADER.to_owned();
    for (name, _) in ALL {
        if let Some(section) = sections.get(name) {
            page.extend([MARK, name, END, section]);
        }
    }
    page
}

/// What comes before and after the name of a benchmark, above its tables.
const MARK: &str = "\n<!-- cargo xtask bench ";
const END: &str = " -->\n";

fn write_file(path: &Path, text: &str) -> Result<()> {
    let done = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let done = done.and_then(|()| std::fs::write(path, text));
    done.map_err(|e| format!("cannot write {}: {e}", path.display()))
}

const HEADER: &str = "# Benchmarks

Written by `cargo xtask bench [NAME…] --write`: each table is one run on one machine with two shared cores.
Compare within a table. `x` columns are relative to the first row.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_one_benchmark_leave_the_others_where_they_are() {
        let mut known = sections("# Benchmarks\n");
        assert!(known.is_empty());
        for (name, _) in ALL.iter().rev() {
            known.insert((*name).to_owned(), format!("\n## of {name}\n"));
        }
        let page = text(&known);
        assert_eq!(sections(&page), known);
        let first = page.find("## of fetch").expect("there");
        assert!(first < page.find("## of check/black").expect("there"), "{page}");
    }
}
