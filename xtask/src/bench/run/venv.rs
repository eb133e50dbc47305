//! The quickstart's virtual environment.

use std::process::Command;

use super::contest;
use crate::bench::table::Table;
use crate::bench::{Bench, project};
use crate::steps::Result;

pub(super) fn run(bench: &Bench) -> Result<Table> {
    let project = project::quickstart()?;
    project.warm(bench, &["install"])?;
    project.warm(bench, &["run", "--", "true"])?;
    let dir = project.dir();
    let rewarm = |args: &[&str]| project.rewarm(bench, args);
    let mut uv = Command::new(bench.tools.join("bin/uv"));
    uv.args(["run", "--no-project", "--no-sync", "true"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", ". .venv/bin/activate; exec true"]);
    let mut python = Command::new(dir.join(".venv/bin/python"));
    python.arg("--version");
    let contestants = vec![
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
    contest::run("Activation of a virtual environment", "run", dir, contestants)
}
