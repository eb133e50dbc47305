//! `rewarm check`: a checker's answer, replayed where nothing that it depends on has changed.
//!
//! Standard output and the exit code are the checker's own; what rewarm has to say about it is one
//! line on standard error for each checker. Several checkers run at once, and answer in the order in
//! which they were named.

mod changed;
mod explain;
mod limit;
mod output;
mod program;
mod tool;
pub(super) mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use rewarm_check::{CheckError, Event, Report, Request, Reuse};
use serde_json::json;

use crate::args::Check;
use crate::commands::check::limit::Limit;
use crate::commands::check::output::Outputs;
use crate::commands::check::tool::Tool;
use crate::commands::print_json;
use crate::context::{Context, now};
use crate::environment::{self, Activated, Entered, Wish, Workspace};
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::ui::Bar;

/// What one checker said.
struct Answer {
    tool: Tool,
    report: Report,
    /// The root of the project.
    project: PathBuf,
    seconds: f64,
}

pub(crate) fn run(context: &Context<'_>, args: &Check) -> Outcome {
    let started = Instant::now();
    let outputs = Outputs::parse(&args.output, &context.settings.caller.cwd)?;
    let Entered { workspace, activated, summary: installed } = enter(context, args)?;
    let tools = tool::wanted(&args.tool, &workspace.config.check.tools)?;
    if tools.len() > 1 && !args.arguments.is_empty() {
        return Err(Failure::usage(
            "arguments after `--` are for one tool, and several are to check",
        )
        .hint("name one with `--tool`, or put the settings into the tools' configuration"));
    }
    if let Some(summary) = installed {
        context.ui.note(&summary);
    }
    let mut args = args.clone();
    let mut answers = Vec::new();
    if changed::narrow(context, &mut args, &tools, |args| {
        request(context, &workspace, &activated, args, Tool::Mypy)
    })? {
        answers = ask(context, &workspace, &activated, (&args, &tools), started)?;
    }
    if context.settings.json {
        print_json(&as_json(&answers))?;
    } else {
        outputs.write(context, &answers)?;
    }
    for answer in &answers {
        context.ui.note(&summary(answer));
        if args.explain {
            explain::explain(context, answer, answers.len() > 1);
        }
        if args.stats {
            context.ui.explain(&explain::stats(answer));
        }
    }
    if let Some(reason) = activated.miss.as_ref().filter(|_| args.explain) {
        context.ui.explain(&format!("activation: computed anew, because {reason}"));
    }
    context.sweep_in_passing();
    Ok(answers.iter().map(|answer| answer.tool.verdict(answer.report.exit_code)).max().unwrap_or(0))
}

fn enter(context: &Context<'_>, args: &Check) -> Result<Entered, Failure> {
    let wish = Wish { environment: args.environment.as_deref(), ..Wish::default() };
    match args.no_install {
        true => environment::enter_as_it_is(context, wish),
        false => environment::enter(context, wish, false),
    }
}

fn request(
    context: &Context<'_>,
    workspace: &Workspace,
    activated: &Activated,
    args: &Check,
    tool: Tool,
) -> Request {
    let arguments: Vec<OsString> = args.paths.iter().chain(&args.arguments).cloned().collect();
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

/// Asks every tool, all at once.
fn ask(
    context: &Context<'_>,
    workspace: &Workspace,
    activated: &Activated,
    (args, tools): (&Check, &[Tool]),
    started: Instant,
) -> Result<Vec<Answer>, Failure> {
    let mut questions = Vec::new();
    for tool in tools {
        let program = match tool {
            Tool::Mypy => None,
            Tool::Other(checker) => Some(program::find(context, &workspace.prefix, *checker)?),
        };
        questions.push((*tool, program, request(context, workspace, activated, args, *tool)));
    }
    let store = context.store()?;
    let spinner: std::sync::OnceLock<Bar> = std::sync::OnceLock::new();
    let interrupt = Interrupt::watch()?;
    let limit = Limit::new(workspace.config.check.timeout);
    let now = now();
    let names = tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", ");
    let tell = |event| match event {
        Event::Started { group } => {
            interrupt.ends(group);
            limit.watches(group);
        }
        Event::Running { files } => {
            let verb = if tools.len() == 1 { "is" } else { "are" };
            let label = format!("{names} {verb} checking {files} files");
            spinner.get_or_init(|| context.ui.spinner(&label));
        }
        Event::Whole { lacks } => context.ui.note(&format!(
            "answers are replayed as a whole only: this mypy has no `{lacks}`, as 2.0 to 2.4 have"
        )),
        Event::Uncached { reason } => context.ui.warn(&format!("nothing was kept: {reason}")),
        _ => {}
    };
    let answer = |(tool, found, request): &(Tool, Option<program::Found>, Request)| {
        let report = match found {
            None => rewarm_check::check(store, request, now, &tell),
            Some(found) => rewarm_check::check_with(store, &found.program, request, now, &tell),
        };
        let seconds = started.elapsed().as_secs_f64();
        let project = workspace.root.clone();
        report.map(|report| Answer { tool: *tool, report, project, seconds })
    };
    let answers: Vec<_> = match questions.as_slice() {
        [one] => vec![answer(one)],
        several => std::thread::scope(|scope| {
            let threads: Vec<_> =
                several.iter().map(|question| scope.spawn(|| answer(question))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        }),
    };
    drop(spinner);
    if let Some(signal) = interrupt.caught() {
        return Err(Failure::interrupted(signal));
    }
    let answers = answers.into_iter().map(|answer| answer.map_err(failure));
    let answers: Vec<_> = answers.collect::<Result<_, _>>()?;
    answers.iter().try_for_each(|answer| limit.check(answer.tool.name(), &answer.report))?;
    Ok(answers)
}

fn failure(error: CheckError) -> Failure {
    match error {
        CheckError::NoMypy { .. } => Failure::usage(error)
            .hint("add `mypy` to the project's development dependencies and lock again"),
        CheckError::OldMypy { .. } => {
            Failure::usage(error).hint("require `mypy>=2` in the project and lock again")
        }
        CheckError::Glob { .. } => Failure::usage(error).hint("mend `tool.rewarm.check.inputs`"),
        other => Failure::world(other),
    }
}

/// What was done, and what was reused.
fn summary(Answer { tool, report, seconds, .. }: &Answer) -> String {
    let (name, seconds) = (tool.name(), *seconds);
    let files = match report.files {
        1 => "1 source file".to_owned(),
        files => format!("{files} source files"),
    };
    match &report.reuse {
        Reuse::Replayed => {
            format!("replayed: nothing changed in {files}, {name} was not run ({})", time(seconds))
        }
        Reuse::Ran { seeded, modules_rechecked, unstored, .. } => {
            let how = match (seeded, modules_rechecked) {
                (false, None) if *tool != Tool::Mypy => "the whole".to_owned(),
                (_, Some(1)) => "1 module checked again".to_owned(),
                (true, Some(count)) => format!("{count} modules checked again"),
                (false, Some(count)) => format!("{count} modules checked"),
                (true, None) => "started from its last results".to_owned(),
                (false, None) => "started from nothing".to_owned(),
            };
            let kept = match unstored {
                None => String::new(),
                Some(reason) => format!("; not kept, because {reason}"),
            };
            format!("{name} ran on {files}: {how} ({}){kept}", time(seconds))
        }
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// One tool's answer as an object, those of several as a list.
fn as_json(answers: &[Answer]) -> serde_json::Value {
    match answers {
        [one] => object(&one.report),
        several => {
            let objects = several.iter().map(|answer| {
                let mut object = object(&answer.report);
                object["tool"] = answer.tool.name().into();
                object
            });
            objects.collect()
        }
    }
}

fn object(report: &Report) -> serde_json::Value {
    let (replayed, rechecked, unstored) = match &report.reuse {
        Reuse::Replayed => (true, None, None),
        Reuse::Ran { modules_rechecked, unstored, .. } => {
            (false, *modules_rechecked, unstored.clone())
        }
    };
    let (modules, carried) = explain::as_json(&report.reuse);
    json!({
        "exit_code": report.exit_code,
        "stdout": String::from_utf8_lossy(&report.stdout),
        "stderr": String::from_utf8_lossy(&report.stderr),
        "replayed": replayed,
        "modules_rechecked": rechecked,
        "modules": modules,
        "carried_over": carried,
        "not_kept_because": unstored,
        "differs": report.differs,
        "files": report.files,
    })
}
