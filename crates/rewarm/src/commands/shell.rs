//! `rewarm shell`: an interactive shell in the environment.
//!
//! This process becomes the user's shell, so terminal, signals and job control are the shell's own,
//! and leaving it leaves the environment. The user's start-up files run first, as always; what
//! they do to `PATH` would undo an activation that came before. So the shell starts with the
//! caller's variables, and evaluates the text of `rewarm shell-hook` after them. Shells without a
//! way to be told that are started activated.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rewarm_store::ScratchDir;

use crate::args;
use crate::context::Context;
use crate::environment::{self, Wish, Workspace};
use crate::error::{Failure, Outcome};

pub(crate) fn run(context: &Context<'_>, args: &args::Shell) -> Outcome {
    let (workspace, installed, activated) = environment::enter(context, Wish::default(), false)?;
    if let Some(summary) = installed.summary() {
        context.ui.note(&summary);
    }
    context.sweep_in_passing();
    let caller = &context.settings.caller;
    let own = caller.get("SHELL").filter(|path| !path.is_empty());
    let program = args.shell.as_deref().or(own).unwrap_or(OsStr::new("/bin/sh"));
    let mut command = Command::new(program);
    command.env_clear().envs(&caller.variables);
    let hook = hook(context, &workspace)?;
    let label = label(&workspace, &activated.activation.environment_for(&caller.variables));
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Both live until this process has become the shell, or has failed to.
    let (mut file, mut directory) = (None, None);
    match name.as_str() {
        "bash" => file = Some(bash(&mut command, &hook, &label)?),
        "zsh" => {
            let temporary = caller.get("TMPDIR").map_or(Path::new("/tmp"), Path::new);
            let scratch = ScratchDir::create(temporary).map_err(Failure::world)?;
            zsh(&mut command, scratch.path(), caller.get("ZDOTDIR"), (&hook, &label))?;
            directory = Some(scratch);
        }
        "fish" => {
            command.arg("--init-command").arg(OsStr::from_bytes(&fish_text(&hook, &label)));
        }
        _ => {
            let variables = environment::child_variables(context, &activated.activation);
            command.env_clear().envs(variables);
        }
    }
    let error = command.exec();
    drop((file, directory));
    let text = format!("cannot start the shell `{}`: {error}", program.display());
    Err(Failure::world(std::io::Error::new(error.kind(), text))
        .hint("name another one with `rewarm shell --shell bash`"))
}

/// The words of the command that prints the hook, without the name of the shell.
fn hook(context: &Context<'_>, workspace: &Workspace) -> Result<Vec<OsString>, Failure> {
    let own = std::env::current_exe().map_err(Failure::world)?;
    let mut words: Vec<OsString> = vec![own.into(), "--project".into()];
    words.push(workspace.root.clone().into());
    words.push("--cache-dir".into());
    words.push(context.settings.cache_dir.clone().into());
    if context.settings.offline {
        words.push("--offline".into());
    }
    words.extend(["shell-hook".into(), "--shell".into()]);
    Ok(words)
}

/// What the prompt shows: how the environment calls itself, or else the workspace's directory, with
/// only such characters as no shell finds a meaning in.
fn label(workspace: &Workspace, activated: &rewarm_activation::Variables) -> String {
    let value = |name: &str| activated.get(OsStr::new(name)).map(|value| value.to_string_lossy());
    let name = match (value("PIXI_PROJECT_NAME"), value("PIXI_ENVIRONMENT_NAME")) {
        (Some(project), Some(environment)) if environment != "default" => {
            format!("{project}:{environment}")
        }
        (Some(project), _) => project.into_owned(),
        // A name that only says what it is, as every environment's, says nothing.
        (None, _) => match value("VIRTUAL_ENV_PROMPT").filter(|name| name != ".venv") {
            Some(name) => name.into_owned(),
            None => workspace.root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        },
    };
    let plain = |c: char| c.is_alphanumeric() || "._:@+-".contains(c);
    let name = name.trim().trim_matches(['(', ')']).to_owned();
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// A word for a POSIX shell, or for fish, which also knows `\` between quotes.
fn quoted(word: &OsStr, fish: bool) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            b'\\' if fish => text.extend(b"\\\\"),
            byte => text.push(byte),
        }
    }
    text.push(b'\'');
    text
}

/// The command that prints the hook for a shell.
fn words(hook: &[OsString], shell: &str) -> Vec<u8> {
    let words = hook.iter().map(OsString::as_os_str).chain([OsStr::new(shell)]);
    words.map(|word| quoted(word, shell == "fish")).collect::<Vec<_>>().join(&b' ')
}

/// Evaluates the hook and marks the prompt, in bash and zsh.
fn posix_text(hook: &[OsString], shell: &str, label: &str) -> Vec<u8> {
    let mut text = b"if _rewarm_text=\"$(".to_vec();
    text.extend(words(hook, shell));
    text.extend(b")\"; then\n    eval \"$_rewarm_text\"\n");
    text.extend(b"    [ -n \"${VIRTUAL_ENV_DISABLE_PROMPT-}\" ] || PS1='(");
    text.extend(label.as_bytes());
    text.extend(b") '\"${PS1-}\"\nfi\nunset -v _rewarm_text\n");
    text
}

/// A start-up file in place of the user's, which it reads first. It has no name: it is gone when
/// nobody holds it any more.
fn bash(command: &mut Command, hook: &[OsString], label: &str) -> Result<File, Failure> {
    let mut file = tempfile::tempfile().map_err(Failure::world)?;
    let number = file.as_raw_fd();
    let mut text = format!("exec {number}<&-\n").into_bytes();
    text.extend(b"if [ -r ~/.bashrc ]; then . ~/.bashrc; fi\n");
    text.extend(posix_text(hook, "bash", label));
    file.write_all(&text).map_err(Failure::world)?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
        .map_err(|error| Failure::world(std::io::Error::from(error)))?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
        .map_err(|error| Failure::world(std::io::Error::from(error)))?;
    command.arg("--rcfile").arg(format!("/dev/fd/{number}")).arg("-i");
    Ok(file)
}

/// A directory with the first start-up file only, which removes the directory, leads back to the
/// user's files, and has the hook evaluated before the first prompt, when those have run.
fn zsh(
    command: &mut Command,
    directory: &Path,
    users: Option<&OsStr>,
    (hook, label): (&[OsString], &str),
) -> Result<(), Failure> {
    let mut text = b"command rm -rf -- ".to_vec();
    text.extend(quoted(directory.as_os_str(), false));
    match users {
        Some(users) => {
            text.extend(b"\nexport ZDOTDIR=");
            text.extend(quoted(users, false));
        }
        None => text.extend(b"\nunset ZDOTDIR"),
    }
    text.extend(b"\n_rewarm_start() {\n");
    text.extend(b"    precmd_functions=(${precmd_functions:#_rewarm_start})\n");
    text.extend(b"    unfunction _rewarm_start\n");
    text.extend(posix_text(hook, "zsh", label));
    text.extend(b"}\ntypeset -ga precmd_functions\nprecmd_functions+=(_rewarm_start)\n");
    text.extend(b"if [[ -r ${ZDOTDIR:-$HOME}/.zshenv ]]; then . ${ZDOTDIR:-$HOME}/.zshenv; fi\n");
    std::fs::write(directory.join(".zshenv"), text).map_err(Failure::world)?;
    command.env("ZDOTDIR", directory).arg("-i");
    Ok(())
}

/// A command that runs after the user's configuration.
fn fish_text(hook: &[OsString], label: &str) -> Vec<u8> {
    let mut text = words(hook, "fish");
    text.extend(
        b" | source\nif test $pipestatus[1] -eq 0; and not set -q VIRTUAL_ENV_DISABLE_PROMPT\n",
    );
    text.extend(b"    functions -q fish_prompt; and functions -c fish_prompt _rewarm_prompt\n");
    text.extend(b"    function _rewarm_status; return $argv[1]; end\n");
    text.extend(b"    function fish_prompt\n        set -l last $status\n        echo -n '(");
    text.extend(label.as_bytes());
    text.extend(b") '\n        _rewarm_status $last\n");
    text.extend(b"        functions -q _rewarm_prompt; and _rewarm_prompt\n    end\nend\n");
    text
}
