//! `rewarm check`: a checker's answer, replayed where nothing that it depends on has changed.
//!
//! Standard output and the exit code are the checker's own; what rewarm has to say about it is one
//! line on standard error for each checker. Several checkers run at once, and answer in the order in
//! which they were named. Paths in other projects, `--all`, Python versions and platforms make several
//! *partitions* (see `partition`): each is answered as if it had been asked alone, in its directory.

mod at_once;
mod changed;
mod explain;
mod limit;
mod output;
mod partition;
mod program;
mod projects;
mod told;
mod tool;
mod watch;
pub(super) mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rewarm_check::{Report, Request};

use crate::args::Check;
use crate::commands::check::at_once::{ask, ask_all, failure};
use crate::commands::check::output::Outputs;
use crate::commands::check::partition::{Group, Variant};
use crate::commands::check::told::{Section, tell, time, verdict};
use crate::commands::check::tool::Tool;
use crate::commands::print_json;
use crate::context::Context;
use crate::environment::{self, Activated, Entered, Wish, Workspace};
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;

/// What one checker said.
struct Answer {
    tool: Tool,
    variant: Variant,
    report: Report,
    /// The root of the project.
    project: PathBuf,
    /// Where the checker ran.
    cwd: PathBuf,
    /// The environment's prefix.
    environment: PathBuf,
    seconds: f64,
}

/// What is to be asked, and where.
struct Prepared {
    workspace: Workspace,
    activated: Activated,
    /// The variants in which there is something to check or not; never empty.
    variants: Vec<Variant>,
    /// For each variant one for each tool, or none if there is nothing to check.
    questions: Vec<Question>,
}

struct Question {
    tool: Tool,
    variant: Variant,
    found: Option<program::Found>,
    request: Request,
}

/// A project among several.
struct Project {
    /// The way to it from the working directory.
    way: PathBuf,
    prepared: Result<Prepared, Failure>,
    /// What was said while it was prepared.
    said: Vec<String>,
}

pub(crate) fn run(context: &Context<'_>, args: &Check) -> Outcome {
    let started = Instant::now();
    let outputs = Outputs::parse(&args.output, &context.settings.caller.cwd)?;
    let here = environment::canonical_start(context)?;
    let groups = groups(&here, args)?;
    let is_here = matches!(groups.as_slice(), [Group { directory: None, .. }]);
    if args.watch {
        return if is_here { watch::run(context, args) } else { Err(unwatchable()) };
    }
    if !is_here {
        let projects = prepare_all(context, args, &here, groups)?;
        return several(context, args, (&outputs, started), &projects);
    }
    let prepared = prepare(context, args)?;
    if prepared.variants.len() > 1 {
        let project = Project { way: ".".into(), prepared: Ok(prepared), said: Vec::new() };
        return several(context, args, (&outputs, started), &[project]);
    }
    let answers = ask(context, &prepared, started, &Interrupt::watch()?)?;
    if context.settings.json {
        print_json(&told::as_json(&answers))?;
    } else {
        outputs.write(&answers)?;
    }
    tell(context, args, &prepared, &answers);
    context.sweep_in_passing();
    Ok(verdict(&answers))
}

fn unwatchable() -> Failure {
    Failure::usage("`--watch` is for one project, and others are to check")
        .hint("name the project: `rewarm -C DIR check --watch`")
}

/// Where to check what.
fn groups(here: &Path, args: &Check) -> Result<Vec<Group>, Failure> {
    if args.all {
        let found = projects::below(here)?;
        if found.is_empty() {
            let text = format!("there is no project at or below `{}`", here.display());
            return Err(Failure::usage(text)
                .hint("leave out `--all` to check the working directory as it is"));
        }
        return Ok(partition::all(here, found));
    }
    if args.paths.is_empty() {
        return Ok(partition::groups(None, &[]));
    }
    let named: Vec<_> = args.paths.iter().map(|path| projects::locate(here, path)).collect();
    Ok(partition::groups(projects::nearest(here).as_deref(), &named))
}

/// Prepares one project after the other. One that cannot be entered is no reason to leave out others.
fn prepare_all(
    context: &Context<'_>,
    args: &Check,
    here: &Path,
    groups: Vec<Group>,
) -> Result<Vec<Project>, Failure> {
    let mut projects = Vec::new();
    for Group { directory, paths } in groups {
        let way = partition::way(here, directory.as_deref().unwrap_or(here));
        let args = Check { paths, ..args.clone() };
        context.ui.hold();
        let prepared = match &directory {
            None => prepare(context, &args),
            Some(directory) => context.in_directory(directory.clone()).and_then(|inner| {
                let entered = enter_other(&inner, &args, here)?;
                prepare_entered(&inner, &args, entered)
            }),
        };
        let said = context.ui.release();
        projects.push(Project { way, prepared, said });
    }
    Ok(projects)
}

/// Asks about several partitions, and tells the answers of one after the other.
fn several(
    context: &Context<'_>,
    args: &Check,
    (outputs, started): (&Outputs, Instant),
    projects: &[Project],
) -> Outcome {
    let prepared: Vec<&Prepared> =
        projects.iter().filter_map(|project| project.prepared.as_ref().ok()).collect();
    let asked = ask_all(context, &prepared, started, &Interrupt::watch()?)?;
    let mut asked = asked.iter();
    let mut sections = Vec::new();
    let plain = Variant::default();
    for project in projects {
        let failed = |failure| Section::failed(project, &plain, failure);
        match &project.prepared {
            Err(failure) => sections.push(failed(failure)),
            Ok(prepared) => match asked.next().expect("every prepared project was asked about") {
                Err(failure) => sections.push(failed(failure)),
                Ok(answers) => sections.extend(Section::of(project, prepared, answers)),
            },
        }
    }
    if context.settings.json {
        print_json(&told::list_as_json(&sections))?;
    } else {
        let answers: Vec<&Answer> = sections.iter().flat_map(Section::answers).copied().collect();
        outputs.write_whole(&answers)?;
    }
    for section in &sections {
        section.tell(context, args, outputs)?;
    }
    context.ui.note(&told::total(&sections, started.elapsed().as_secs_f64()));
    context.sweep_in_passing();
    Ok(sections.iter().map(Section::verdict).max().unwrap_or(0))
}

/// Enters the environment and finds out what there is to ask.
fn prepare(context: &Context<'_>, args: &Check) -> Result<Prepared, Failure> {
    prepare_entered(context, args, enter(context, args)?)
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

/// The same for another project than the one that the caller is in: if it has no environment of its
/// own, that of a project above it.
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
