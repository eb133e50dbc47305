//! From a project to questions: entering its environment, and what each checker is to be asked there.
//!
//! A question is complete: asking it needs neither the configuration nor the command line.

use std::ffi::OsString;
use std::path::Path;

use rewarm_check::Request;

use crate::args::Check;
use crate::commands::check::partition::{self, Variant};
use crate::commands::check::tool::{self, Tool};
use crate::commands::check::{changed, program, projects, worker};
use crate::context::Context;
use crate::environment::{self, Activated, Entered, Wish, Workspace};
use crate::error::Failure;

/// What is to be asked, and where.
pub(super) struct Prepared {
    pub(super) workspace: Workspace,
    pub(super) activated: Activated,
    /// The variants in which there is something to check or not; never empty.
    pub(super) variants: Vec<Variant>,
    /// For each variant one for each tool, or none if there is nothing to check.
    pub(super) questions: Vec<Question>,
}

pub(super) struct Question {
    pub(super) tool: Tool,
    pub(super) variant: Variant,
    pub(super) found: Option<program::Found>,
    pub(super) request: Request,
}

/// Enters the environment and finds out what there is to ask.
pub(super) fn prepare(context: &Context<'_>, args: &Check) -> Result<Prepared, Failure> {
    prepare_entered(context, args, enter(context, args)?)
}

/// The same for another project than the one that the caller is in, who is in `here`.
pub(super) fn prepare_other(
    context: &Context<'_>,
    args: &Check,
    here: &Path,
) -> Result<Prepared, Failure> {
    prepare_entered(context, args, enter_other(context, args, here)?)
}

fn prepare_entered(
    context: &Context<'_>,
    args: &Check,
    entered: Entered,
) -> Result<Prepared, Failure> {
    let Entered { workspace, activated, summary } = entered;
    let check = &workspace.config.check;
    let tools = tool::wanted(&args.tool, &check.tools)?;
    if tools.len() > 1 && !args.arguments.is_empty() {
        return Err(Failure::usage(
            "arguments after `--` are for one tool, and several are to check",
        )
        .hint("name one with `--tool`, or put the settings into the tools' configuration"));
    }
    if let Some(summary) = &summary {
        context.ui.note(summary);
    }
    let variants = partition::variants(&check.python_versions, &check.platforms, &args.arguments);
    let mut questions = Vec::new();
    for variant in &variants {
        let request =
            |args: &Check, tool| request(context, (&workspace, &activated), args, (tool, variant));
        let mut args = args.clone();
        if !changed::narrow(context, &mut args, &tools, |args| request(args, Tool::Mypy))? {
            continue;
        }
        for tool in &tools {
            let found = match tool {
                Tool::Mypy => None,
                Tool::Other(checker) => Some(program::find(context, &workspace.prefix, *checker)?),
            };
            let (variant, request) = (variant.clone(), request(&args, *tool));
            questions.push(Question { tool: *tool, variant, found, request });
        }
    }
    Ok(Prepared { workspace, activated, variants, questions })
}

fn enter(context: &Context<'_>, args: &Check) -> Result<Entered, Failure> {
    let workspace = Workspace::find_with(context, args.environment.as_deref())?;
    enter_found(context, args, workspace)
}

fn enter_found(
    context: &Context<'_>,
    args: &Check,
    workspace: Workspace,
) -> Result<Entered, Failure> {
    let wish = Wish { environment: args.environment.as_deref(), ..Wish::default() };
    match args.no_install {
        true => environment::enter_found_as_it_is(context, workspace, wish),
        false => environment::enter_found(context, workspace, wish, false),
    }
}

/// Enters the project's own environment, or else that of a project above it.
fn enter_other(context: &Context<'_>, args: &Check, here: &Path) -> Result<Entered, Failure> {
    let own = Workspace::find_own(context, args.environment.as_deref())?;
    if !own.has_environment()
        && let Some(lender) = projects::lender(&context.settings.start, here)
    {
        let lender = context.in_directory(lender)?;
        let lent = Workspace::find_own(&lender, args.environment.as_deref())?;
        let entered = enter_found(&lender, args, lent)?;
        let workspace = Workspace { root: own.root, config: own.config, ..entered.workspace };
        return Ok(Entered { workspace, ..entered });
    }
    enter_found(context, args, own)
}

fn request(
    context: &Context<'_>,
    (workspace, activated): (&Workspace, &Activated),
    args: &Check,
    (tool, variant): (Tool, &Variant),
) -> Request {
    let given = args.paths.iter().chain(&args.arguments).cloned();
    let arguments: Vec<OsString> = variant.arguments(tool).into_iter().chain(given).collect();
    let mut variables = environment::child_variables(context, &activated.activation);
    // A tool's output is a file; what it would make of this terminal it has to be told.
    if let Some(colors) = context.settings.colors_answers() {
        tool.set_colors(&mut variables, colors);
    }
    Request {
        project_root: workspace.root.clone(),
        cwd: context.settings.start.clone(),
        arguments,
        default_target: (tool == Tool::Mypy).then(|| ".".into()),
        python: workspace.prefix.join("bin/python"),
        variables,
        force: args.force,
        extra_inputs: workspace.config.check.inputs.clone(),
        worker: worker::options(context, workspace, args),
    }
}
