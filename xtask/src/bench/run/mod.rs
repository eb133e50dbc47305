//! What activation adds to a command: `rewarm run -- true` beside `true`, in turns.

mod contest;
mod venv;
mod workspace;

use super::Bench;
use super::table::Table;
use crate::steps::Result;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Table>> {
    Ok(vec![venv::run(bench)?, workspace::run(bench)?])
}
