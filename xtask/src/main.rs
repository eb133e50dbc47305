//! Project tasks, run as `cargo xtask TASK`.
//!
//! `test` is what CI runs, and all that CI runs. Everything a task needs beyond Rust, Python and a
//! C compiler is installed by the task, below `target/`.

#![expect(
    clippy::disallowed_methods,
    reason = "a task runner reads its own environment and the clock"
)]

mod bench;
mod conformance;
mod fuzz;
mod measure;
mod setup;
mod steps;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  test            format, lint, and run every test
  setup           only install what the tests need
  bench [NAME]    measure rewarm beside the alternatives (fetch, run, check, install)
  conformance     the public HTTP cache checks against `rewarm proxy` (needs npm; --shared)
  torture [NAME]  the tests, or those named, with many rounds (REWARM_TORTURE_ROUNDS, default 2000)
  torture check [--seconds N]
                  random histories against a cold mypy, from a new seed (REWARM_TORTURE_SEED; 600 s)
  fuzz [TARGET [INPUT]] [--seconds N]
                  feed the parsers of foreign bytes (60 s for each target), or one with one input
";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Option<Vec<&str>> = args.iter().map(|arg| arg.to_str()).collect();
    let result = match words.unwrap_or_default()[..] {
        ["measure", ..] => measure::main(&args[1..]),
        ["test"] => steps::test(),
        ["setup"] => {
            setup::tools();
            setup::shells()
        }
        ["bench", ref names @ ..] => bench::run(names),
        ["conformance", ref args @ ..] => conformance::main(args),
        ["torture", "check", ref words @ ..] => steps::torture_check(words),
        ["torture", ref names @ ..] => steps::torture(names),
        ["fuzz", ref words @ ..] => fuzz::main(words),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
