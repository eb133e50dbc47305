//! `rewarm check` beside mypy, its daemon and its parallel mode, and other checkers: on three source
//! distributions of PyPI, and on a generated package of 10 000 modules.
//!
//! Every answer of rewarm is compared with that of a cold mypy on the same sources: same bytes, same
//! exit code. A fast wrong answer would be no answer.

mod contest;
mod generated;
mod sources;

use super::Bench;
use super::table::Table;
use crate::steps::Result;

use contest::Contest;
use sources::Sources;

pub(super) fn black(bench: &Bench) -> Result<Vec<Table>> {
    edited(bench, &sources::BLACK)
}

pub(super) fn sphinx(bench: &Bench) -> Result<Vec<Table>> {
    edited(bench, &sources::SPHINX)
}

pub(super) fn sqlalchemy(bench: &Bench) -> Result<Vec<Table>> {
    edited(bench, &sources::SQLALCHEMY)
}

pub(super) fn generated(bench: &Bench) -> Result<Vec<Table>> {
    let contest = Contest::new(bench, generated::prepare(bench)?)?;
    Ok(vec![contest.large("10 000 generated modules")?])
}

fn edited(bench: &Bench, sources: &Sources) -> Result<Vec<Table>> {
    Ok(vec![Contest::new(bench, sources.prepare(bench)?)?.with_edits(sources)?])
}

/// Where a code base lies, and what checks it.
struct Checkout {
    /// Holds everything, and is removed in the end.
    home: tempfile::TempDir,
    dir: std::path::PathBuf,
    venv: std::path::PathBuf,
    arguments: &'static [&'static str],
}
