//! `rewarm shell-hook`: the text that activates the environment in the caller's shell.

use std::path::Path;

use rewarm_activation::{self as activation, Shell};

use crate::args::ShellHook;
use crate::commands::print;
use crate::context::Context;
use crate::environment::{self, Wish};
use crate::error::{Failure, Outcome};

pub(crate) fn run(context: &Context<'_>, args: &ShellHook) -> Outcome {
    let shell = match context.settings.json {
        true => None,
        false => Some(shell(context, args)?),
    };
    let (_, installed, activated) = environment::enter(context, Wish::default(), false)?;
    if let Some(summary) = installed.summary() {
        context.ui.note(&summary);
    }
    let caller = environment::caller_variables(context);
    let activation = &activated.activation;
    match shell {
        None => {
            let text = activation::hook_json(activation, &caller).map_err(Failure::usage)?;
            print(format!("{text}\n").as_bytes())
        }
        Some(shell) => {
            let text = activation::hook(shell, activation, &caller).map_err(Failure::usage)?;
            print(&text)
        }
    }
}

/// The shell that was named, or the user's own.
fn shell(context: &Context<'_>, args: &ShellHook) -> Result<Shell, Failure> {
    let own = || {
        let path = Path::new(context.settings.caller.get("SHELL")?);
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    let name = args.shell.clone().or_else(own).ok_or_else(|| {
        Failure::usage("`SHELL` is not set").hint("name the shell with `--shell bash`")
    })?;
    name.parse().map_err(|error: activation::UnknownShell| Failure::usage(error))
}
