//! Exact replay and safe incremental runs of type checkers.
//!
//! [`check`] answers as a cold `mypy` would: the same bytes on both streams, the same exit code.
//! It looks the answer up under everything that could change it, and runs the environment's own
//! mypy on a miss, in a private cache directory that no other run can see. It receives the
//! environment as data (an interpreter and variables), prints nothing and has no clock.
//!
//! The lookup has two phases. The first key covers what is known before a run: the tool, the
//! interpreter, the installed distributions, arguments, configuration, variables and every source
//! below the project. Under it lie runs with what they were *observed* to read beside that, and a
//! run is replayed if all of it is still the same. Entries name no absolute path, so they hold in
//! another checkout.
//!
//! [`ImportGraph`] says which files depend on which, and so what a change can have an effect on.
//! [`check_with`] does the same for other checkers, as whole runs.

mod arguments;
mod configuration;
mod entries;
mod environment;
mod formats;
mod graph;
mod interpreter;
mod key;
mod listing;
mod observed;
pub mod output;
mod places;
mod progress;
mod replay;
mod request;
mod run;
mod seal;
mod state;
mod tools;
mod witness;
mod worker;

pub use formats::{describe, formats};
pub use graph::{Change, How, ImportGraph, Selection, Shape};
pub use replay::check;
pub use request::{Because, CheckError, Event, Module, Report, Request, Reuse, Timing};
pub use state::State;
pub use tools::{Checker, Program, check_with};
pub use worker::{WorkerInfo, WorkerOptions, end_workers, workers};
