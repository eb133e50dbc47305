//! The tasks of a workspace: where they are written, and running them.
//!
//! `rewarm-task` says which commands a task takes; here they become processes. A task of one
//! command replaces this process by it, or is executed in it if it takes pixi's shell; only a
//! graph of several keeps a parent.

mod action;
mod output;
mod run;
mod shell;
mod signals;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rewarm_activation::Variables;
use rewarm_conda::manifest::{TaskSource, Workspace as Manifest};
use rewarm_task::{
    Action, Command, DEFAULT_ENVIRONMENT, Dialect, Facts, Graph, Node, Origin, Place, Task,
    TaskDefinition, Tasks,
};

use crate::config::File;
use crate::context::{Context, now};
use crate::environment::Workspace;
use crate::error::{Failure, Outcome};
use crate::hot::{self, RunError};
use crate::tasks::run::{Activate, Runner};
use crate::tasks::shell::Audience;

pub(crate) use action::packages;
pub(crate) use output::OutputMode;
pub(crate) use run::{Entered, Manner};
pub(crate) use shell::entry as shell_entry;

/// The tasks of a workspace, by environment: pixi's, and rewarm's own, which all environments have.
pub(crate) fn of_workspace(workspace: &Workspace) -> Result<Tasks, Failure> {
    let manifest = workspace.pixi_manifest().map(Manifest::read).transpose();
    let manifest = manifest.map_err(Failure::usage)?;
    Ok(of_both(manifest.as_ref(), &workspace.config))
}

/// The tasks of pixi's manifest, if there is one, and of rewarm's configuration.
pub(crate) fn of_both(manifest: Option<&Manifest>, config: &File) -> Tasks {
    let own = config.tasks.iter();
    let own: BTreeMap<String, Task> =
        own.map(|(name, task)| (name.clone(), task.clone().into())).collect();
    let Some(manifest) = manifest else {
        return Tasks::new(BTreeMap::from([(DEFAULT_ENVIRONMENT.to_owned(), own)]));
    };
    let environments = manifest.environments().map(|environment| {
        let mut tasks = of_manifest(manifest, environment);
        tasks.extend(own.clone());
        (environment.to_owned(), tasks)
    });
    Tasks::new(environments.collect())
}

/// The tasks that pixi's manifest has for an environment; none where it cannot run on this machine.
fn of_manifest(manifest: &Manifest, environment: &str) -> BTreeMap<String, Task> {
    let here = platform();
    let mut platforms = manifest.environment_platforms(environment).into_iter();
    let Some(platform) = platforms.find(|platform| platform.subdir.as_str() == here) else {
        return BTreeMap::new();
    };
    let tasks = manifest.tasks(environment, &platform).into_iter();
    let task = |(name, source): (String, TaskSource)| {
        let definition = TaskDefinition::from_toml(&source.value, Dialect::Pixi);
        let origin = Some(Origin { path: source.path, line: source.line });
        (name, Task { definition, origin })
    };
    tasks.map(task).collect()
}

/// Warns of keys that nobody knows.
pub(crate) fn warn_of_unknown_keys(context: &Context<'_>, tasks: &Tasks) {
    let all = tasks.environments().flat_map(|(_, tasks)| tasks);
    for (name, task) in all {
        let Ok(definition) = &task.definition else { continue };
        for key in &definition.unknown {
            context.ui.warn(&format!("task `{name}`: unknown key `{key}`"));
        }
    }
}

/// What templates may know.
pub(crate) fn facts(context: &Context<'_>, workspace: &Workspace) -> Facts {
    let own = workspace.config_files.iter().map(PathBuf::as_path).find(|path| path.exists());
    let manifest = workspace.pixi_manifest().or(own).unwrap_or(&workspace.root);
    Facts {
        platform: platform(),
        manifest: manifest.to_owned(),
        init_cwd: context.settings.caller.cwd.clone(),
    }
}

/// The platform of this program, as conda writes it.
fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "osx",
        "windows" => "win",
        other => other,
    };
    let machine = match (std::env::consts::ARCH, system) {
        ("x86_64", _) => "64",
        ("aarch64", "osx" | "win") => "arm64",
        (other, _) => other,
    };
    format!("{system}-{machine}")
}

/// Runs the commands of a graph. Returns only if this process was not replaced.
pub(crate) fn run(
    context: &Context<'_>,
    workspace: &Workspace,
    graph: &Graph,
    manner: Manner,
    activate: &mut Activate<'_>,
) -> Outcome {
    let init_cwd = &context.settings.caller.cwd;
    if let [only] = graph.nodes()
        && only.inputs.is_none()
        && only.outputs.is_none()
    {
        let entered = activate(&only.environment, only.clean_env)?;
        return run_here(context, only, &workspace.root, entered.variables);
    }
    let (root, store, platform) = (&workspace.root, context.store()?, &platform());
    Runner { ui: context.ui, graph, root, init_cwd, store, platform, manner }.run(activate)
}

/// What would become of a command now, and why, in words.
pub(crate) fn why(
    context: &Context<'_>,
    root: &Path,
    node: &Node,
    entered: Entered,
) -> Result<String, Failure> {
    let place = Place {
        root: root.to_owned(),
        store: context.store()?.clone(),
        platform: platform(),
        packages: entered.packages,
        variables: entered.variables,
    };
    let action = match Action::new(node, place).map_err(Failure::usage)? {
        None => return Ok("runs each time: it names neither `inputs` nor `outputs`".to_owned()),
        Some(Err(reason)) => return Ok(format!("runs each time: {reason}")),
        Some(Ok(action)) => action,
    };
    let lookup = action.look_up(now()).map_err(Failure::usage)?;
    lookup.warnings.iter().for_each(|warning| context.ui.warn(warning));
    Ok(match lookup.entry {
        Some(_) => format!("would be replayed: {}", lookup.reason),
        None => format!("would run: {}", lookup.reason),
    })
}

/// Runs a single command in place of this process, or in it.
fn run_here(context: &Context<'_>, node: &Node, root: &Path, activated: Variables) -> Outcome {
    let init_cwd = &context.settings.caller.cwd;
    let Some(step) = node.step(root, &[]) else { return Ok(0) };
    let environment = step.environment(activated, init_cwd);
    match &node.command {
        Command::Script(_) => {
            let script = step.argv.into_iter().next_back().unwrap_or_default();
            run_script(&script, environment, &step.cwd)
        }
        _ => {
            let error = hot::replace_process(&step.argv, &environment, Some(&step.cwd));
            Err(Failure::usage(error))
        }
    }
}

/// Executes a line for pixi's shell in this process.
pub(crate) fn run_script(script: &OsString, environment: Variables, cwd: &Path) -> Outcome {
    if !cwd.is_dir() {
        let source = std::io::ErrorKind::NotADirectory.into();
        let error = RunError::WorkingDirectory { path: cwd.to_owned(), source };
        return Err(Failure::usage(error));
    }
    let environment = environment.into_iter().collect();
    shell::execute(&script.to_string_lossy(), environment, cwd.to_owned(), Audience::Process)
}

/// The graph as it would be run, one line for each command.
pub(crate) fn plan_text(graph: &Graph) -> String {
    let commands = graph.nodes().iter().filter(|node| node.command != Command::None);
    commands.map(|node| format!("{}: {}\n", run::label(node, graph), node.command_line())).collect()
}

/// How a command is called where all of a graph is shown.
pub(crate) fn label(node: &Node, graph: &Graph) -> String {
    run::label(node, graph)
}
