//! `rewarm shell-hook`: the text that activates the environment in the caller's shell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rewarm_activation::{self as activation, Activation, Input, Shell};

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
            let mut text = activation::hook(shell, activation, &caller).map_err(Failure::usage)?;
            if is_for_direnv(args) {
                text.extend(watched(activation));
            }
            print(&text)
        }
    }
}

/// direnv evaluates the text in a bash of its own, and takes over the variables that differ.
fn is_for_direnv(args: &ShellHook) -> bool {
    args.shell.as_deref() == Some("direnv")
}

/// Lines that have direnv evaluate anew when a file changes that the activation was made from.
fn watched(activation: &Activation) -> Vec<u8> {
    let mut text = b"if type watch_file >/dev/null 2>&1; then\n    :\n".to_vec();
    for input in activation.inputs() {
        if let Input::File { path, .. } | Input::Directory { path, .. } = input {
            text.extend(b"    watch_file ");
            text.extend(quoted(path.as_os_str()));
            text.push(b'\n');
        }
    }
    text.extend(b"fi\n");
    text
}

/// Between single quotes nothing but a single quote means anything to bash.
fn quoted(word: &OsStr) -> Vec<u8> {
    let parts: Vec<&[u8]> = word.as_bytes().split(|byte| *byte == b'\'').collect();
    [b"'", parts.join(&b"'\\''"[..]).as_slice(), b"'"].concat()
}

/// The shell that was named, or the user's own.
fn shell(context: &Context<'_>, args: &ShellHook) -> Result<Shell, Failure> {
    if is_for_direnv(args) {
        return Ok(Shell::Bash);
    }
    let own = || {
        let path = Path::new(context.settings.caller.get("SHELL")?);
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    let name = args.shell.clone().or_else(own).ok_or_else(|| {
        Failure::usage("`SHELL` is not set").hint("name the shell with `--shell bash`")
    })?;
    name.parse().map_err(|error: activation::UnknownShell| Failure::usage(error))
}
