//! `rewarm run`: brings the environment up to date, activates it, and becomes the command.
//!
//! The common case never gets here: see `hot`.

use rewarm_task::{Command, TaskTable};
use serde_json::json;

use crate::args::Run;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::environment::{self, Activated, Wish};
use crate::error::{Failure, Outcome};
use crate::hot;

/// The exit code where rewarm itself fails, as `env` has it.
pub(crate) const OWN_FAILURE: u8 = 125;

pub(crate) fn run(context: &Context<'_>, args: &Run) -> Outcome {
    let wish = Wish { clean_env: args.clean_env, force: args.force_activate };
    if args.command.is_empty() {
        return list(context);
    }
    let (_, installed, activated) = environment::enter(context, wish, args.revalidate)?;
    if let Some(summary) = installed.summary() {
        context.ui.note(&summary);
    }
    if args.explain {
        explain(context, &activated);
    }
    context.sweep_in_passing();
    let caller = &context.settings.caller;
    match hot::become_command(&activated.activation, &args.command, caller) {
        Ok(ended) => Ok(ended.0),
        Err(error) => {
            let code = error.code();
            context.ui.failure(&hint(Failure::usage(error), code));
            Ok(code)
        }
    }
}

fn hint(failure: Failure, code: u8) -> Failure {
    match code {
        127 => failure.hint("`rewarm run` without arguments lists the tasks; a program has to be installed in the environment or on `PATH`"),
        _ => failure,
    }
}

/// Asked for with `--explain`, so it is told even with `-q`.
fn explain(context: &Context<'_>, activated: &Activated) {
    let text = match &activated.miss {
        None => "activation: from the cache; no input has changed".to_owned(),
        Some(reason) => format!("activation: computed anew, because {reason}"),
    };
    context.ui.explain(&text);
}

/// `rewarm run` without arguments.
fn list(context: &Context<'_>) -> Outcome {
    let workspace = environment::Workspace::find(context)?;
    let tasks = TaskTable::new(workspace.config.tasks.clone()).map_err(Failure::usage)?;
    if context.settings.json {
        let tasks: serde_json::Map<_, _> = tasks
            .iter()
            .map(|(name, task)| {
                let value = json!({
                    "command": command_text(&task.command),
                    "description": task.description,
                    "depends_on": task.depends_on,
                });
                (name.to_owned(), value)
            })
            .collect();
        return print_json(&json!(tasks));
    }
    if tasks.iter().next().is_none() {
        context.ui.note("there are no tasks; add some under `[tool.rewarm.tasks]`");
        return Ok(0);
    }
    let width = tasks.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, task) in tasks.iter() {
        let about = task.description.clone().unwrap_or_else(|| command_text(&task.command));
        text += &format!("{name:<width$}  {about}\n");
    }
    print(text.as_bytes())
}

fn command_text(command: &Command) -> String {
    match command {
        Command::None => String::new(),
        Command::Argv(argv) => argv.join(" "),
        Command::Shell(text) => text.clone(),
    }
}
