//! One file per command. Each reads its arguments, calls the libraries, and says what happened.

mod cache;
mod check;
mod clean;
mod completions;
mod doctor;
mod fetch;
mod info;
mod install;
mod lock;
pub(crate) mod packages;
mod proxy;
mod run;
mod shell;
mod shell_hook;
mod task;
mod with;

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::settings::{Caller, Settings};
use crate::ui::Ui;

pub(crate) use with::child::ignored as ignored_signals;

/// The exit code for a command's own failures where it passes on the code of another program.
pub(crate) fn failure_code(command: &Command) -> Option<u8> {
    matches!(command, Command::Run(_) | Command::With(_) | Command::Lock(_))
        .then_some(run::OWN_FAILURE)
}

/// Runs one command.
pub(crate) fn dispatch(cli: Cli, caller: Caller, ui: &Ui) -> Outcome {
    let settings = Settings::new(&cli.global, caller).map_err(Failure::usage)?;
    for unknown in &settings.user.unknown {
        ui.warn(unknown);
    }
    let context = Context::new(settings, ui);
    match cli.command {
        Command::Install(args) => install::run(&context, &args),
        Command::Run(args) => run::run(&context, &args),
        Command::Task(args) => task::run(&context, &args),
        Command::Shell(args) => shell::run(&context, &args),
        Command::ShellHook(args) => shell_hook::run(&context, &args),
        Command::Check(args) => check::run(&context, &args),
        Command::Fetch(args) => fetch::run(&context, &args),
        Command::Proxy(args) => proxy::run(&context, &args),
        Command::With(args) => with::run(&context, &args),
        Command::Cache(args) => cache::run(&context, &args),
        Command::Clean(args) => clean::run(&context, &args),
        Command::Lock(args) => lock::run(&context, &args),
        Command::Info => info::run(&context),
        Command::Doctor => doctor::run(&context),
        Command::Completions { shell } => completions::script(shell),
        Command::Names { what } => completions::names(&context, what),
        Command::Man => manual(),
    }
}

fn manual() -> Outcome {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print(&text)
}

/// Writes data to standard output.
fn print(bytes: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(0)
}

/// A path as JSON can have it: what is no text in it is replaced.
fn json_path(path: &Path) -> serde_json::Value {
    path.to_string_lossy().into()
}

/// Writes a JSON value and a line end to standard output.
fn print_json(value: &serde_json::Value) -> Outcome {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::world)?;
    text.push(b'\n');
    print(&text)
}
