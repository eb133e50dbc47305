//! `rewarm run`: brings the environment up to date, activates it, and becomes the command.
//!
//! The common case never gets here: see `hot`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rewarm_activation::Variables;
use rewarm_task::{Graph, Request};

use crate::args::{Run, TaskOptions};
use crate::commands::{print, task};
use crate::context::Context;
use crate::environment::{self, Activated, Wish, Workspace};
use crate::error::{Failure, Outcome};
use crate::hot;
use crate::tasks::{self, Entered, Manner, OutputMode};

/// The exit code where rewarm itself fails, as `env` has it.
pub(crate) const OWN_FAILURE: u8 = 125;

pub(crate) fn run(context: &Context<'_>, args: &Run) -> Outcome {
    if args.command.is_empty() {
        return task::list(context);
    }
    if let Some(prefix) = &args.prefix {
        return run_in_prefix(context, args, prefix);
    }
    let workspace = Workspace::find(context)?;
    let in_use = hot::environment_in_use(&context.settings.caller, &workspace.root);
    let asked = args.environment.as_deref().or(in_use);
    let graph = graph(context, &workspace, args, asked)?;
    if args.tasks.dry_run
        && let Some(graph) = &graph
    {
        return print(tasks::plan_text(graph).as_bytes());
    }
    let is_pixi = workspace.pixi_manifest().is_some();
    let first = graph.as_ref().filter(|_| is_pixi).map(|graph| graph.root().environment.as_str());
    let environment = first.or(args.environment.as_deref());
    let wish = Wish { environment, clean_env: args.clean_env, force: args.force_activate };
    let workspace = workspace.in_environment(context, environment)?;
    let entered = environment::enter_found(context, workspace, wish, args.revalidate)?;
    let environment::Entered { workspace, activated, summary } = entered;
    if let Some(summary) = summary {
        context.ui.note(&summary);
    }
    if args.explain {
        explain(context, &activated);
    }
    context.sweep_in_passing();
    let known = HashMap::new();
    let mut environments = Environments { context, args, workspace: &workspace, is_pixi, known };
    let entered = environments.keep(args.clean_env, &activated);
    let Some(graph) = graph else {
        return run_program(context, &args.command, entered.variables);
    };
    let manner = manner(args, &graph);
    tasks::run(context, &workspace, &graph, manner, &mut |name, clean_env| {
        environments.enter(name, clean_env || args.clean_env)
    })
    .or_else(|failure| explain_start(context, failure))
}

/// A program in a conda prefix, which has no tasks.
fn run_in_prefix(context: &Context<'_>, args: &Run, prefix: &Path) -> Outcome {
    let (clean_env, force) = (args.clean_env, args.force_activate);
    let wish = Wish { environment: None, clean_env, force };
    let activated = environment::enter_prefix(context, prefix, wish)?;
    if args.explain {
        explain(context, &activated);
    }
    let caller = environment::caller_variables(context);
    let variables = activated.activation.environment_for(&caller);
    run_program(context, &args.command, variables)
}

/// What the task takes; `None` if there is no task of that name.
fn graph(
    context: &Context<'_>,
    workspace: &Workspace,
    args: &Run,
    environment: Option<&str>,
) -> Result<Option<Graph>, Failure> {
    let tasks = tasks::of_workspace(workspace)?;
    tasks::warn_of_unknown_keys(context, &tasks);
    let Some((name, arguments)) = args.command.split_first() else { return Ok(None) };
    let Some(task) = name.to_str() else { return Ok(None) };
    let alone = args.tasks.skip_deps;
    let request = Request { task, arguments, environment, alone };
    let graph = Graph::new(&tasks, &request, &tasks::facts(context, workspace));
    graph
        .transpose()
        .map_err(|error| Failure::usage(error).hint("`rewarm task list` shows all tasks"))
}

fn manner(args: &Run, graph: &Graph) -> Manner {
    let jobs = match args.tasks.jobs {
        Some(jobs) => jobs.into(),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    // Where each waits for the one before it there is nothing to be told apart.
    let nodes = graph.nodes().iter().enumerate().skip(1);
    let is_chain = nodes.clone().all(|(index, node)| node.dependencies.contains(&(index - 1)));
    let jobs = if is_chain { 1 } else { jobs };
    let output = args.tasks.output.unwrap_or(match jobs {
        1 => OutputMode::Raw,
        _ => OutputMode::Prefix,
    });
    let TaskOptions { keep_going, force, .. } = args.tasks;
    Manner { jobs, keep_going, output, force, explain: args.explain }
}

/// The environments that the commands of a graph run in.
struct Environments<'a> {
    context: &'a Context<'a>,
    args: &'a Run,
    workspace: &'a Workspace,
    is_pixi: bool,
    known: HashMap<(String, bool), Entered>,
}

impl Environments<'_> {
    fn keep(&mut self, clean_env: bool, activated: &Activated) -> Entered {
        let entered = entered(self.context, activated);
        let environment = activated.activation.environment.clone();
        self.known.insert((environment, clean_env), entered.clone());
        entered
    }

    fn enter(&mut self, environment: &str, clean_env: bool) -> Result<Entered, Failure> {
        if let Some(known) = self.known.get(&(environment.to_owned(), clean_env)) {
            return Ok(known.clone());
        }
        let environment = self.is_pixi.then_some(environment);
        let wish = Wish { environment, clean_env, force: self.args.force_activate };
        let workspace = self.workspace.clone().in_environment(self.context, environment)?;
        let entered = environment::enter_found(self.context, workspace, wish, false)?;
        let activated = entered.activated;
        Ok(self.keep(clean_env, &activated))
    }
}

/// What it is to be in an environment.
pub(super) fn entered(context: &Context<'_>, activated: &Activated) -> Entered {
    let caller = environment::caller_variables(context);
    Entered {
        variables: activated.activation.environment_for(&caller),
        packages: tasks::packages(&activated.activation),
    }
}

/// Becomes a program, or executes a single word with blanks as a line for pixi's shell.
fn run_program(context: &Context<'_>, command: &[OsString], variables: Variables) -> Outcome {
    if let [line] = command
        && line.as_bytes().iter().any(u8::is_ascii_whitespace)
        && !std::path::Path::new(line).exists()
    {
        return tasks::run_script(line, variables, &context.settings.caller.cwd);
    }
    let error = hot::replace_process(command, &variables, None);
    explain_start(context, Failure::usage(error))
}

/// Says why a command could not be started, with the exit code that this has.
fn explain_start(context: &Context<'_>, failure: Failure) -> Outcome {
    let Some(code) = failure.cause::<hot::RunError>().map(hot::RunError::code) else {
        return Err(failure);
    };
    context.ui.failure(&match code {
        127 => failure.hint("`rewarm run` without arguments lists the tasks; a program has to be installed in the environment or on `PATH`"),
        _ => failure,
    });
    Ok(code)
}

/// Asked for with `--explain`, so it is told even with `-q`.
fn explain(context: &Context<'_>, activated: &Activated) {
    let text = match &activated.miss {
        None => "activation: from the cache; no input has changed".to_owned(),
        Some(reason) => format!("activation: computed anew, because {reason}"),
    };
    context.ui.explain(&text);
    for reason in &activated.activation.unproven {
        context.ui.explain(&format!("activation: not kept, because {reason}"));
    }
}
