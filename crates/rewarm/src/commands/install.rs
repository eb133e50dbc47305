//! `rewarm install`: makes the environment match the lock file.

use serde_json::json;

use crate::args::Install;
use crate::commands::{json_path, print, print_json};
use crate::context::{Context, now};
use crate::environment::Workspace;
use crate::error::{Failure, Outcome};
use crate::pixi;
use crate::venv::{self, Installed};

pub(crate) fn run(context: &Context<'_>, args: &Install) -> Outcome {
    let workspace = Workspace::find_with(context, args.environment.as_deref())?;
    if let Some(place) = &workspace.place {
        return pixi::install(context, args, place);
    }
    if args.all {
        let shown = workspace.root.display();
        let text =
            format!("`{shown}` is no pixi workspace: it has one environment, without a name");
        return Err(Failure::usage(text).hint("leave out `--all`"));
    }
    let mut options = venv::options(context, &workspace, args)?;
    if args.dry_run {
        return dry_run(context, &workspace, &options);
    }
    options.reinstall = args.reinstall;
    options.revalidate = args.revalidate;
    let installed = venv::ensure(context, &workspace, &options)?;
    match installed.summary() {
        Some(summary) => context.ui.note(&summary),
        None => context.ui.note("nothing to do: the environment matches the lock file"),
    }
    context.sweep_in_passing();
    if context.settings.json {
        return print_json(&as_json(&workspace, &installed));
    }
    Ok(0)
}

fn as_json(workspace: &Workspace, installed: &Installed) -> serde_json::Value {
    let report = installed.report.as_ref();
    json!({
        "environment": json_path(&workspace.prefix),
        "installed": report.map_or(0, |report| report.installed),
        "removed": report.map_or(0, |report| report.removed),
        "kept": report.map(|report| report.kept),
        "downloaded_files": installed.downloaded.0,
        "downloaded_bytes": installed.downloaded.1,
    })
}

fn dry_run(context: &Context<'_>, workspace: &Workspace, options: &rewarm_env::Options) -> Outcome {
    let nothing = || {
        context.ui.note("nothing to do: the environment matches the lock file");
        Ok(0)
    };
    let project = workspace.project.as_ref().ok_or_else(|| Failure::usage("no project here"))?;
    let status = rewarm_env::check(project, context.store()?, options, now());
    let rewarm_env::Status::Needs(preparation) = status.map_err(Failure::usage)? else {
        return nothing();
    };
    let plan = venv::plan(context, workspace, *preparation)?;
    if plan.is_empty() {
        return nothing();
    }
    let mut text = String::new();
    for wanted in &plan.install.add {
        text += &format!("+ {}\n", name(wanted));
    }
    for (wanted, reason) in &plan.install.reinstall {
        text += &format!("~ {} ({reason})\n", name(wanted));
    }
    for installed in &plan.install.remove {
        text += &format!("- {} {}\n", installed.name, installed.version);
    }
    let downloads = plan.downloads(context.store()?).len();
    context.ui.note(&format!("{downloads} files would be downloaded"));
    print(text.as_bytes())
}

fn name(wanted: &rewarm_env::Wanted) -> String {
    match &wanted.version {
        Some(version) => format!("{} {version}", wanted.name),
        None => wanted.name.to_string(),
    }
}
