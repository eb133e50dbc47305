//! `rewarm check`: mypy's answer, replayed where nothing that it depends on has changed.
//!
//! Standard output and the exit code are mypy's own; what rewarm has to say about it is one line on
//! standard error.

use std::ffi::OsString;
use std::io::Write;
use std::time::Instant;

use rewarm_check::{CheckError, Event, Report, Request, Reuse};
use serde_json::json;

use crate::args::{Check, Install};
use crate::commands::print_json;
use crate::context::{Context, now};
use crate::environment::{self, Activated, Wish, Workspace};
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::ui::Bar;
use crate::venv::{self, Installed};

pub(crate) fn run(context: &Context<'_>, args: &Check) -> Outcome {
    let started = Instant::now();
    let (workspace, installed, activated) = enter(context, args)?;
    if let Some(summary) = installed.summary() {
        context.ui.note(&summary);
    }
    let request = request(context, &workspace, &activated, args);
    let report = check(context, &request)?;
    if context.settings.json {
        print_json(&as_json(&report))?;
    } else {
        write(&report)?;
    }
    context.ui.note(&summary(&report, started.elapsed().as_secs_f64()));
    if args.explain {
        explain(context, &report, &activated);
    }
    context.sweep_in_passing();
    // mypy's codes are rewarm's: 0 clean, 1 errors, 2 usage or crash.
    Ok(u8::try_from(report.exit_code).unwrap_or(1))
}

fn enter(
    context: &Context<'_>,
    args: &Check,
) -> Result<(Workspace, Installed, Activated), Failure> {
    if !args.no_install {
        return environment::enter(context, Wish::default(), false);
    }
    let workspace = Workspace::find(context)?;
    let mut options = venv::options(context, &workspace, &Install::default())?;
    options.as_before = true;
    let activated = environment::activate(context, &workspace, &options, Wish::default())?;
    Ok((workspace, Installed::default(), activated))
}

fn request(
    context: &Context<'_>,
    workspace: &Workspace,
    activated: &Activated,
    args: &Check,
) -> Request {
    let arguments: Vec<OsString> = args.paths.iter().chain(&args.arguments).cloned().collect();
    let mut variables = environment::child_variables(context, &activated.activation);
    // mypy's own output is a file; what it would make of this terminal it has to be told.
    match context.settings.colors_answers() {
        Some(true) => variables.push(("MYPY_FORCE_COLOR".into(), "1".into())),
        Some(false) => {
            variables.retain(|(name, _)| name != "MYPY_FORCE_COLOR" && name != "FORCE_COLOR");
        }
        None => {}
    }
    Request {
        project_root: workspace.root.clone(),
        cwd: context.settings.start.clone(),
        arguments,
        default_target: Some(".".into()),
        python: workspace.prefix.join("bin/python"),
        variables,
        force: args.force,
        extra_inputs: workspace.config.check.inputs.clone(),
    }
}

fn check(context: &Context<'_>, request: &Request) -> Result<Report, Failure> {
    let spinner: std::sync::OnceLock<Bar> = std::sync::OnceLock::new();
    let interrupt = Interrupt::watch()?;
    let report = rewarm_check::check(context.store()?, request, now(), &|event| match event {
        Event::Started { group } => interrupt.ends(group),
        Event::Running { files } => {
            spinner.get_or_init(|| context.ui.spinner(&format!("mypy is checking {files} files")));
        }
        Event::Uncached { reason } => context.ui.warn(&format!("nothing was kept: {reason}")),
        _ => {}
    });
    drop(spinner);
    if let Some(signal) = interrupt.caught() {
        return Err(Failure::interrupted(signal));
    }
    report.map_err(|error| match error {
        CheckError::NoMypy { .. } => Failure::usage(error)
            .hint("add `mypy` to the project's development dependencies and lock again"),
        CheckError::Glob { .. } => Failure::usage(error).hint("mend `tool.rewarm.check.inputs`"),
        other => Failure::world(other),
    })
}

fn write(report: &Report) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&report.stdout)?;
    stdout.flush()?;
    std::io::stderr().lock().write_all(&report.stderr)
}

/// What was done, and what was reused.
fn summary(report: &Report, seconds: f64) -> String {
    let files = match report.files {
        1 => "1 source file".to_owned(),
        files => format!("{files} source files"),
    };
    match &report.reuse {
        Reuse::Replayed => {
            format!("replayed: nothing changed in {files}, mypy was not run ({})", time(seconds))
        }
        Reuse::Ran { seeded, modules_rechecked, unstored } => {
            let how = match (seeded, modules_rechecked) {
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
            format!("mypy ran on {files}: {how} ({}){kept}", time(seconds))
        }
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn explain(context: &Context<'_>, report: &Report, activated: &Activated) {
    let text = match (&report.reuse, report.differs.as_slice()) {
        (Reuse::Replayed, _) => "check: hit; no input has changed".to_owned(),
        (Reuse::Ran { .. }, []) => "check: miss; nothing was stored for these arguments".to_owned(),
        (Reuse::Ran { .. }, differs) => format!("check: miss; differs: {}", differs.join(", ")),
    };
    context.ui.explain(&text);
    if let Some(reason) = &activated.miss {
        context.ui.explain(&format!("activation: computed anew, because {reason}"));
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let (replayed, rechecked, unstored) = match &report.reuse {
        Reuse::Replayed => (true, None, None),
        Reuse::Ran { modules_rechecked, unstored, .. } => {
            (false, *modules_rechecked, unstored.clone())
        }
    };
    json!({
        "exit_code": report.exit_code,
        "stdout": String::from_utf8_lossy(&report.stdout),
        "stderr": String::from_utf8_lossy(&report.stderr),
        "replayed": replayed,
        "modules_rechecked": rechecked,
        "not_kept_because": unstored,
        "differs": report.differs,
        "files": report.files,
    })
}
