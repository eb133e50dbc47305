//! The program: reads the command line, runs one command, and turns its end into an exit code.
//!
//! `rewarm run CMD` is tried on its short path first, before argument parsing, configuration and
//! anything else that costs time. This is the only place where the process ends.

#![cfg_attr(all(target_os = "linux", target_env = "gnu", not(test)), no_main)]

mod args;
mod commands;
mod config;
mod context;
mod entry;
mod environment;
mod error;
mod exec;
mod formats;
mod hot;
mod interrupt;
mod math;
mod network;
mod pixi;
mod settings;
mod tasks;
mod ui;
mod venv;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;

use clap::Parser;

use crate::args::Cli;
use crate::error::{Failure, Kind, Outcome};
use crate::settings::{Caller, Settings};
use crate::ui::{Ui, Verbosity};

/// A bug in rewarm (`EX_SOFTWARE`).
const BUG: u8 = 70;

/// Where `entry` has no entry point of its own.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(test))))]
fn main() -> std::process::ExitCode {
    run().into()
}

/// Everything between the first instruction and the exit code.
fn run() -> u8 {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = rewarm_activation::observe::become_traced(&args) {
        return code;
    }
    if let Some(code) = hot::try_run(&args) {
        return code;
    }
    if let Err(error) = entry::prepare() {
        eprintln!("error: cannot set up the process: {error}");
        return 3;
    }
    std::panic::catch_unwind(AssertUnwindSafe(|| start(args))).unwrap_or_else(|_| {
        eprintln!("rewarm: this is a bug in rewarm; the message above says where");
        BUG
    })
}

fn start(args: Vec<OsString>) -> u8 {
    if let Some(outcome) = tasks::shell_entry(&args) {
        return finish(&Ui::new(false, false, Verbosity::Normal), Some(127), outcome);
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is nobody's loss: help was asked for, and not read.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let caller = match Caller::of_process() {
        Ok(caller) => caller,
        Err(error) => {
            eprintln!("error: cannot find the working directory: {error}");
            return 3;
        }
    };
    let ui = Settings::ui(&cli.global, &caller);
    let own_failure = commands::failure_code(&cli.command);
    finish(&ui, own_failure, commands::dispatch(cli, caller, &ui))
}

/// The one place where a failure becomes a message and an exit code.
fn finish(ui: &Ui, own_failure: Option<u8>, outcome: Outcome) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => 0,
        Err(Failure { kind: Kind::Interrupted(signal), .. }) => {
            // Whoever waits for this process is to see why it ended. This returns only if that
            // signal cannot end a process.
            let _ = signal_hook::low_level::emulate_default_handler(signal.into());
            Kind::Interrupted(signal).code()
        }
        Err(failure) => {
            ui.failure(&failure);
            own_failure.unwrap_or(failure.kind.code())
        }
    }
}
